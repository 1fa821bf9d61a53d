"""What was read of each product's texts: kept, so that the next snapshot need not read them again.

A shop changes prices by the minute and texts by the day, and a changed text changes the keyword
index of all products: read from here, a product costs it a tenth of what reading its texts does.

records/records.zst   JSON arrays, one a line, in row order; each `_BLOCK` of them a zstd frame
records/frames.npy    int64 (frames + 1,): where each frame begins
records/records.json  version and number
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import zstandard

from engine.arrays import open_array
from engine.errors import SnapshotDamagedError
from engine.retrieval.bag import terms_of
from engine.retrieval.lexical import FINGERPRINT
from engine.retrieval.phrases import NAMING, Naming, naming_of
from engine.types import Product

FOLDER = "records"
_RECORDS, _FRAMES, _ABOUT = "records.zst", "frames.npy", "records.json"
_VERSION = f"1|{FINGERPRINT}|{NAMING}"
_BLOCK = 256
_LEVEL = 3
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Record(NamedTuple):
    """All that the indexes of texts are made of."""

    terms: str
    """See `terms_of`."""
    naming: Naming

    @classmethod
    def of(cls, product: Product) -> Self:
        """What is read of a product's texts."""
        return cls(terms_of(product), naming_of(product))

    @classmethod
    def read(cls, line: bytes) -> Self:
        """What `line` wrote."""
        values = json.loads(line.decode("utf-8", "surrogatepass"))
        terms, phrases, words, brand, category = values
        return cls(terms, Naming(phrases, words, brand, tuple(category)))

    def line(self) -> bytes:
        """The record as one line."""
        phrases, words, brand, category = self.naming
        text = _json([self.terms, list(phrases), list(words), brand, category])
        return text.encode("utf-8", "surrogatepass")


class RecordBuilder:
    """Writes records in row order; a thread of its own compresses them meanwhile."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._file = (folder / _RECORDS).open("wb")
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._worker = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._block: list[bytes] = []
        self._starts = [0]
        self._count = 0

    def add(self, line: bytes) -> None:
        """The next product's, as `Record.line` or `Records.line` gives it."""
        self._block.append(line)
        self._count += 1
        if len(self._block) == _BLOCK:
            self._begin()

    def _begin(self) -> None:
        """Begin to write the block, once the one before it is written."""
        self._wait()
        self._writing = self._worker.submit(self._write, self._block)
        self._block = []

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _write(self, block: list[bytes]) -> None:
        self._file.write(self._compressor.compress(b"\n".join(block)))
        self._starts.append(self._file.tell())

    def finish(self) -> None:
        """Write what is left to write."""
        if self._block:
            self._begin()
        self._wait()
        self.close()
        np.save(self._folder / _FRAMES, np.array(self._starts, dtype=np.int64))
        about = {"version": _VERSION, "products": self._count}
        (self._folder / _ABOUT).write_text(json.dumps(about), encoding="utf-8")

    def close(self) -> None:
        """Close the file; what was not finished is lost."""
        self._worker.shutdown()
        self._file.close()


class Records:
    """Reads them by row, quickest in order."""

    def __init__(self, folder: Path, products: int) -> None:
        """Open them.

        Raises:
            SnapshotDamagedError: they are not there, of another version, or of other products.
        """
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            if about != {"version": _VERSION, "products": products}:
                raise SnapshotDamagedError(f"{folder} holds other records: {about}")
            frames = -(-products // _BLOCK)
            self._starts = open_array(folder / _FRAMES, np.int64, rows=frames + 1)
            self._file = (folder / _RECORDS).open("rb")
        except (OSError, ValueError) as error:
            raise SnapshotDamagedError(f"{folder} holds no records ({error})") from error
        self._decompressor = zstandard.ZstdDecompressor()
        self._number = -1
        self._block: list[bytes] = []

    def line(self, row: int) -> bytes:
        """The record of a row, as it lies here."""
        number, place = divmod(row, _BLOCK)
        if number != self._number:
            start, stop = self._starts[number : number + 2].tolist()
            self._file.seek(start)
            self._block = self._decompressor.decompress(self._file.read(stop - start)).split(b"\n")
            self._number = number
        return self._block[place]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
