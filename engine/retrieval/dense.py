"""Vector search with FAISS, and the only file that imports it.

Vectors are the truth, stored once in row order as float16; whatever FAISS needs is derived from
them. Every score handed out is computed again from the stored vectors, so that an approximate
index changes which products are found, never what they score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.types import Ranking, Rows, RowSet, Scores, Vectors

StoredVectors = NDArray[np.float16]
"""Unit vectors as they lie in the snapshot, shape (products, dim), memory-mapped."""


def create_vectors(path: Path, products: int, dim: int) -> np.memmap[Any, np.dtype[np.float16]]:
    """A new vector file to fill row by row; `flush()` it when done. Shape (products, dim)."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(products, dim))


def open_vectors(path: Path) -> StoredVectors:
    """The stored vectors, memory-mapped.

    Raises:
        SnapshotDamagedError: the file does not hold float16 vectors.
    """
    return open_array(path, np.float16, dimensions=2)


class ExactIndex:
    """Compares the query with every vector: nothing is missed. Built from the vectors at open."""

    def __init__(self, vectors: StoredVectors, id_rank: NDArray[np.int32]) -> None:
        self._vectors = vectors
        self._id_rank = id_rank
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), 65_536):  # float32 copies stay small
            self._index.add(np.asarray(vectors[start : start + 65_536], dtype=np.float32))

    def search(self, vectors: Vectors, depth: int, allowed: RowSet | None = None) -> list[Ranking]:
        """The best `depth` products of each query vector; scores are cosines."""
        depth = min(depth, len(self._vectors) if allowed is None else len(allowed))
        if not depth or not len(vectors):
            return [Ranking.empty() for _ in vectors]
        options = None if allowed is None else faiss.SearchParameters(sel=_selector(allowed))  # type: ignore[call-arg]
        _, found = self._index.search(np.ascontiguousarray(vectors), depth, params=options)
        return [
            Ranking.sort(rows, self.score(vector, rows), self._id_rank)
            # FAISS pads answers that come up short with row -1.
            for vector, rows in zip(vectors, (row[row >= 0] for row in found), strict=True)
        ]

    def score(self, vector: NDArray[np.float32], rows: Rows) -> Scores:
        """Cosines of one query vector with these rows, shape (len(rows),)."""
        scores: Scores = self._vectors[rows].astype(np.float32) @ vector
        return scores


def _selector(allowed: RowSet) -> faiss.IDSelector:
    """FAISS's view of the allowed rows: one bit a product."""
    bits = np.packbits(allowed.mask, bitorder="little")
    return faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg,arg-type]  # the wrapper takes arrays
