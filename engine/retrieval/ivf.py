"""Approximate vector search for large catalogs: inverted lists of compressed codes, re-scored.

index.faiss   lists of RaBitQ codes, two bits a dimension (Gao and Long 2024; Gao et al. 2025)
dense.json    how to search it, and how well that does

Vectors lie in lists around centroids (Jégou et al. 2011). A search reads the lists nearest to the
query, takes the best rows by their codes, and scores these again from the stored vectors: what it
ranks is exact but for what it misses. How many lists and rows it reads is measured when the index
is built, against exact search, on texts that are asked like queries; docs/scale.md says how the
policy was drawn.
"""

from __future__ import annotations

import json
import math
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.errors import SnapshotDamagedError
from engine.retrieval.dense import StoredVectors, make_selector, score_exactly, use_threads
from engine.types import Above, Ranking, Rows, RowSet, Scores, Vectors

FOLDER = "dense"
INDEX_FILE, INFO_FILE = "index.faiss", "dense.json"
MOST_EXACT = 30_000
"""Products that are compared one by one: up to there it is as quick, and nothing is missed."""
DEPTH = 100
"""Of the recall that is measured."""
TARGET = 0.97
"""Recall that the search is set to reach."""

_CODE = "RaBitQfs2"
_SEED = 1
_SAMPLE = 40  # vectors a centroid is learnt from
_ROUNDS = 6  # of k-means
_BLOCK = 65_536
_PROBES = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1_024)
_FETCHED = (2, 4, 8)  # rows re-scored, in depths
_ROW_COST = 48  # scoring one stored vector takes about as long as reading this many codes
_FEW = 2_000  # allowed rows that are all scored: about as quick, and nothing is missed
_LIST_COST = 128  # and so does beginning to read a list
_MET = 2  # allowed rows that are looked at for each that is scored
_MOST_ABOVE = 1_000
_MARGIN_ROWS = 64


@dataclass(frozen=True, slots=True)
class DenseInfo:
    """How an approximate index is searched, and what that reaches."""

    products: int
    lists: int
    probes: int
    """Lists read of a query."""
    fetched: int
    """Rows scored again for each that is asked for, at `DEPTH`."""
    recall: float
    """Share of the `DEPTH` nearest by exact search that it finds, on queries it was not set by."""
    queries: int
    """How many those were."""


_Index = Any
"""A FAISS index: its type stubs know only the methods that all kinds have."""


def lists_for(products: int) -> int:
    """How many lists: the power of two next to four times the root of the products."""
    return int(2 ** round(math.log2(max(4 * math.sqrt(products), 16))))


class _Found(NamedTuple):
    """What was read of the index for one query."""

    asked: bytes
    read: int
    """How many rows were asked for: there may be fewer."""
    rows: Rows
    """The best by their codes first."""
    estimates: Scores
    """Cosines by those codes: by 0.01 off, as a rule."""
    scores: Scores
    """Of the first of them, from the stored vectors."""


class _Allowed(NamedTuple):
    """Where the rows that a filter allows lie."""

    selector: faiss.IDSelector
    lists: NDArray[np.int64]
    """That hold any."""
    counts: NDArray[np.int64]
    """How many each of these holds."""
    sizes: NDArray[np.int64]
    """How many rows each of them has in all."""


