"""A snapshot's behaviour model beside its products: which item is which row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.guide.behaviour import FOLDER, Behaviour, open_behaviour
from engine.snapshot import Snapshot
from engine.types import Rows, Vectors


class StoredBehaviour:
    """What shoppers did with the products of a snapshot, and the products' vectors by item."""

    def __init__(self, snapshot: Snapshot, behaviour: Behaviour) -> None:
        self.model = behaviour
        self._snapshot = snapshot
        found = snapshot.products.rows_of(behaviour.ids)
        self.row_of: Rows = np.array([-1 if row is None else row for row in found], dtype=np.int64)
        """By item; -1 for what the catalog no longer has."""
        self.item_of: NDArray[np.int32] = np.full(len(snapshot), -1, dtype=np.int32)
        """By row; -1 for what nobody bought."""
        there = np.flatnonzero(self.row_of >= 0)
        self.item_of[self.row_of[there]] = there

    @classmethod
    def open(cls, snapshot: Snapshot) -> StoredBehaviour | None:
        """The behaviour model of a snapshot, None where it has none.

        Raises:
            ModelError: it is damaged.
        """
        folder = snapshot.folder / FOLDER
        return cls(snapshot, open_behaviour(folder)) if folder.is_dir() else None

    def vectors(self, items: Rows) -> Vectors:
        """The items' vectors, (n, dim); zeros for what the catalog no longer has."""
        rows = self.row_of[items]
        found: Vectors = self._snapshot.vectors[np.maximum(rows, 0)].astype(np.float32)
        found[rows < 0] = 0.0
        return found

    def nearest(self, vector: NDArray[np.float32], depth: int) -> Rows:
        """The items among the `depth` products nearest to a vector, nearest first."""
        (ranking,) = self._snapshot.dense.search(vector[None, :], depth)
        items = self.item_of[ranking.rows]
        found: Rows = items[items >= 0].astype(np.int64)
        return found
