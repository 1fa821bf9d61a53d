from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import SnapshotDamagedError
from engine.retrieval import ivf
from engine.retrieval.dense import ExactIndex, create_vectors, open_vectors
from engine.retrieval.ivf import INDEX_FILE, INFO_FILE, IvfIndex, build, nearest_exactly, recall_of
from engine.types import Ranking, RowSet, Scores, Vectors

SIZE, DIM = 4_000, 64


def unit(values: Vectors) -> Vectors:
    scaled: Vectors = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors in clumps, as texts of a shop are."""
    draw = np.random.default_rng(2)
    centres = unit(draw.standard_normal((100, DIM), dtype=np.float32))
    near = centres[draw.integers(100, size=SIZE)]
    own = unit(near + 0.08 * draw.standard_normal((SIZE, DIM), dtype=np.float32))
    folder = tmp_path_factory.mktemp("ivf")
    stored = create_vectors(folder / "vectors.npy", SIZE, DIM)
    stored[:] = own
    stored.flush()
    np.save(folder / "id_rank.npy", draw.permutation(SIZE).astype(np.int32))
    queries = unit(own[:200] + 0.1 * draw.standard_normal((200, DIM), dtype=np.float32))
    np.save(folder / "queries.npy", queries)
    return folder


@pytest.fixture(scope="module")
def queries(folder: Path) -> Vectors:
    found: Vectors = np.load(folder / "queries.npy")
    return found


@pytest.fixture(scope="module")
def index(folder: Path, queries: Vectors) -> IvfIndex:
    return build(open_vectors(folder / "vectors.npy"), np.load(folder / "id_rank.npy"), queries)


@pytest.fixture(scope="module")
def exact(folder: Path) -> ExactIndex:
    return ExactIndex(open_vectors(folder / "vectors.npy"), np.load(folder / "id_rank.npy"))


@pytest.fixture(scope="module")
def indexes(index: IvfIndex, exact: ExactIndex) -> tuple[IvfIndex, ExactIndex]:
    return index, exact


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whatever is allowed of so small a catalog would be scored."""
    monkeypatch.setattr(ivf, "_FEW", 50)


def test_it_reaches_what_it_was_set_to_and_says_so(
    index: IvfIndex, exact: ExactIndex, queries: Vectors
) -> None:
    truth = np.stack([one.rows for one in exact.search(queries[1::2], 100)])
    recall = recall_of(index.search(queries[1::2], 100), truth)
    assert index.info.recall == pytest.approx(recall, abs=0.01)
    assert recall > 0.93
    assert index.info.probes < index.info.lists == ivf.lists_for(SIZE)
    assert index.info.queries == 100


def test_what_it_finds_is_scored_and_ordered_exactly(
    index: IvfIndex, exact: ExactIndex, queries: Vectors
) -> None:
    for query, ranking in zip(queries[:20], index.search(queries[:20], 30), strict=True):
        assert len(ranking) == 30
        assert np.array_equal(ranking.scores, exact.score(query, ranking.rows))
        assert (np.diff(ranking.scores) <= 0).all()
        assert len(set(ranking.rows.tolist())) == 30


@pytest.mark.parametrize("share", [0.9, 0.3, 0.1, 0.02, 0.002])
def test_a_filter_of_any_width_loses_little_and_lets_nothing_else_through(
    index: IvfIndex, exact: ExactIndex, queries: Vectors, share: float
) -> None:
    allowed = RowSet(np.random.default_rng(3).random(SIZE) < share)
    depth = min(50, len(allowed))
    found = index.search(queries[:50], depth, allowed)
    right = np.stack([one.rows for one in exact.search(queries[:50], depth, allowed)])
    assert all(allowed.mask[one.rows].all() for one in found)
    assert {len(one) for one in found} == {depth}
    assert recall_of(found, right) > 0.93