class IvfIndex:
    """A `DenseRetriever` that reads a small part of the catalog. Safe to use from many threads."""

    def __init__(
        self,
        index: _Index,
        info: DenseInfo,
        vectors: StoredVectors,
        id_rank: NDArray[np.int32],
    ) -> None:
        self.info = info
        self._index = index  # owns what follows
        self._rotation = faiss.downcast_VectorTransform(index.chain.at(0))
        self._lists: _Index = faiss.downcast_index(index.index)
        self._vectors = vectors
        self._id_rank = id_rank
        self._last = threading.local()
        self._allowed: dict[int, tuple[weakref.ref[NDArray[np.bool_]], _Allowed]] = {}

    @classmethod
    def open(cls, folder: Path, vectors: StoredVectors, id_rank: NDArray[np.int32]) -> IvfIndex:
        """The index in a folder that `build` wrote.

        Raises:
            SnapshotDamagedError: it cannot be read, or is of other vectors.
        """
        try:
            info = read_info(folder)
            index: _Index = faiss.read_index(str(folder / INDEX_FILE))
        except (RuntimeError, OSError, ValueError, TypeError) as error:
            raise SnapshotDamagedError(
                f"{folder}: no index of vectors ({str(error).splitlines()[0]}). "
                "Roll back with `daogou snapshots rollback`, or index the catalog again"
            ) from error
        if not index.ntotal == info.products == len(vectors) or index.d != vectors.shape[1]:
            raise SnapshotDamagedError(
                f"{folder}: {index.ntotal:,} vectors of {index.d} numbers in the index, "
                f"{len(vectors):,} of {vectors.shape[1]} in the snapshot. "
                "Roll back with `daogou snapshots rollback`, or index the catalog again"
            )
        return cls(index, info, vectors, id_rank)

    def search(
        self,
        vectors: Vectors,
        depth: int,
        allowed: RowSet | None = None,
        *,
        then_above: bool = False,
    ) -> list[Ranking]:
        """The best `depth` products that it finds of each query vector; scores are cosines.

        Under a filter they are fewer only where it allows no more: lists that hold nothing allowed
        are passed over, and the next are read until enough was met. Where scoring all that is
        allowed is quicker, it is searched exactly.
        """
        size = len(self._vectors) if allowed is None else len(allowed)
        depth = min(depth, size)
        if depth < 1:
            return [Ranking.empty() for _ in vectors]
        limit = min(self._fetched(depth), size)
        if allowed is not None:
            found = self._nearest_allowed(vectors, limit, allowed)
        elif len(vectors) == 1:
            known = self._read(vectors[0], limit, read=_MOST_ABOVE if then_above else 0)
            best = Ranking.sort(known.rows[:limit], known.scores[:limit], self._id_rank)
            return [best.top(depth)]
        else:
            found = [rows for rows, _ in self._nearest(vectors, limit)]
        return [
            self._ranked(vector, rows).top(depth)
            for vector, rows in zip(vectors, found, strict=True)
        ]

    def above(self, vector: NDArray[np.float32], least: float, most: int) -> Above:
        """Of the 1,000 nearest products in the lists read those whose cosine is at least `least`.

        Only those of the nearest are exact; the others', which decide little, are read off the
        codes: each stored vector lies in a page of its own.
        """
        count, exact = min(most, _MOST_ABOVE), self._fetched(DEPTH)
        known = self._read(vector, min(exact, count), read=count)
        scores = np.concatenate([known.scores[:exact], known.estimates[exact:]])[:count]
        ranking = Ranking.sort(known.rows[:count], scores, self._id_rank)
        near = int((ranking.scores >= least).sum())
        whole = self.info.probes >= self.info.lists and (
            near < count or count >= len(self._vectors)
        )
        return Above(ranking.top(near), whole)

    def score(self, vector: NDArray[np.float32], rows: Rows) -> Scores:
        """Cosines of one query vector with these rows, shape (len(rows),)."""
        return score_exactly(self._vectors, vector, rows)

    def set_to(self, info: DenseInfo) -> IvfIndex:
        """The same index, searched otherwise."""
        return IvfIndex(self._index, info, self._vectors, self._id_rank)

    def save(self, folder: Path) -> None:
        """Write index and settings into a new folder."""
        folder.mkdir()
        faiss.write_index(self._index, str(folder / INDEX_FILE))
        (folder / INFO_FILE).write_text(json.dumps(asdict(self.info), indent=1), encoding="utf-8")

    @property
    def centroids(self) -> Vectors:
        """What the lists lie around, (lists, dim), as `build` takes them."""
        rotated = self._lists.quantizer.reconstruct_n(0, self._lists.nlist)
        return np.asarray(self._rotation.reverse_transform(rotated), dtype=np.float32)

    def _fetched(self, depth: int) -> int:
        """How many rows are scored exactly where so many are asked for."""
        return max(depth, DEPTH) * self.info.fetched + _MARGIN_ROWS

    def _read(self, vector: NDArray[np.float32], exact: int, *, read: int) -> _Found:
        """The best rows by their codes, at least `read` and `exact`, so many of them scored.

        Each thread remembers those of its last query, as `ExactIndex`.
        """
        asked, read = vector.tobytes(), max(exact, read)
        known: _Found | None = getattr(self._last, "found", None)
        if known is None or known.asked != asked or known.read < read:
            most = min(read, len(self._vectors))
            ((rows, estimates),) = self._nearest(vector[None, :], most)
            known = _Found(asked, read, rows, estimates, np.empty(0, dtype=np.float32))
        unscored = known.rows[len(known.scores) : exact]
        scores = np.concatenate([known.scores, self.score(vector, unscored)])
        known = self._last.found = known._replace(scores=scores)
        return known

    def _nearest(self, vectors: Vectors, limit: int) -> list[tuple[Rows, Scores]]:
        """The `limit` best rows of each query by their codes, and cosines by these."""
        settings = faiss.SearchParametersIVF(nprobe=self.info.probes)  # type: ignore[call-arg]
        use_threads(len(vectors))
        cosines, found = self._lists.search(self._turned(vectors), limit, params=settings)
        return [
            (rows[rows >= 0], scores[rows >= 0])
            for rows, scores in zip(found, cosines, strict=True)
        ]

    def _nearest_allowed(self, vectors: Vectors, limit: int, allowed: RowSet) -> list[Rows]:
        """Of the allowed rows the `limit` best of each query by their codes; or all of them."""
        if len(allowed) <= max(limit, _FEW) or not len(vectors):
            return [allowed.rows] * len(vectors)
        held = self._held(allowed)
        turned = self._turned(vectors)
        chosen = [self._choose(query, limit, held) for query in turned]
        read = [number for number, (lists, _) in enumerate(chosen) if len(lists)]
        best = iter(self._read_lists(turned[read], [chosen[one] for one in read], limit, held))
        return [next(best) if len(lists) else allowed.rows for lists, _ in chosen]

    def _choose(
        self, query: NDArray[np.float32], limit: int, held: _Allowed
    ) -> tuple[NDArray[np.int64], Scores]:
        """The lists to read for a turned query, with the cosines of what they lie around.

        None where scoring all that is allowed is quicker.

        What is found lies the farther out the fewer are allowed: by the root of them the recall
        grew in measurements where these were drawn at random, by the third root it stayed. Where
        they lie together, in a small part of the lists, the nearest of these say less of a query
        that is none of theirs, and are read by the root of that part besides.
        """
        count = int(held.counts.sum())
        spread = (len(self._vectors) / count) ** (1 / 3)
        spread *= (len(self._vectors) / int(held.sizes.sum())) ** (1 / 2)
        least = math.ceil(self.info.probes * spread)
        cosines = self._cosines(query)
        order = np.argsort(-cosines[held.lists], kind="stable")
        met = np.cumsum(held.counts[order])
        enough = int(np.searchsorted(met, min(_MET * limit, count))) + 1
        order = order[: max(least, enough)]
        codes = int((held.sizes[order] + _LIST_COST).sum())
        if count * _ROW_COST <= codes + limit * _ROW_COST:
            order = order[:0]
        lists = held.lists[order]
        return lists, cosines[lists]

    def _cosines(self, query: NDArray[np.float32]) -> Scores:
        """Of a turned query with what each list lies around, (lists,)."""
        around: _Index = faiss.downcast_index(self._lists.quantizer)
        cosines = np.empty(self._lists.nlist, dtype=np.float32)
        faiss.fvec_inner_products_ny(  # type: ignore[attr-defined]
            faiss.swig_ptr(cosines), faiss.swig_ptr(query), around.get_xb(),
            len(query), len(cosines),
        )  # fmt: skip
        return cosines

    def _read_lists(
        self,
        turned: Vectors,
        chosen: Sequence[tuple[NDArray[np.int64], Scores]],
        limit: int,
        held: _Allowed,
    ) -> list[Rows]:
        """The `limit` best allowed rows of each query's lists, by their codes."""
        most = max((len(lists) for lists, _ in chosen), default=0)
        if not most:
            return []
        numbers = np.full((len(turned), most), -1, dtype=np.int64)  # FAISS passes over -1
        cosines = np.zeros((len(turned), most), dtype=np.float32)
        for place, (lists, near) in enumerate(chosen):
            numbers[place, : len(lists)] = lists
            cosines[place, : len(lists)] = near
        settings = faiss.SearchParametersIVF(nprobe=most, sel=held.selector)  # type: ignore[call-arg]
        found = np.empty((len(turned), limit), dtype=np.int64)
        estimates = np.empty((len(turned), limit), dtype=np.float32)
        use_threads(len(turned))
        self._lists.search_preassigned_c(
            len(turned), faiss.swig_ptr(turned), limit, faiss.swig_ptr(numbers),
            faiss.swig_ptr(cosines), faiss.swig_ptr(estimates), faiss.swig_ptr(found), False,
            settings,
        )  # fmt: skip
        return [rows[rows >= 0] for rows in found]

    def _held(self, allowed: RowSet) -> _Allowed:
        """Where the allowed rows lie: kept as long as a mask that cannot be written to."""
        mask = allowed.mask
        known = self._allowed.get(id(mask))
        if known is not None and known[0]() is mask:
            return known[1]
        counts = self._counts(allowed)
        lists = np.flatnonzero(counts)
        held = _Allowed(make_selector(allowed), lists, counts[lists], self._sizes[lists])
        if not mask.flags.writeable:
            number, kept = id(mask), self._allowed  # a mask may outlive the index
            kept[number] = weakref.ref(mask, lambda _: kept.pop(number, None)), held
        return held

    def _counts(self, allowed: RowSet) -> NDArray[np.int64]:
        """How many allowed rows each list holds, (lists,)."""
        most = 2 * len(allowed) > len(self._vectors)
        rows = np.flatnonzero(~allowed.mask if most else allowed.mask)
        counts = np.bincount(self._list_of[rows], minlength=self._lists.nlist)
        return self._sizes - counts if most else counts

    @cached_property
    def _sizes(self) -> NDArray[np.int64]:
        """How many rows each list holds, (lists,)."""
        return np.bincount(self._list_of, minlength=self._lists.nlist)

    @cached_property
    def _list_of(self) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """The list that each row lies in, (products,)."""
        lists, inverted = self._lists.nlist, self._lists.invlists
        found = np.empty(len(self._vectors), dtype=np.min_scalar_type(max(lists - 1, 256)))
        for number in range(lists):
            if size := inverted.list_size(number):
                found[faiss.rev_swig_ptr(inverted.get_ids(number), size)] = number
        return found

    def _turned(self, vectors: Vectors) -> Vectors:
        """The vectors as the codes lie."""
        turned: Vectors = self._rotation.apply(np.ascontiguousarray(vectors, dtype=np.float32))
        return turned

    def _ranked(self, vector: NDArray[np.float32], rows: Rows) -> Ranking:
        """These rows by their exact scores."""
        return Ranking.sort(rows, self.score(vector, rows), self._id_rank)


