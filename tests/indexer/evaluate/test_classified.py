from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import EvaluationError
from engine.manifest import ModelEntry
from engine.search import SearchEngine
from engine.settings import Settings
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.text import passage
from engine.types import Stage
from indexer.evaluate.classified import classify_judged
from indexer.evaluate.cutoff import evaluate_cutoff
from indexer.evaluate.judgments import JudgedQueries
from tests.fakes import FakeReranker
from tests.indexer.evaluate.fakes import FakeEngine

_JUDGED = JudgedQueries(
    {"q1": "red shoes", "q2": "blue mug", "q3": "lamp"},
    {"q1": {"b": 0, "a": 3}, "q2": {"b": 2, "gone": 3}, "q3": {"gone": 1}},
)
_PROBABILITIES = {"a": (0.1, 0.1, 0.2, 0.6), "b": (0.4, 0.3, 0.2, 0.1)}


def _engine(*stages: Stage) -> FakeEngine:
    return FakeEngine({one: {} for one in stages}, frozenset("ab"), probabilities=_PROBABILITIES)


def test_every_judged_product_of_the_catalog_is_classified() -> None:
    counted: list[int] = []
    found = classify_judged(_engine(Stage.RERANKED), _JUDGED, on_progress=counted.append)
    assert found.queries == ("q1", "q1", "q2")
    assert found.grades.tolist() == [3, 0, 2]
    expected = [_PROBABILITIES[one] for one in "abb"]
    assert np.array_equal(found.probabilities, np.array(expected))
    assert found.missing_products == 1
    assert counted == [2]


def test_a_snapshot_without_reranker_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"no reranker.*--reranker DIR"):
        classify_judged(_engine(Stage.FUSED), _JUDGED)


def test_judgments_of_another_catalog_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no judged product of any query"):
        classify_judged(_engine(Stage.RERANKED), _JUDGED.only(["q3"], Path("ids.txt")))


def test_a_product_left_unclassified_is_found_out() -> None:
    engine = _engine(Stage.RERANKED)
    engine.probabilities = {"a": _PROBABILITIES["a"]}
    with pytest.raises(EvaluationError, match="'q1': product 'b' was not classified"):
        classify_judged(engine, _JUDGED)


def test_the_engine_itself_gives_what_its_reranker_says(shop_store: Path) -> None:
    snapshot = Snapshot.open(SnapshotStore(shop_store).current())
    reranker = FakeReranker()
    entry = ModelEntry(name="fake", fingerprint=reranker.fingerprint, precision="fp32")
    models = {**snapshot.manifest.models, "reranker": entry}
    snapshot.manifest = snapshot.manifest.model_copy(update={"models": models})
    snapshot.reranker = reranker
    engine = SearchEngine(snapshot, Settings(rerank=True, rerank_depth=2))
    judged = JudgedQueries({"q": "coffee mug"}, {"q": {"m1": 3, "m2": 2, "t1": 0, "h1": 0}})
    found = classify_judged(engine, judged)
    passages = [passage(engine.product(one)) for one in ("h1", "m1", "m2", "t1")]
    expected = reranker.classify(["coffee mug"] * 4, passages)
    assert found.probabilities == pytest.approx(expected, abs=1e-6)
    assert found.grades.tolist() == [0, 3, 2, 0]
    with pytest.raises(EvaluationError, match="without a cut-off"):
        evaluate_cutoff(engine, {"q": "coffee mug"}, {"n": "cello"})