@pytest.fixture(scope="module")
def clumps(folder: Path) -> NDArray[np.int64]:
    """The clump that each vector is nearest to the middle of, numbered by how far from the first.

    A filter of some of them allows what lies together, as shelves and brands do.
    """
    centres = unit(np.random.default_rng(2).standard_normal((100, DIM), dtype=np.float32))
    order = np.argsort(-(centres @ centres[0]), kind="stable")
    own = open_vectors(folder / "vectors.npy").astype(np.float32)
    found: NDArray[np.int64] = np.argmax(own @ centres[order].T, axis=1)
    return found


@pytest.mark.parametrize(
    "span", [(0, 2), (0, 10), (20, 40), (50, 100), (90, 100), (99, 100), (1, 100)]
)
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_filter_of_what_lies_together_finds_it_from_afar(
    indexes: tuple[IvfIndex, ExactIndex],
    queries: Vectors,
    clumps: NDArray[np.int64],
    span: tuple[int, int],
    share: float,
) -> None:
    index, exact = indexes
    index = index.set_to(replace(index.info, probes=index.info.lists // 16))
    mask = (clumps >= span[0]) & (clumps < span[1])
    mask &= np.random.default_rng(5).random(SIZE) < share  # two filters together
    allowed = RowSet(mask)
    depth = min(50, len(allowed))
    found = index.search(queries[:50], depth, allowed)
    right = np.stack([one.rows for one in exact.search(queries[:50], depth, allowed)])
    assert all(mask[one.rows].all() for one in found)
    assert {len(one) for one in found} == {depth}
    assert recall_of(found, right) > 0.93
    for query, ranking in zip(queries[:50:10], found[::10], strict=True):
        (alone,) = index.search(query[None], depth, allowed)
        assert alone.rows.tolist() == ranking.rows.tolist()
        assert alone.scores.tolist() == ranking.scores.tolist()


@pytest.mark.parametrize("span", [(0, 30), (120, 150)])
def test_of_what_lies_loosely_together_more_lists_are_read(span: tuple[int, int]) -> None:
    draw, size = np.random.default_rng(2), 6_000
    centres = unit(draw.standard_normal((150, DIM), dtype=np.float32))
    clump = draw.integers(150, size=size)
    own = unit(centres[clump] + 0.12 * draw.standard_normal((size, DIM), dtype=np.float32))
    asked = unit(own[:200] + 0.1 * draw.standard_normal((200, DIM), dtype=np.float32))
    stored, id_rank = own.astype(np.float16), draw.permutation(size).astype(np.int32)
    built = build(stored, id_rank, asked, threads=1)
    index = built.set_to(replace(built.info, probes=8, fetched=1))
    away = np.argsort(np.argsort(-(centres @ centres[0]), kind="stable"))[clump]
    allowed = RowSet((away >= span[0]) & (away < span[1]))
    right = ExactIndex(stored, id_rank).search(asked[:60], 50, allowed)
    found = index.search(asked[:60], 50, allowed)
    assert recall_of(found, np.stack([one.rows for one in right])) > 0.95


def test_an_index_is_freed_when_it_is_dropped_whoever_keeps_a_mask(
    index: IvfIndex, queries: Vectors
) -> None:
    mask = np.random.default_rng(3).random(SIZE) < 0.5
    mask.flags.writeable = False
    dropped = index.set_to(index.info)
    dropped.search(queries[:1], 10, RowSet(mask))
    there = weakref.ref(dropped)
    gc.disable()
    try:
        del dropped
        assert there() is None
    finally:
        gc.enable()


def test_a_filter_gives_as_many_as_are_asked_for_at_any_depth(
    index: IvfIndex, queries: Vectors, clumps: NDArray[np.int64]
) -> None:
    allowed = RowSet(clumps >= 50)
    for depth in (1, 100, 700, len(allowed) - 1, len(allowed), SIZE):
        for ranking in index.search(queries[:3], depth, allowed):
            assert len(ranking) == min(depth, len(allowed))
            assert allowed.mask[ranking.rows].all()


def test_few_are_all_scored(
    index: IvfIndex, exact: ExactIndex, queries: Vectors, clumps: NDArray[np.int64],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(ivf, "_FEW", 2_000)
    monkeypatch.setattr(IvfIndex, "_choose", None)  # would fail
    allowed = RowSet(clumps >= 60)
    assert 1_000 < len(allowed) < 2_000
    for query in queries[:10]:
        (ranking,), (right,) = (one.search(query[None], 10, allowed) for one in (index, exact))
        assert ranking.rows.tolist() == right.rows.tolist()


def test_of_a_filter_only_lists_that_hold_what_it_allows_are_read(
    index: IvfIndex, queries: Vectors, clumps: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ivf, "_ROW_COST", 10_000)  # else all that is allowed would be scored
    chosen: list[NDArray[np.int64]] = []
    choose = IvfIndex._choose

    def watched(
        self: IvfIndex, query: NDArray[np.float32], limit: int, held: ivf._Allowed
    ) -> tuple[NDArray[np.int64], Scores]:
        chosen.append(choose(self, query, limit, held)[0])
        return choose(self, query, limit, held)

    monkeypatch.setattr(IvfIndex, "_choose", watched)
    allowed = RowSet(clumps >= 80)
    index.search(queries[:20], 10, allowed)
    holding = np.unique(index._list_of[allowed.mask])
    assert len(chosen) == 20
    assert all(np.isin(lists, holding).all() for lists in chosen)
    assert all(0 < len(lists) < index.info.lists for lists in chosen)
    anything = RowSet(np.random.default_rng(3).random(SIZE) < 0.5)
    index.search(queries[:20], 10, anything)
    assert np.mean([len(lists) for lists in chosen[20:]]) < index.info.lists / 2


def test_where_the_allowed_lie_is_counted_once_for_each_mask_that_stays(
    index: IvfIndex, queries: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = index.set_to(index.info)
    counted: list[int] = []
    count = IvfIndex._counts

    def watched(self: IvfIndex, allowed: RowSet) -> NDArray[np.int64]:
        counted.append(len(allowed))
        return count(self, allowed)

    monkeypatch.setattr(IvfIndex, "_counts", watched)
    for share in (0.8, 0.4):
        mask = np.random.default_rng(3).random(SIZE) < share
        for known in asked._counts(RowSet(mask)), asked._counts(RowSet(mask.copy())):
            lists = [int(mask[asked._list_of == number].sum()) for number in range(len(known))]
            assert known.tolist() == lists
        counted.clear()
        for _ in range(2):
            asked.search(queries[:1], 10, RowSet(mask))  # it may be written to
        mask[:] = ~mask
        (ranking,) = asked.search(queries[:1], 10, RowSet(mask))
        assert mask[ranking.rows].all()
        assert len(counted) == 3
        counted.clear()
        mask.flags.writeable = False
        for _ in range(3):
            asked.search(queries[:1], 10, RowSet(mask))
        assert len(counted) == 1
        assert len(asked._allowed) == 1
        del mask
        assert not asked._allowed


def test_above_keeps_what_is_near_enough(
    index: IvfIndex, exact: ExactIndex, queries: Vectors
) -> None:
    found = index.above(queries[0], 0.6, 10_000).products
    right = exact.above(queries[0], 0.6, 1_000).products
    assert (found.scores >= 0.6).all()
    assert np.isin(right.rows, found.rows).mean() > 0.9


def test_above_says_whether_it_saw_everything(index: IvfIndex, queries: Vectors) -> None:
    assert not index.above(queries[0], 0.6, 10_000).complete  # other lists were not read
    everything = index.set_to(replace(index.info, probes=index.info.lists))
    assert everything.above(queries[0], 0.6, 10_000).complete
    assert not everything.above(queries[0], -1.0, 10_000).complete  # there are more than 1,000
    assert not everything.above(queries[0], 0.6, 3).complete


def test_cosines_are_exact_of_the_nearest_and_near_enough_of_the_rest(
    index: IvfIndex, exact: ExactIndex, queries: Vectors
) -> None:
    nearest = ivf.DEPTH * index.info.fetched
    for query in queries[:20]:
        found = index.above(query, -1.0, 1_000).products
        cosines = exact.score(query, found.rows)
        assert len(found) > nearest
        assert (found.scores == cosines).sum() >= nearest
        assert np.abs(found.scores - cosines).mean() < 0.03  # 64 dimensions; 0.01 of 384
        assert (found.scores[: nearest // 2] == cosines[: nearest // 2]).mean() > 0.9


def test_what_was_read_for_one_question_answers_the_next_the_same(
    index: IvfIndex, queries: Vectors
) -> None:
    questions: list[Callable[[IvfIndex, Vectors], Ranking]] = [
        lambda asked, query: asked.search(query[None], 10)[0],
        lambda asked, query: asked.above(query, 0.5, 400).products,
        lambda asked, query: asked.search(query[None], 300, then_above=True)[0],
        lambda asked, query: asked.above(query, 0.2, 1_000).products,
    ]
    for query, other in zip(queries[:20], queries[20:40], strict=True):
        index.search(other[None], 10)
        in_turn = [question(index, query) for question in questions]
        alone = [question(index.set_to(index.info), query) for question in questions]
        for one, expected in zip(in_turn, alone, strict=True):
            np.testing.assert_array_equal(one.rows, expected.rows)
            np.testing.assert_array_equal(one.scores, expected.scores)
        together = index.search(np.stack([query, other]), 10)
        np.testing.assert_array_equal(together[0].rows, in_turn[0].rows)


def test_it_is_the_same_each_time_and_after_it_was_stored(
    index: IvfIndex, folder: Path, queries: Vectors, tmp_path: Path
) -> None:
    vectors, id_rank = open_vectors(folder / "vectors.npy"), np.load(folder / "id_rank.npy")
    again = build(vectors, id_rank, queries, threads=1)
    index.save(tmp_path / "dense")
    stored = IvfIndex.open(tmp_path / "dense", vectors, id_rank)
    assert again.info == stored.info == index.info
    for one, two, three in zip(
        index.search(queries, 10), again.search(queries, 10), stored.search(queries, 10),
        strict=True,
    ):  # fmt: skip
        assert one.rows.tolist() == two.rows.tolist() == three.rows.tolist()
    assert np.allclose(stored.centroids, index.centroids, atol=1e-5)


def test_it_is_built_around_centroids_that_are_known(
    index: IvfIndex, folder: Path, queries: Vectors
) -> None:
    vectors = open_vectors(folder / "vectors.npy")[:3_900]
    id_rank = np.arange(3_900, dtype=np.int32)
    again = build(vectors, id_rank, queries, centroids=index.centroids)
    assert again.info.products == 3_900
    assert again.info.recall > 0.93


def test_empty_questions(index: IvfIndex, queries: Vectors) -> None:
    nothing = RowSet(np.zeros(SIZE, dtype=np.bool_))
    assert len(index.search(queries[:1], 10, nothing)[0]) == 0
    assert index.search(queries[:0], 10) == []
    assert len(index.search(queries[:1], 0)[0]) == 0


@pytest.mark.parametrize("name", [INDEX_FILE, INFO_FILE])
def test_damage_is_named(index: IvfIndex, folder: Path, tmp_path: Path, name: str) -> None:
    vectors, id_rank = open_vectors(folder / "vectors.npy"), np.load(folder / "id_rank.npy")
    index.save(tmp_path / "dense")
    with pytest.raises(SnapshotDamagedError, match="in the snapshot"):
        IvfIndex.open(tmp_path / "dense", vectors[:10], id_rank[:10])
    path = tmp_path / "dense" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(SnapshotDamagedError, match="no index of vectors"):
        IvfIndex.open(tmp_path / "dense", vectors, id_rank)
    path.unlink()
    with pytest.raises(SnapshotDamagedError, match="no index of vectors"):
        IvfIndex.open(tmp_path / "dense", vectors, id_rank)


def test_the_nearest_by_exact_search(folder: Path, exact: ExactIndex, queries: Vectors) -> None:
    found = nearest_exactly(open_vectors(folder / "vectors.npy"), queries[:5], 10)
    for rows, ranking in zip(found, exact.search(queries[:5], 10), strict=True):
        assert sorted(rows.tolist()) == sorted(ranking.rows.tolist())