def read_info(folder: Path) -> DenseInfo:
    """How the index in a folder is searched.

    Raises:
        OSError, ValueError, TypeError: it cannot be read.
    """
    values = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    return DenseInfo(**values)


def build(
    vectors: StoredVectors,
    id_rank: NDArray[np.int32],
    queries: Vectors,
    *,
    centroids: Vectors | None = None,
    threads: int = 0,
) -> IvfIndex:
    """An index of these vectors, set to reach `TARGET` on the queries as cheaply as it can.

    Args:
        vectors: of the products, by row.
        id_rank: for each row its product id's place in ascending order.
        queries: vectors of texts that are asked like queries: half set it, half measure it.
        centroids: those of an index before, (lists, dim): nothing is learnt then.
        threads: CPU threads; 0 takes every core.
    """
    before = faiss.omp_get_max_threads()
    if threads:
        faiss.omp_set_num_threads(threads)
    try:
        if centroids is None:
            centroids = learn_centroids(vectors, lists_for(len(vectors)))
        index = _fill(vectors, centroids)
        truth = nearest_exactly(vectors, queries, DEPTH)
        found = IvfIndex(index, _unset(len(vectors), len(centroids)), vectors, id_rank)
        return _calibrated(found, queries, truth)
    finally:
        faiss.omp_set_num_threads(before)


