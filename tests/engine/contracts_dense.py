"""What every `DenseRetriever` must do, whatever stands behind it.

A test class inherits the contract and gives the fixture `build`: vectors in row order and the
places of their product ids → retriever.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.protocols import DenseRetriever
from engine.types import RowSet, Vectors

Build = Callable[[NDArray[np.float16], NDArray[np.int32]], DenseRetriever]

SIZE, DIM = 300, 16
IDS = np.argsort(np.argsort([f"id{7 * n % SIZE}" for n in range(SIZE)])).astype(np.int32)
MANY = 600


def unit(raw: NDArray[np.float64]) -> NDArray[np.float16]:
    """The rows at length 1, as they are stored."""
    vectors: NDArray[np.float16] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return vectors.astype(np.float16)


def some_vectors(dim: int = DIM) -> NDArray[np.float16]:
    raw = np.random.default_rng(3).normal(size=(SIZE, dim))
    raw[200] = raw[100]  # twins: ties are broken by product id
    return unit(raw)


class DenseContract:
    """The checks."""

    @pytest.fixture
    def stored(self) -> NDArray[np.float16]:
        return some_vectors()

    @pytest.fixture
    def index(self, build: Build, stored: NDArray[np.float16]) -> DenseRetriever:
        return build(stored, IDS)

    @pytest.fixture
    def queries(self, stored: NDArray[np.float16]) -> Vectors:
        vectors: Vectors = stored[[5, 100, 250]].astype(np.float32)
        return vectors

    def test_a_product_is_nearest_to_itself(self, index: DenseRetriever, queries: Vectors) -> None:
        rankings = index.search(queries, 10)
        assert [int(ranking.rows[0]) for ranking in rankings[::2]] == [5, 250]
        firsts = [float(ranking.scores[0]) for ranking in rankings]
        assert firsts == pytest.approx([1, 1, 1], abs=2e-3)

    def test_ties_go_to_the_lower_product_id(self, index: DenseRetriever, queries: Vectors) -> None:
        twins = sorted((100, 200), key=lambda row: IDS[row])
        assert index.search(queries, 2)[1].rows.tolist() == twins
        assert index.search(queries, 1)[1].rows.tolist() == twins[:1]

    @pytest.mark.parametrize("alike", [50, 90, MANY])
    @pytest.mark.parametrize("step", [1, 2])
    def test_of_many_alike_the_lowest_product_ids_make_the_cut(
        self, build: Build, alike: int, step: int
    ) -> None:
        stored = unit(np.random.default_rng(4).normal(size=(MANY, DIM)))
        stored[:alike] = stored[0]
        index = build(stored, np.arange(MANY, dtype=np.int32)[::-1])
        query = stored[:1].astype(np.float32)
        allowed = None if step == 1 else RowSet.of(np.arange(0, MANY, step), MANY)
        lowest = list(range(alike - 1, -1, -1))
        lowest = [row for row in lowest if row % step == 0]
        for depth in (1, 3, 20):
            assert index.search(query, depth, allowed)[0].rows.tolist() == lowest[:depth]

    def test_ties_in_one_query_leave_the_rest_of_the_batch_alone(self, build: Build) -> None:
        stored = unit(np.random.default_rng(4).normal(size=(MANY, DIM)))
        stored[:200] = stored[0]
        index = build(stored, np.arange(MANY, dtype=np.int32)[::-1])
        batch = stored[[300, 0, 301, 1]].astype(np.float32)
        together = index.search(batch, 3)
        assert [ranking.rows[0] for ranking in together] == [300, 199, 301, 199]
        for vector, ranking in zip(batch, together, strict=True):
            alone = index.search(vector[None], 3)[0]
            assert alone.rows.tolist() == ranking.rows.tolist()
            assert alone.scores.tolist() == ranking.scores.tolist()

    def test_the_order_is_that_of_all_cosines(
        self, index: DenseRetriever, stored: NDArray[np.float16], queries: Vectors
    ) -> None:
        for vector, ranking in zip(queries, index.search(queries, SIZE), strict=True):
            cosines = (stored.astype(np.float64) @ vector.astype(np.float64)).round(7)  # twins tie
            assert ranking.rows.tolist() == np.lexsort((IDS, -cosines)).tolist()
            assert ranking.scores == pytest.approx(cosines[ranking.rows], abs=1e-6)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
    def test_a_filter_only_leaves_rows_out(
        self, index: DenseRetriever, queries: Vectors, share: float
    ) -> None:
        allowed = RowSet(np.random.default_rng(1).random(SIZE) < share)
        everything = index.search(queries, SIZE)
        for whole, filtered in zip(everything, index.search(queries, 20, allowed), strict=True):
            kept = allowed.mask[whole.rows]
            assert filtered.rows.tolist() == whole.rows[kept][:20].tolist()
            assert filtered.scores.tolist() == whole.scores[kept][:20].tolist()

    def test_a_deeper_search_only_adds(self, index: DenseRetriever, queries: Vectors) -> None:
        whole = index.search(queries, SIZE)
        for depth in (1, 7, 100):
            for ranking, longer in zip(index.search(queries, depth), whole, strict=True):
                assert ranking.rows.tolist() == longer.rows[:depth].tolist()
                assert ranking.scores.tolist() == longer.scores[:depth].tolist()

    def test_scores_are_those_of_search(self, index: DenseRetriever, queries: Vectors) -> None:
        ranking = index.search(queries, 50)[0]
        assert index.score(queries[0], ranking.rows).tolist() == ranking.scores.tolist()
        assert index.score(queries[0], ranking.rows[:0]).shape == (0,)

    @pytest.mark.parametrize("dim", [16, 100, 384])
    def test_a_score_is_the_same_whatever_other_rows_are_asked_for(
        self, build: Build, dim: int
    ) -> None:
        stored = some_vectors(dim)
        index = build(stored, IDS)
        query = unit(np.random.default_rng(9).normal(size=(1, dim)))[0].astype(np.float32)
        whole = index.score(query, np.arange(SIZE))
        assert whole[100] == whole[200]
        draw = np.random.default_rng(6)
        for size in [*range(1, 20), 63, 64, 65, 200]:
            rows = draw.permutation(SIZE)[:size]
            assert index.score(query, rows).tolist() == whole[rows].tolist()
        strided = np.repeat(query, 2)[::2]
        assert index.score(strided, np.arange(SIZE)).tolist() == whole.tolist()

    def test_a_query_ranks_the_same_alone_or_in_a_batch(
        self, index: DenseRetriever, stored: NDArray[np.float16]
    ) -> None:
        batch = stored[:40].astype(np.float32)
        for layout in (batch, np.asfortranarray(batch)):
            for vector, together in zip(batch, index.search(layout, 30), strict=True):
                alone = index.search(vector[None], 30)[0]
                assert alone.rows.tolist() == together.rows.tolist()
                assert alone.scores.tolist() == together.scores.tolist()

    def test_no_query_and_no_depth(self, index: DenseRetriever, queries: Vectors) -> None:
        assert index.search(queries[:0], 5) == []
        assert [len(ranking) for ranking in index.search(queries, 0)] == [0, 0, 0]

    def test_deeper_than_the_catalog_is_not_padded(
        self, index: DenseRetriever, queries: Vectors
    ) -> None:
        ranking = index.search(queries, 10 * SIZE)[0]
        assert sorted(ranking.rows.tolist()) == list(range(SIZE))
