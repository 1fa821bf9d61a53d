"""Vectors of made-up products, distributed like those of real catalogs.

Each grown vector is a real one moved along the differences to its own neighbours, by weights that
are normally distributed: it stays within the local residual of the catalog, in as many directions
as the catalog has there. (Isotropic noise of the same size would set every pair of neighbours
equally far apart, and Gaussian vectors have no neighbours at all.) `neighbour_cosines` compares
the two at the same number of products.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.retrieval.dense import create_vectors, open_vectors
from engine.store import SnapshotStore

NEIGHBOURS = 16
SPREAD = 0.7
"""Of the weights together. At 0.5 the grown lie nearer to each other than the real, at 1 not."""

_BLOCK = 4_096  # rows grown at a time: their neighbours' differences take 100 MB


class Seedbed:
    """Real vectors and the differences to each one's neighbours."""

    def __init__(self, real: NDArray[np.float32]) -> None:
        self.real = np.unique(real, axis=0)
        self.neighbours = _neighbours(self.real, NEIGHBOURS)

    @classmethod
    def of(cls, stores: list[Path]) -> Seedbed:
        """From what these stores serve."""
        folders = [SnapshotStore(store).current() for store in stores]
        return cls(
            np.concatenate([open_vectors(each / "vectors.npy") for each in folders]).astype(
                np.float32
            )
        )

    def grow(self, count: int, *, seed: int = 1) -> Iterator[NDArray[np.float32]]:
        """`count` unit vectors in blocks of shape (rows, dim); the same for the same seed."""
        draw = np.random.default_rng(seed)
        for start in range(0, count, _BLOCK):
            size = min(_BLOCK, count - start)
            parents = draw.integers(len(self.real), size=size)
            weights = draw.standard_normal((size, NEIGHBOURS), dtype=np.float32)
            weights *= SPREAD / np.sqrt(NEIGHBOURS, dtype=np.float32)
            near = self.real[self.neighbours[parents]]  # (rows, neighbours, dim)
            moved = np.matmul(weights[:, None], near)[:, 0]
            moved += (1 - weights.sum(axis=1, keepdims=True)) * self.real[parents]
            yield moved / np.linalg.norm(moved, axis=1, keepdims=True)

    def write(self, path: Path, count: int, *, seed: int = 1) -> None:
        """Grow them into a vector file of a snapshot."""
        vectors = create_vectors(path, count, self.real.shape[1])
        start = 0
        for block in self.grow(count, seed=seed):
            vectors[start : start + len(block)] = block
            start += len(block)
        vectors.flush()


def neighbour_cosines(vectors: NDArray[np.float32], depth: int = 100) -> NDArray[np.float32]:
    """Cosines of up to 1,000 of the vectors with their nearest others; shape (some, depth)."""
    chosen = np.random.default_rng(5).permutation(len(vectors))[:1_000]
    found = np.empty((len(chosen), depth), dtype=np.float32)
    for start in range(0, len(chosen), 100):
        part = chosen[start : start + 100]
        cosines = vectors[part] @ vectors.T
        cosines[np.arange(len(part)), part] = -2
        found[start : start + len(part)] = -np.sort(
            np.partition(-cosines, depth, axis=1)[:, :depth]
        )
    return found


def _neighbours(vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The nearest others of each vector; shape (vectors, count)."""
    found = np.empty((len(vectors), count), dtype=np.int64)
    for start in range(0, len(vectors), 1_024):
        part = np.arange(start, min(start + 1_024, len(vectors)))
        cosines = vectors[part] @ vectors.T
        cosines[np.arange(len(part)), part] = -2
        found[part] = np.argpartition(-cosines, count, axis=1)[:, :count]
    return found