def learn_centroids(vectors: StoredVectors, lists: int) -> Vectors:
    """Spherical k-means on a sample: unit vectors, (lists, dim); the same each time.

    Started from k-means within the parts of a coarser one, which costs the square root of it.
    """
    draw = np.random.default_rng(_SEED)
    size = min(len(vectors), _SAMPLE * lists)
    rows = np.sort(draw.choice(len(vectors), size, replace=False))
    sample = vectors[rows].astype(np.float32)
    coarse = round(math.sqrt(lists))
    tops = _means(sample, _picked(sample, coarse, draw), draw, rounds=_ROUNDS)
    parts = _assign(sample, tops)
    starts = []
    for part, share in enumerate(_shares(np.bincount(parts, minlength=len(tops)), lists)):
        inside = sample[parts == part]
        starts.append(_means(inside, _picked(inside, share, draw), draw, rounds=2))
    return _means(sample, np.concatenate(starts), draw, rounds=_ROUNDS)


def _picked(sample: Vectors, count: int, draw: np.random.Generator) -> Vectors:
    return sample[draw.choice(len(sample), min(count, len(sample)), replace=False)]


def _shares(sizes: NDArray[np.int64], lists: int) -> list[int]:
    """How many of the lists each part gets: by its size, `lists` together."""
    ends = np.rint(np.cumsum(sizes) / sizes.sum() * lists).astype(int)
    shares: list[int] = np.minimum(np.diff(ends, prepend=0), sizes).tolist()
    return shares


