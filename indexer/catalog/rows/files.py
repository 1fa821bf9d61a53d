"""Which files a catalog is made of, and their bytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import pyarrow
import zstandard

from engine.errors import CatalogError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TEXT_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
COLUMNAR_SUFFIXES = {".parquet": "parquet", ".pq": "parquet"}
COMPRESSIONS = (".gz", ".zst")

MAX_LINE_BYTES = 1 << 20
"""A longer line is rejected, and never held in memory whole."""

_START = 1 << 10
_CHUNK = 1 << 17
_ZSTD_CHUNK = 1 << 13  # small, because it may unpack to very much more
_UTF16 = "UTF-16 text. Convert it: iconv -f UTF-16 -t UTF-8 FILE > NEW"

_FOREIGN = {
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"\x1f\x8b": "gzip data. Add .gz to its name",
    b"\x28\xb5\x2f\xfd": "zstd data. Add .zst to its name",
    b"PK\x03\x04": "a zip or Excel file. Save the sheet as CSV (UTF-8), or unpack it",
    b"PAR1": "Parquet. Name it .parquet",
}


def file_format(path: Path) -> str | None:
    """`csv`, `tsv`, `jsonl` or `parquet` by the file's name; None where it says something else."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        return TEXT_SUFFIXES.get(suffixes[-2]) if len(suffixes) > 1 else None
    last = suffixes[-1] if suffixes else ""
    return TEXT_SUFFIXES.get(last) or COLUMNAR_SUFFIXES.get(last)


def list_files(folder: Path, exclude: Path | None = None) -> list[Path]:
    """Every file below a folder, by path.

    Hidden ones, those named `_…` (Spark's) and those below `exclude` are left out.
    """
    found = [
        path
        for path in folder.rglob("*")
        if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
        and path.is_file()
        and not (exclude and lies_in(path, exclude))
    ]
    return sorted(found)


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path, links followed, is the folder or below it."""
    return path.resolve().is_relative_to(folder.resolve())


@contextmanager
def damage_as_catalog_error(path: Path) -> Iterator[None]:
    """Say what is wrong with a file that cannot be read, instead of a traceback.

    Raises:
        CatalogError: the file is missing, unreadable, truncated or damaged.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise CatalogError(f"{path} does not exist. Check the path") from error
    except PermissionError as error:
        raise CatalogError(f"{path} may not be read. Check its permissions") from error
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, pyarrow.ArrowException) as error:
        raise CatalogError(
            f"{path} cannot be read: it is truncated or damaged ({_first_line(error)}). "
            "Write or copy it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def open_text(path: Path) -> BinaryIO:
    """The bytes of a text file, decompressed as its name says.

    Raises:
        CatalogError: the bytes are not text in UTF-8, by their beginning.
        OSError: the file cannot be read, or is not compressed as its name says.
    """
    stream = io.BufferedReader(_RAW.get(path.suffix.lower(), _plain)(path), _CHUNK)
    try:
        _refuse_foreign(path, stream.peek(64)[:64])
    except BaseException:
        stream.close()
        raise
    return stream


def _plain(path: Path) -> io.RawIOBase:
    return io.FileIO(path)


def _gzip(path: Path) -> io.RawIOBase:
    # BufferedReader needs readinto and no more, which GzipFile has.
    return cast("io.RawIOBase", gzip.open(path, "rb"))


class _ZstdReader(io.RawIOBase):
    """zstd frames, one after another. Unlike the library's reader it notices a truncated file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame: Any = None
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._output:
            self._input = self._input or self._file.read(_ZSTD_CHUNK)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("the zstd frame is not finished")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._output = memoryview(self._frame.decompress(self._input))
            self._input = b""
            if self._frame.eof:
                self._input, self._frame = self._frame.unused_data, None
        target = memoryview(buffer).cast("B")
        size = min(len(target), len(self._output))
        target[:size] = self._output[:size]
        self._output = self._output[size:]
        return size


_RAW: dict[str, Callable[[Path], io.RawIOBase]] = {".gz": _gzip, ".zst": _ZstdReader}


def _refuse_foreign(path: Path, start: bytes) -> None:
    """Refuse a file whose first bytes show that it is not UTF-8 text."""
    for magic, cure in _FOREIGN.items():
        if start.startswith(magic):
            raise CatalogError(f"{path} is {cure}")
    # UTF-16 without its mark: of Western text, every other byte is zero.
    if len(start) >= 8 and max(start[::2].count(0), start[1::2].count(0)) > len(start) // 4:
        raise CatalogError(f"{path} is {_UTF16}")


class LongLine(NamedTuple):
    """A line longer than `MAX_LINE_BYTES`."""

    start: bytes
    """Its first bytes."""


def read_lines(stream: BinaryIO) -> Iterator[bytes | LongLine]:
    """Every line with its line end; what is too long is skipped but for its beginning."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES:
            yield line
            continue
        start = line[:_START]
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES)
        yield LongLine(start)
