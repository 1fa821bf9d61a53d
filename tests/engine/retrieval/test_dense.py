"""Vector search, by the contract every dense retriever passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import SnapshotDamagedError
from engine.protocols import DenseRetriever
from engine.retrieval.dense import ExactIndex, StoredVectors, create_vectors, open_vectors
from engine.types import RowSet, Vectors

SIZE, DIM = 300, 16
IDS = np.argsort(np.argsort([f"id{7 * n % SIZE}" for n in range(SIZE)])).astype(np.int32)

Build = Callable[[StoredVectors, NDArray[np.int32]], DenseRetriever]
BACKENDS: dict[str, Build] = {"exact": ExactIndex}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredVectors:
    raw = np.random.default_rng(3).normal(size=(SIZE, DIM))
    raw[200] = raw[100]  # twins: ties are broken by product id
    path = tmp_path_factory.mktemp("vectors") / "vectors.npy"
    vectors = create_vectors(path, SIZE, DIM)
    vectors[:] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    vectors.flush()
    return open_vectors(path)


@pytest.fixture(scope="module", params=BACKENDS)
def index(request: pytest.FixtureRequest, stored: StoredVectors) -> DenseRetriever:
    return BACKENDS[request.param](stored, IDS)


@pytest.fixture(scope="module")
def queries(stored: StoredVectors) -> Vectors:
    vectors: Vectors = stored[[5, 100, 250]].astype(np.float32)
    return vectors


def test_a_product_is_nearest_to_itself(index: DenseRetriever, queries: Vectors) -> None:
    rankings = index.search(queries, 10)
    assert [int(ranking.rows[0]) for ranking in rankings[::2]] == [5, 250]
    assert [float(ranking.scores[0]) for ranking in rankings] == pytest.approx([1, 1, 1], abs=2e-3)


def test_ties_go_to_the_lower_product_id(index: DenseRetriever, queries: Vectors) -> None:
    twins = sorted((100, 200), key=lambda row: IDS[row])
    assert index.search(queries, 2)[1].rows.tolist() == twins


def test_the_order_is_that_of_all_cosines(
    index: DenseRetriever, stored: StoredVectors, queries: Vectors
) -> None:
    for vector, ranking in zip(queries, index.search(queries, SIZE), strict=True):
        cosines = stored.astype(np.float32) @ vector
        assert ranking.rows.tolist() == np.lexsort((IDS, -cosines)).tolist()
        assert ranking.scores == pytest.approx(cosines[ranking.rows], abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_a_filter_only_leaves_rows_out(
    index: DenseRetriever, queries: Vectors, share: float
) -> None:
    allowed = RowSet(np.random.default_rng(1).random(SIZE) < share)
    everything = index.search(queries, SIZE)
    for whole, filtered in zip(everything, index.search(queries, 20, allowed), strict=True):
        kept = allowed.mask[whole.rows]
        assert filtered.rows.tolist() == whole.rows[kept][:20].tolist()


def test_scores_are_those_of_search(index: DenseRetriever, queries: Vectors) -> None:
    ranking = index.search(queries, 50)[0]
    assert index.score(queries[0], ranking.rows).tolist() == ranking.scores.tolist()
    assert index.score(queries[0], ranking.rows[:0]).shape == (0,)


def test_a_query_ranks_the_same_alone_or_in_a_batch(
    index: DenseRetriever, stored: StoredVectors
) -> None:
    batch = stored[:40].astype(np.float32)
    for vector, together in zip(batch, index.search(batch, 30), strict=True):
        alone = index.search(vector[None], 30)[0]
        assert alone.rows.tolist() == together.rows.tolist()
        assert alone.scores.tolist() == together.scores.tolist()


def test_no_query_and_no_depth(index: DenseRetriever, queries: Vectors) -> None:
    assert index.search(queries[:0], 5) == []
    assert [len(ranking) for ranking in index.search(queries, 0)] == [0, 0, 0]


def test_deeper_than_the_catalog_is_not_padded(index: DenseRetriever, queries: Vectors) -> None:
    ranking = index.search(queries, 10 * SIZE)[0]
    assert sorted(ranking.rows.tolist()) == list(range(SIZE))


@pytest.mark.parametrize("content", [b"", b"junk", np.zeros(3).tobytes()])
def test_a_file_without_vectors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vectors.npy").write_bytes(content)
    with pytest.raises(SnapshotDamagedError, match=r"vectors\.npy"):
        open_vectors(tmp_path / "vectors.npy")


def test_vectors_of_another_type_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.zeros((2, 3)))
    with pytest.raises(SnapshotDamagedError, match="float64"):
        open_vectors(tmp_path / "vectors.npy")