def _means(
    sample: Vectors, centroids: Vectors, draw: np.random.Generator, *, rounds: int
) -> Vectors:
    """Lloyd's rounds; what nothing is nearest to starts again at a random vector."""
    for _ in range(rounds if len(centroids) else 0):
        nearest = _assign(sample, centroids)
        counts = np.bincount(nearest, minlength=len(centroids))
        ends = np.cumsum(counts)
        held = counts > 0
        sums = np.zeros_like(centroids)
        order = np.argsort(nearest, kind="stable")
        sums[held] = np.add.reduceat(sample[order], (ends - counts)[held], axis=0)
        sums[~held] = _picked(sample, int((~held).sum()), draw)
        centroids = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return centroids


def _assign(sample: Vectors, centroids: Vectors) -> NDArray[np.int64]:
    """The nearest centroid of each vector, (n,); of many centroids nearly always the nearest."""
    if len(centroids) > 1_024:
        _, found = _graph(centroids).search(sample, 1)
        return np.asarray(found[:, 0], dtype=np.int64)
    return np.concatenate(
        [(block @ centroids.T).argmax(axis=1) for block in _blocks(sample)] or [np.empty(0, int)]
    )


def _graph(centroids: Vectors) -> faiss.IndexHNSWFlat:
    """Finds the nearest of many centroids (Malkov and Yashunin 2020)."""
    graph = faiss.IndexHNSWFlat(centroids.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 64, 24
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # else no two were alike
    graph.add(np.ascontiguousarray(centroids))
    faiss.omp_set_num_threads(threads)
    return graph


def _fill(vectors: StoredVectors, centroids: Vectors) -> _Index:
    """The index with every vector in it, in the order of rows."""
    dim = vectors.shape[1]
    rotation = faiss.RandomRotationMatrix(dim, dim)  # RaBitQ wants its dimensions mixed
    rotation.init(_SEED)
    turned = rotation.apply(np.ascontiguousarray(centroids))
    lists: _Index = faiss.index_factory(
        dim, f"IVF{len(centroids)},{_CODE}", faiss.METRIC_INNER_PRODUCT
    )
    flat = faiss.downcast_index(lists.quantizer)
    flat.add(turned)
    graph = _graph(turned)
    lists.train(turned)  # the quantizer is full: nothing but the codes' sizes is left to learn
    lists.quantizer = graph  # quicker than comparing with every centroid
    for block in _blocks(vectors):
        lists.add(rotation.apply(np.ascontiguousarray(block, dtype=np.float32)))
    lists.quantizer = flat
    return faiss.IndexPreTransform(rotation, lists)


def _blocks(vectors: NDArray[np.float16] | Vectors) -> Iterator[NDArray[np.float16] | Vectors]:
    for start in range(0, len(vectors), _BLOCK):
        yield vectors[start : start + _BLOCK]


def nearest_exactly(vectors: StoredVectors, queries: Vectors, depth: int) -> Rows:
    """The rows of the `depth` nearest vectors of each query, in no order; (queries, depth)."""
    scores = np.full((len(queries), depth), -2, dtype=np.float32)
    rows = np.zeros((len(queries), depth), dtype=np.int64)
    start = 0
    for block in _blocks(vectors):
        found = queries @ block.astype(np.float32).T
        kept = min(depth, found.shape[1])
        best = np.argpartition(-found, kept - 1, axis=1)[:, :kept]
        both = np.concatenate([scores, np.take_along_axis(found, best, axis=1)], axis=1)
        every = np.concatenate([rows, best + start], axis=1)
        first = np.argpartition(-both, depth - 1, axis=1)[:, :depth]
        scores = np.take_along_axis(both, first, axis=1)
        rows = np.take_along_axis(every, first, axis=1)
        start += len(block)
    return rows


def recall_of(found: Sequence[Ranking], truth: Rows) -> float:
    """The mean share of each query's true rows that is found."""
    shares = [np.isin(right, one.rows).mean() for one, right in zip(found, truth, strict=True)]
    return float(np.mean(shares)) if shares else 0.0


def _unset(products: int, lists: int) -> DenseInfo:
    return DenseInfo(products, lists, min(_PROBES[-1], lists), _FETCHED[-1], 0.0, 0)


def _calibrated(index: IvfIndex, queries: Vectors, truth: Rows) -> IvfIndex:
    """The index, reading as few lists and then rows as reach the target on the even queries."""
    info = index.info
    best, reached = info, 0.0
    for probes, fetched in _settings(info.lists):
        tried = DenseInfo(info.products, info.lists, probes, fetched, 0.0, 0)
        recall = recall_of(index.set_to(tried).search(queries[::2], DEPTH), truth[::2])
        if recall > reached:
            best, reached = tried, recall
        if recall >= TARGET:
            break
    chosen = index.set_to(best)
    recall = recall_of(chosen.search(queries[1::2], DEPTH), truth[1::2])
    return index.set_to(
        DenseInfo(
            info.products, info.lists, best.probes, best.fetched, round(recall, 4),
            len(queries[1::2]),
        )
    )  # fmt: skip


def _settings(lists: int) -> Iterator[tuple[int, int]]:
    """Probes and fetched depths to try, the cheapest first."""
    for probes in (*(one for one in _PROBES if one < lists), lists):
        for fetched in _FETCHED:
            yield probes, fetched
