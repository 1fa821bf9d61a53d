"""Vector search with FAISS, and the only file that imports it.

Vectors are the truth, stored once in row order as float16; whatever FAISS needs is derived from
them. Every score that ranks is computed again from the stored vectors, so that an approximate
index changes which products are found, never what they score.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.arrays import HEADERS, open_array
from engine.cores import usable_cores
from engine.types import Above, Ranking, Rows, RowSet, Scores, Vectors

StoredVectors = NDArray[np.float16]
"""Unit vectors as they lie in the snapshot, shape (products, dim), memory-mapped."""


_MANY = 16  # queries
_SPARE = 64  # rows fetched beside those asked for: seldom do more tie with the last place
_MARGIN = 1e-5  # FAISS's float32 cosines and ours differ by far less, whatever the batch


def create_vectors(path: Path, products: int, dim: int) -> np.memmap[Any, np.dtype[np.float16]]:
    """A new vector file to fill row by row; `flush()` it when done. Shape (products, dim).

    Its space is reserved first: filling a memory map on a full disk would kill the process.

    Raises:
        OSError: the disk has no room for it.
    """
    header = {"descr": "<f2", "fortran_order": False, "shape": (products, dim)}
    try:
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            _reserve(file, 2 * products * dim)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    with HEADERS:
        return np.lib.format.open_memmap(path, mode="r+")


def _reserve(file: BinaryIO, size: int) -> None:
    """Append `size` bytes of zeros that the disk is sure to hold."""
    file.flush()
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), file.tell(), size)
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                raise
        else:
            return
    # On macOS, or where the file system cannot reserve.
    file.writelines(bytes(min(1 << 20, size - start)) for start in range(0, size, 1 << 20))


def open_vectors(path: Path, products: int | None = None, dim: int | None = None) -> StoredVectors:
    """The stored vectors, memory-mapped.

    Raises:
        SnapshotDamagedError: the file does not hold float16 vectors, or not so many of that length.
    """
    return open_array(path, np.float16, dimensions=2, rows=products, width=dim)


class ExactIndex:
    """Compares the query with every vector: nothing is missed. Built from the vectors at open."""

    def __init__(self, vectors: StoredVectors, id_rank: NDArray[np.int32]) -> None:
        self._vectors = vectors
        self._id_rank = id_rank
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        for start in range(0, len(vectors), 65_536):  # float32 copies stay small
            self._index.add(np.asarray(vectors[start : start + 65_536], dtype=np.float32))
        self._held = _held(self._index)
        self._last = threading.local()

    def search(
        self,
        vectors: Vectors,
        depth: int,
        allowed: RowSet | None = None,
        *,
        then_above: bool = False,  # noqa: ARG002 - every vector is read anyway
    ) -> list[Ranking]:
        """The best `depth` products of each query vector; scores are cosines."""
        size = len(self._vectors) if allowed is None else len(allowed)
        depth = min(depth, size)
        if depth < 1:
            return [Ranking.empty() for _ in vectors]
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        if len(queries) == 1:
            return [self._search(queries[0], depth, allowed)]
        options = None if allowed is None else faiss.SearchParameters(sel=make_selector(allowed))  # type: ignore[call-arg]
        rankings = [Ranking.empty()] * len(queries)
        unsure, limit = list(range(len(queries))), min(size, depth + _SPARE)
        while unsure:
            found = self._nearest(queries[unsure], limit, options)
            for number, ranking in zip(unsure, found, strict=True):
                rankings[number] = ranking
            # Which of the rows tied at its end FAISS finds is arbitrary: see past them all.
            unsure = [n for n in unsure if limit < size and not _parted(rankings[n], depth, limit)]
            limit = min(size, 4 * limit)
        return [ranking.top(depth) for ranking in rankings]

    def _search(self, query: NDArray[np.float32], depth: int, allowed: RowSet | None) -> Ranking:
        """The best `depth` products of one query, of at least so many."""
        cosines = self._cosines(query)
        if allowed is not None:
            cosines = cosines[allowed.rows]
        least = np.partition(cosines, len(cosines) - depth)[len(cosines) - depth]
        rows = np.flatnonzero(cosines >= least - _MARGIN)  # exact scores may put these before it
        if allowed is not None:
            rows = allowed.rows[rows]
        return Ranking.sort(rows, self.score(query, rows), self._id_rank).top(depth)

    def _cosines(self, query: NDArray[np.float32]) -> Scores:
        """FAISS's cosines of a query with every product, (products,).

        Each thread remembers those of its last query: one search asks for the nearest and for what
        is near enough.
        """
        known: tuple[bytes, Scores] | None = getattr(self._last, "found", None)
        asked = query.tobytes()
        if known is None or known[0] != asked:
            cosines = np.empty(len(self._vectors), dtype=np.float32)
            faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]
                faiss.swig_ptr(cosines), faiss.swig_ptr(query), self._index.get_xb(),
                len(query), len(cosines),
            )  # fmt: skip
            known = self._last.found = asked, cosines
        return known[1]

    def _nearest(
        self, queries: Vectors, limit: int, options: faiss.SearchParameters | None
    ) -> list[Ranking]:
        """The rows FAISS holds for the `limit` nearest of each query, by their exact scores."""
        use_threads(len(queries))
        _, found = self._index.search(queries, limit, params=options)
        return [
            Ranking.sort(rows, self.score(query, rows), self._id_rank)
            # FAISS pads answers that come up short with row -1.
            for query, rows in zip(queries, (row[row >= 0] for row in found), strict=True)
        ]

    def above(self, vector: NDArray[np.float32], least: float, most: int) -> Above:
        """The products whose cosine is at least `least`, the best `most` of them.

        Scores are FAISS's own: they may differ from `score` by `_MARGIN`.
        """
        cosines = self._cosines(np.ascontiguousarray(vector, dtype=np.float32))
        rows = np.flatnonzero(cosines > np.float32(np.nextafter(least, -1)))
        ranking = Ranking.sort(rows, cosines[rows], self._id_rank).top(most)
        return Above(ranking, complete=len(ranking) == len(rows))

    def score(self, vector: NDArray[np.float32], rows: Rows) -> Scores:
        """Cosines of one query vector with these rows, shape (len(rows),).

        A row's score is the same to the last bit whatever other rows are asked for.
        """
        return score_exactly(self._held, vector, rows)


def _held(index: faiss.IndexFlatIP) -> NDArray[np.float32]:
    """The vectors as FAISS holds them, (products, dim): float32 already, and no copy."""
    if not index.ntotal:
        return np.empty((0, index.d), dtype=np.float32)
    held: NDArray[np.float32] = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return held.reshape(index.ntotal, index.d)


def use_threads(queries: int) -> None:
    """Let FAISS use every core for many queries, and this thread alone for a few.

    Searches run side by side, one on each core. On a busy machine one that waits at OpenMP's
    barriers for a second thread took twenty times as long.
    """
    faiss.omp_set_num_threads(1 if queries < _MANY else usable_cores())


def score_exactly(
    vectors: StoredVectors | Vectors, vector: NDArray[np.float32], rows: Rows
) -> Scores:
    """Cosines of one query vector with these rows of the stored vectors, shape (len(rows),)."""
    found = vectors[rows].astype(np.float32, copy=False)
    # Not `found @ vector`: BLAS rounds a row by its place among the others.
    scores: Scores = np.einsum("ij,j->i", found, np.ascontiguousarray(vector))
    return scores


def _parted(ranking: Ranking, depth: int, limit: int) -> bool:
    """Whether no row outside these `limit` can belong to the best `depth`."""
    if len(ranking) < limit:
        return True  # there are no more
    return bool(ranking.scores[depth - 1] - ranking.scores[-1] >= _MARGIN)


def make_selector(allowed: RowSet) -> faiss.IDSelector:
    """FAISS's view of the allowed rows: one bit a product."""
    bits = np.packbits(allowed.mask, bitorder="little")
    return faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg,arg-type]  # the wrapper takes arrays
