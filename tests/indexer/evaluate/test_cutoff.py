from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.cutoff import auroc, auroc_interval, evaluate_cutoff, refused
from indexer.evaluate.judgments import read_queries
from indexer.evaluate.seen import query_hash
from tests.indexer.evaluate.fakes import FakeEngine

_UNANSWERABLE = Path(__file__).parents[2] / "benchmarks" / "unanswerable.tsv"
_ANSWERABLE = {"a1": "kettle", "a2": "mug", "a3": "tent"}
_NOT = {"n1": "cello", "n2": "ferry ticket"}


def _engine(*stages: Stage) -> FakeEngine:
    return FakeEngine(
        {one: {} for one in stages or (Stage.FUSED, Stage.RERANKED)},
        frozenset(),
        fits={
            "kettle": (0.9, False),
            "mug": (0.3, True),
            "tent": (0.8, False),
            "cello": (0.1, True),
            "ferry ticket": (0.8, False),
        },
    )


def test_auroc_counts_pairs_and_a_tie_for_half() -> None:
    assert auroc([0.9, 0.8], [0.1, 0.2]) == 1.0
    assert auroc([0.1], [0.9]) == 0.0
    assert auroc([0.9, 0.3, 0.8], [0.1, 0.8]) == pytest.approx((2 + 1 + 1.5) / 6)
    assert auroc([0.5] * 7, [0.5] * 3) == 0.5
    with pytest.raises(EvaluationError, match="--unanswerable"):
        auroc([0.5], [])


def test_its_interval_holds_it_and_repeats() -> None:
    random = np.random.default_rng(2)
    answerable, unanswerable = random.normal(1, 1, 80), random.normal(0, 1, 90)
    found = auroc_interval(answerable, unanswerable, samples=700)
    assert found.mean == auroc(answerable, unanswerable)
    # Hanley and McNeil (1982) give a standard error near 0.036 here.
    assert 0.1 < found.high - found.low < 0.2
    assert found.low < found.mean < found.high
    assert found.queries == 170
    assert auroc_interval(answerable, unanswerable, samples=700) == found


def test_below_the_threshold_is_refused() -> None:
    assert refused([0.1, 0.5, 0.7], 0.5).tolist() == [True, False, False]


def test_the_engine_is_measured_by_what_it_says() -> None:
    counted: list[int] = []
    found = evaluate_cutoff(_engine(), _ANSWERABLE, _NOT, on_progress=counted.append)
    assert found.auroc.mean == pytest.approx((2 + 1 + 1.5) / 6)
    assert found.answerable_refused.mean == pytest.approx(1 / 3)
    assert found.unanswerable_refused.mean == 0.5
    assert found.refused == {"a2": 0.3}
    assert found.answered == {"n2": 0.8}
    assert sum(counted) == 5


def test_queries_seen_in_training_are_told(tmp_path: Path) -> None:
    (tmp_path / "ranking").mkdir()
    (tmp_path / "ranking" / "training_queries.txt").write_text(f"{query_hash('cello')}\n")
    engine = _engine()
    engine.folder = tmp_path
    assert evaluate_cutoff(engine, _ANSWERABLE, _NOT).seen == {"ranking": ("n1",)}


def test_without_reranker_or_cut_off_there_is_nothing_to_measure() -> None:
    with pytest.raises(EvaluationError, match="no reranker"):
        evaluate_cutoff(_engine(Stage.FUSED), _ANSWERABLE, _NOT)
    engine = _engine()
    engine.fits = {}
    with pytest.raises(EvaluationError, match=r"without a cut-off.*daogou train ranking"):
        evaluate_cutoff(engine, _ANSWERABLE, _NOT)


def test_an_id_of_both_kinds_is_refused() -> None:
    with pytest.raises(EvaluationError, match="'a1' is in both"):
        evaluate_cutoff(_engine(), _ANSWERABLE, {"a1": "cello"})


def test_the_unanswerable_queries_are_two_hundred_different_ones() -> None:
    queries = read_queries(_UNANSWERABLE)
    assert list(queries) == [f"none-{number:03d}" for number in range(1, 201)]
    assert len({query_hash(text) for text in queries.values()}) == 200
