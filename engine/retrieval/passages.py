"""What the encoder made of each product's passage, token by token, for the reranker to read.

places.npy     int64 (products, 3): a product's segment, where in it its tokens begin, how many
tokens-N.bin   int8 (tokens of segment N, width): each token's numbers, in units of its scale
scales-N.npy   float32 (tokens of segment N,)

A segment never changes: the next snapshot shares it, and writes one more with what is new. By far
the largest files of a snapshot, they would else be written again for every text that changed.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.errors import SnapshotDamagedError
from engine.models.tokens import PASSAGE_TOKENS
from engine.types import ReadPassages, Rows

PLACES = "places.npy"
_CURE = "Roll back with: daogou snapshots rollback"

Places = NDArray[np.int64]
"""Segment, start and length of each product's tokens, shape (products, 3)."""


def segment_files(number: int) -> tuple[str, str]:
    """Names of the files of a segment: tokens and scales."""
    return f"tokens-{number}.bin", f"scales-{number}.npy"


class _Segment:
    """Tokens that lie in one file. They are read, not mapped.

    What is mapped stays in memory for good once it was looked at, and these are most of a
    snapshot's bytes; reading 20 products is quicker besides (0.47 against 0.75 ms).
    """

    def __init__(self, path: Path, scales: NDArray[np.float32], width: int) -> None:
        self.scales = scales
        self._path = path
        self._width = width
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def read(self, start: int, length: int) -> NDArray[np.int8]:
        """Tokens from `start` on, (length, width); raises SnapshotDamagedError."""
        size = length * self._width
        read = os.pread(self._file, size, start * self._width)
        if len(read) != size:
            raise SnapshotDamagedError(f"{self._path} was cut short since it was opened. {_CURE}")
        return np.frombuffer(read, dtype=np.int8).reshape(length, self._width)


class Passages:
    """The kept tokens of a snapshot's products."""

    def __init__(self, folder: Path, width: int, products: int | None = None) -> None:
        """Open them: tokens of `width` numbers, of so many products where that is said.

        Raises:
            SnapshotDamagedError: a file is missing, or they do not fit together.
        """
        self._places: Places = open_array(
            folder / PLACES, np.int64, dimensions=2, rows=products, width=3
        )
        self._width = width
        self._segments = {
            int(number): _open_segment(folder, int(number), width)
            for number in np.unique(self._places[:, 0])
        }
        for number, segment in self._segments.items():
            own = self._places[self._places[:, 0] == number]
            if int((own[:, 1] + own[:, 2]).max()) > len(segment.scales):
                raise SnapshotDamagedError(
                    f"{folder / segment_files(number)[0]} holds fewer tokens than {PLACES} names. "
                    f"{_CURE}"
                )

    def __len__(self) -> int:
        return len(self._places)

    @property
    def segments(self) -> dict[int, int]:
        """How many tokens each segment holds, by its number."""
        return {number: len(segment.scales) for number, segment in self._segments.items()}

    def places(self, rows: Rows | slice) -> Places:
        """Where the tokens of these products lie."""
        found: Places = self._places[rows]
        return found

    def take(self, rows: Rows) -> ReadPassages:
        """The tokens of these products, each padded to `PASSAGE_TOKENS`."""
        places = self._places[rows]
        inside = np.arange(PASSAGE_TOKENS) < places[:, 2, None]
        hidden = np.zeros((*inside.shape, self._width), dtype=np.float32)
        for row, (number, start, length) in zip(hidden, places.tolist(), strict=True):
            segment, count = self._segments[number], min(length, PASSAGE_TOKENS)
            scales = segment.scales[start : start + count, None]
            np.multiply(segment.read(start, count), scales, out=row[:count])
        return ReadPassages(hidden, inside.astype(np.int64))

    def kept(self, row: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """The tokens of one product as they lie here: int8 (tokens, width), and their scales."""
        number, start, length = self._places[row].tolist()
        segment = self._segments[number]
        return segment.read(start, length), segment.scales[start : start + length]


def _open_segment(folder: Path, number: int, width: int) -> _Segment:
    name, scales_name = segment_files(number)
    scales = open_array(folder / scales_name, np.float32)
    count, path = len(scales), folder / name
    try:
        size, segment = path.stat().st_size, _Segment(path, scales, width)
    except OSError as error:
        raise SnapshotDamagedError(f"{path} cannot be read: {error.strerror}") from error
    if size != count * width:
        raise SnapshotDamagedError(
            f"{path} holds {size:,} bytes for {count:,} tokens of {width} numbers. {_CURE}"
        )
    return segment


class PassageBuilder:
    """Writes the tokens of products in the order of their rows, as one segment."""

    def __init__(self, folder: Path, segment: int = 0) -> None:
        """Begin a segment; those of lower numbers that rows are taken from lie there already."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._number = segment
        self._file = (folder / segment_files(segment)[0]).open("wb")
        self._scales: list[NDArray[np.float32]] = []
        self._places: list[Places] = []
        self._count = 0

    def add(self, passages: Iterable[tuple[NDArray[np.int8], NDArray[np.float32]]]) -> None:
        """The next products: tokens and scales of each, as `quantise` gives them."""
        for quantised, scales in passages:
            self._file.write(np.ascontiguousarray(quantised).data)
            self._scales.append(scales)
            place = (self._number, self._count, len(scales))
            self._places.append(np.array([place], dtype=np.int64))
            self._count += len(scales)

    def take(self, places: Places) -> None:
        """The next products, whose tokens lie in other segments."""
        self._places.append(places)

    def finish(self) -> None:
        """Write what is left to write."""
        self._file.close()
        scales = np.concatenate([np.empty(0, dtype=np.float32), *self._scales])
        np.save(self._folder / segment_files(self._number)[1], scales)
        np.save(
            self._folder / PLACES,
            np.concatenate([np.empty((0, 3), dtype=np.int64), *self._places]),
        )

    def close(self) -> None:
        """Close the file; what was not finished is lost."""
        self._file.close()
