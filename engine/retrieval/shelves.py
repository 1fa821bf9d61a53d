"""Which shelf each product stands on, and how near two shelves are.

shelf_of.npy   int32 (products,): number of the product's category path, -1 where it has none
prefixes.npy   int32 (paths, depth): the path's beginnings by number, from its top level down,
               -1 below its end
"""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.errors import SnapshotDamagedError
from engine.normal import comparable
from engine.types import Rows, Scores

MAX_DEPTH = 8
"""Levels of a path that are told apart; deeper ones are one shelf."""

_SHELF_OF, _PREFIXES = "shelf_of.npy", "prefixes.npy"


class ShelfBuilder:
    """Collects the category paths product by product, in row order, and writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shelf_of = array("i")
        self._numbers: dict[tuple[str, ...], int] = {}  # of every beginning of a path
        self._paths: dict[tuple[int, ...], int] = {}

    def add(self, category: tuple[str, ...]) -> None:
        """Note the path of the next product."""
        levels = tuple(comparable(level) for level in category[:MAX_DEPTH])
        beginnings = (levels[:depth] for depth in range(1, len(levels) + 1))
        path = tuple(self._numbers.setdefault(one, len(self._numbers)) for one in beginnings)
        self._shelf_of.append(self._paths.setdefault(path, len(self._paths)) if path else -1)

    def finish(self) -> None:
        """Write both arrays into the folder."""
        prefixes = np.full((len(self._paths), MAX_DEPTH), -1, dtype=np.int32)
        for path, place in self._paths.items():
            prefixes[place, : len(path)] = path
        self._folder.mkdir(parents=True, exist_ok=True)
        np.save(self._folder / _SHELF_OF, np.frombuffer(self._shelf_of, dtype=np.int32))
        np.save(self._folder / _PREFIXES, prefixes)


class Shelves:
    """Compares the shelves of products. Safe to use from many threads."""

    def __init__(self, folder: Path, size: int) -> None:
        """Open the arrays of a snapshot of `size` products.

        Raises:
            SnapshotDamagedError: a file is missing, or does not fit the others.
        """
        self._shelf_of = open_array(folder / _SHELF_OF, np.int32)
        self._prefixes: NDArray[np.int32] = open_array(folder / _PREFIXES, np.int32, 2)
        if len(self._shelf_of) != size:
            raise SnapshotDamagedError(
                f"{folder / _SHELF_OF} holds {len(self._shelf_of)} products, not {size}. "
                "Roll back with: daogou snapshots rollback"
            )

    def likeness(self, rows: Rows, among: Rows) -> Scores:
        """Mean nearness of each product's shelf to those of a second set, itself left out.

        Nearness is the share of the longer path that both have in common from the top: 1 on the
        same shelf, 0 in other departments or where a category is not known; shape (rows,).
        """
        first, second = self._paths(rows), self._paths(among)
        common = ((first[:, None] == second[None]) & (first[:, None] >= 0)).sum(axis=2)
        longer = np.maximum((first >= 0).sum(axis=1)[:, None], (second >= 0).sum(axis=1)[None])
        near = common / np.maximum(longer, 1)  # (rows, among)
        others = rows[:, None] != among[None]
        total: Scores = ((near * others).sum(axis=1) / np.maximum(others.sum(axis=1), 1)).astype(
            np.float32
        )
        return total

    def _paths(self, rows: Rows) -> NDArray[np.int32]:
        """The beginnings of each row's path, -1 throughout where it has none; (rows, depth)."""
        shelves = self._shelf_of[rows]
        found = np.full((len(rows), MAX_DEPTH), -1, dtype=np.int32)
        found[shelves >= 0] = self._prefixes[shelves[shelves >= 0]]
        return found
