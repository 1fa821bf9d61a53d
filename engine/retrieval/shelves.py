"""Which shelf each product stands on, and how near two shelves are.

shelf_of.npy   int32 (products,): number of the product's category path, -1 where it has none
prefixes.npy   int32 (paths, depth): the path's beginnings by number, from its top level down,
               -1 below its end
tree.sqlite    the beginnings again, with their names and how many products stand below them
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.database import ReadOnlyDatabase, create
from engine.normal import comparable
from engine.types import Rows, Scores

MAX_DEPTH = 8
"""Levels of a path that are told apart; deeper ones are one shelf."""

_SHELF_OF, _PREFIXES, _TREE = "shelf_of.npy", "prefixes.npy", "tree.sqlite"
_SCHEMA = """
CREATE TABLE shelf (number INTEGER PRIMARY KEY, parent INTEGER NOT NULL, path TEXT NOT NULL,
                    name TEXT NOT NULL, folded TEXT NOT NULL, products INTEGER NOT NULL,
                    below INTEGER NOT NULL);
CREATE INDEX shelf_parent ON shelf (parent, products DESC, number);
CREATE INDEX shelf_path ON shelf (path);
CREATE INDEX shelf_folded ON shelf (folded);
"""
_ROOT = -1


@dataclass(frozen=True, slots=True)
class Shelf:
    """One category, at any level."""

    number: int
    path: tuple[str, ...]
    """Names from the top level down, as the catalog first wrote them."""
    products: int
    """That stand on it or below."""
    below: int
    """Shelves right below it."""

    @property
    def title(self) -> str:
        """The path as filters take it: `category=Kitchen > Kettles`."""
        return " > ".join(self.path)


class ShelfBuilder:
    """Collects the category paths product by product, in row order, and writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shelf_of = array("i")
        self._numbers: dict[tuple[str, ...], int] = {}  # of every beginning of a path
        self._paths: dict[tuple[int, ...], int] = {}
        self._products = array("i")  # by number
        self._names: list[tuple[str, ...]] = []  # by number, as written

    def add(self, category: tuple[str, ...]) -> None:
        """Note the path of the next product."""
        levels = tuple(comparable(level) for level in category[:MAX_DEPTH])
        beginnings = (levels[:depth] for depth in range(1, len(levels) + 1))
        path = tuple(self._numbers.setdefault(one, len(self._numbers)) for one in beginnings)
        for depth, number in enumerate(path, start=1):
            if number == len(self._names):
                self._names.append(category[:depth])
                self._products.append(0)
            self._products[number] += 1
        self._shelf_of.append(self._paths.setdefault(path, len(self._paths)) if path else -1)

    def finish(self) -> None:
        """Write both arrays into the folder."""
        prefixes = np.full((len(self._paths), MAX_DEPTH), -1, dtype=np.int32)
        for path, place in self._paths.items():
            prefixes[place, : len(path)] = path
        self._folder.mkdir(parents=True, exist_ok=True)
        np.save(self._folder / _SHELF_OF, np.frombuffer(self._shelf_of, dtype=np.int32))
        np.save(self._folder / _PREFIXES, prefixes)
        self._write_tree()

    def _write_tree(self) -> None:
        tree = create(self._folder / _TREE, _SCHEMA)
        parents = [self._numbers.get(levels[:-1], _ROOT) for levels in self._numbers]
        below = np.bincount(np.array(parents, dtype=np.int64) + 1, minlength=len(parents) + 1)
        tree.executemany(
            "INSERT INTO shelf VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (number, parents[number], " > ".join(levels), " > ".join(self._names[number]),
                 levels[-1], self._products[number], int(below[number + 1]))
                for levels, number in self._numbers.items()
            ),
        )  # fmt: skip
        tree.execute("COMMIT")
        tree.close()


_AT = "SELECT number, name, products, below FROM shelf WHERE "
_NAMED = "SELECT folded, number, name, products, below FROM shelf WHERE folded IN (?)"
_NAMESAKES = 10
_KEPT = 10_000  # shelves: about 3 MB


class Shelves:
    """Compares the shelves of products. Safe to use from many threads."""

    def __init__(self, folder: Path, size: int) -> None:
        """Open the arrays of a snapshot of `size` products.

        Raises:
            SnapshotDamagedError: a file is missing, or does not fit the others.
        """
        self._shelf_of = open_array(folder / _SHELF_OF, np.int32, rows=size)
        self._prefixes: NDArray[np.int32] = open_array(
            folder / _PREFIXES, np.int32, dimensions=2, width=MAX_DEPTH
        )
        self._tree = ReadOnlyDatabase(folder / _TREE)
        self._kept: LRUCache[int, Shelf] = LRUCache(_KEPT)
        self._lock = Lock()

    def below(self, path: str, limit: int) -> list[Shelf]:
        """The shelves right below one, those of most products first; the top ones of "".

        Args:
            path: as a filter takes it, `Kitchen > Kettles`; case does not count.
            limit: shelves at most.
        """
        if not path:
            return self._shelves("parent = ? ORDER BY products DESC, number LIMIT ?", _ROOT, limit)
        here = self.at(path)
        if here is None:
            return []
        return self._shelves(
            "parent = ? ORDER BY products DESC, number LIMIT ?", here.number, limit
        )

    def at(self, path: str) -> Shelf | None:
        """The shelf of this path, as a filter takes it, or None."""
        folded = " > ".join(comparable(level) for level in path.split(" > "))
        return next(iter(self._shelves("path = ? LIMIT 1", folded)), None)

    def called(self, names: Sequence[str]) -> dict[str, list[Shelf]]:
        """Of each name its shelves, at any level, those of most products first; 10 at most.

        Names that no shelf has are left out.
        """
        asked = {name: comparable(name) for name in names}
        by_name: dict[str, list[Shelf]] = {}
        for folded, *row in self._tree.rows_in(_NAMED, set(asked.values())):
            by_name.setdefault(folded, []).append(_shelf(row))
        for shelves in by_name.values():
            shelves.sort(key=lambda one: (-one.products, one.number))
        return {name: by_name[key][:_NAMESAKES] for name, key in asked.items() if key in by_name}

    def where(self, rows: Sequence[int]) -> list[tuple[Shelf, int]]:
        """The shelves that these products stand on, and how many of them; all levels, any order."""
        paths = self._paths(np.array(rows, dtype=np.int64))
        numbers, counts = np.unique(paths[paths >= 0], return_counts=True)
        many = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        return [(one, many[one.number]) for one in self._numbered(many)]

    def _numbered(self, numbers: Iterable[int]) -> list[Shelf]:
        """The shelves of these numbers: nearly every search asks for some."""
        with self._lock:
            known = {number: self._kept.get(number) for number in numbers}
        found = [shelf for shelf in known.values() if shelf is not None]
        lacking = [number for number, shelf in known.items() if shelf is None]
        if lacking:
            read = [_shelf(row) for row in self._tree.rows_in(_AT + "number IN (?)", lacking)]
            with self._lock:
                self._kept.update((one.number, one) for one in read)
            found += read
        return found

    def _shelves(self, condition: str, *values: object) -> list[Shelf]:
        found = self._tree.rows(_AT + condition, values)
        return [_shelf(row) for row in found]

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


def _shelf(row: Sequence[Any]) -> Shelf:
    number, name, products, below = row
    return Shelf(number, tuple(name.split(" > ")), products, below)
