"""What the encoder made of each product's passage, token by token, for the reranker to read.

tokens.bin   int8 (tokens of all products, width): each token's numbers, in units of its scale
scales.npy   float32 (tokens of all products,)
starts.npy   int64 (products + 1,): where a product's tokens begin; its end is the next one's
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.errors import SnapshotDamagedError
from engine.models.tokens import PASSAGE_TOKENS
from engine.types import ReadPassages, Rows

TOKENS, SCALES, STARTS = "tokens.bin", "scales.npy", "starts.npy"


class Passages:
    """The kept tokens of a snapshot's products, memory-mapped."""

    def __init__(self, folder: Path, width: int) -> None:
        """Open them.

        Raises:
            SnapshotDamagedError: a file is missing, or they do not fit together.
        """
        self._starts = open_array(folder / STARTS, np.int64)
        self._scales = open_array(folder / SCALES, np.float32)
        count, path = len(self._scales), folder / TOKENS
        try:
            size = path.stat().st_size
        except OSError as error:
            raise SnapshotDamagedError(f"{path} cannot be read: {error.strerror}") from error
        if size != count * width or not len(self._starts) or self._starts[-1] != count:
            raise SnapshotDamagedError(
                f"{folder} holds {size:,} bytes for {count:,} tokens of {width} numbers. "
                "Roll back with: daogou snapshots rollback"
            )
        self._tokens: NDArray[np.int8] = (
            np.memmap(path, dtype=np.int8, mode="r", shape=(count, width))
            if count
            else np.empty((0, width), dtype=np.int8)
        )

    def __len__(self) -> int:
        return len(self._starts) - 1

    def take(self, rows: Rows) -> ReadPassages:
        """The tokens of these products, each padded to `PASSAGE_TOKENS`."""
        first, end = self._starts[rows], self._starts[rows + 1]
        places = first[:, None] + np.arange(PASSAGE_TOKENS)
        inside = places < end[:, None]
        kept = places[inside]
        hidden = np.zeros((*places.shape, self._tokens.shape[1]), dtype=np.float32)
        hidden[inside] = self._tokens[kept] * self._scales[kept, None]
        return ReadPassages(hidden, inside.astype(np.int64))

    def kept(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int64]]:
        """The tokens of the rows from `start` to `stop` as they lie here.

        Returns:
            int8 (tokens, width), the scale of each, and how many each row has.
        """
        own = slice(int(self._starts[start]), int(self._starts[stop]))
        return self._tokens[own], self._scales[own], np.diff(self._starts[start : stop + 1])


class PassageBuilder:
    """Writes the tokens of products in the order of their rows."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._file = (folder / TOKENS).open("wb")
        self._scales: list[NDArray[np.float32]] = []
        self._lengths: list[NDArray[np.int64]] = [np.zeros(1, dtype=np.int64)]

    def add(self, passages: Iterable[tuple[NDArray[np.int8], NDArray[np.float32]]]) -> None:
        """The next products: tokens and scales of each, as `quantise` gives them."""
        for quantised, scales in passages:
            self._write(quantised, scales, np.array([len(scales)], dtype=np.int64))

    def take(self, before: Passages, start: int, stop: int) -> None:
        """The next products: what was kept of other rows before, from `start` to `stop`."""
        self._write(*before.kept(start, stop))

    def _write(
        self,
        quantised: NDArray[np.int8],
        scales: NDArray[np.float32],
        lengths: NDArray[np.int64],
    ) -> None:
        self._file.write(np.ascontiguousarray(quantised).data)
        self._scales.append(scales)
        self._lengths.append(lengths)

    def finish(self) -> None:
        """Write what is left to write."""
        self._file.close()
        scales = np.concatenate([np.empty(0, dtype=np.float32), *self._scales])
        np.save(self._folder / SCALES, scales)
        np.save(self._folder / STARTS, np.cumsum(np.concatenate(self._lengths)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
