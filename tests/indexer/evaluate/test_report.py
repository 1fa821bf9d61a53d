from __future__ import annotations

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.figure import draw
from indexer.evaluate.judgments import JudgedQueries
from indexer.evaluate.report import to_json, to_tables
from indexer.evaluate.search import SearchEvaluation, evaluate_stages
from tests.indexer.evaluate.fakes import FakeEngine

_TEXTS = {"q1": "red $shoes_1$ & <b>", "q2": "保温杯", "q3": "lamp " * 30}


def _evaluation(*stages: Stage) -> SearchEvaluation:
    rankings: dict[Stage, dict[str, Sequence[str]]] = {
        Stage.LEXICAL: dict.fromkeys(_TEXTS.values(), ("x", "b", "a")),
        Stage.FUSED: {
            _TEXTS["q1"]: ["a", "b"],
            _TEXTS["q2"]: ["x", "y", "b", "a"],
            _TEXTS["q3"]: ["a"],
        },
    }
    judged = JudgedQueries(
        _TEXTS,
        {
            "q1": {"a": 3, "b": 1},
            "q2": {"a": 1, "b": 2},
            "q3": {"a": 3, "lost": 0},
            "q4": {"a": 1},
        },
    )
    engine = FakeEngine({s: rankings[s] for s in stages}, frozenset("abxy"))
    return evaluate_stages(engine, judged)


def _printed(evaluation: SearchEvaluation) -> str:
    console = Console(width=80, record=True, file=StringIO())
    console.print(to_tables(evaluation))
    return console.export_text()


def test_json_has_an_interval_for_every_stage_and_metric() -> None:
    found = json.loads(json.dumps(to_json(_evaluation(Stage.LEXICAL, Stage.FUSED))))
    assert set(found["stages"]) == {"lexical", "fused"}
    figure = found["stages"]["fused"]["RR"]
    assert figure == {"mean": 1.0, "low": 1.0, "high": 1.0, "queries": 2}
    assert found["stages"]["lexical"]["RR"]["mean"] == pytest.approx(1 / 3)
    assert found["left_out"]["RR"] == 1
    assert found["missing_products"] == 1
    assert found["without_text"] == ["q4"]
    assert found["snapshot"] == "fake-1"
    assert found["protocol"] == "full catalog"
    (comparison,) = found["comparisons"]
    assert (comparison["stage"], comparison["against"]) == ("fused", "lexical")
    assert comparison["metric"] == "nDCG@10"
    assert (comparison["gained"], comparison["lost"]) == (2, 1)


def test_a_metric_that_no_query_has_is_absent_not_zero() -> None:
    judged = JudgedQueries({"q1": "lamp"}, {"q1": {"a": 1}})
    evaluation = evaluate_stages(FakeEngine({Stage.FUSED: {"lamp": ["a"]}}, frozenset("a")), judged)
    found = to_json(evaluation)
    assert set(found["stages"]["fused"]) == {"nDCG@10", "condensed nDCG@10", "Judged@10"}
    assert found["left_out"]["P@10"] == 1
    assert "–" in _printed(evaluation)


def test_the_table_shows_figures_comparisons_and_what_was_left_out() -> None:
    text = _printed(_evaluation(Stage.LEXICAL, Stage.FUSED))
    assert "fused − lexical" in text
    assert "1.000 1.00–1.00" in text
    assert "1 queries left out of P@10, RR, R@100: " in text
    assert "1 judged products are not in this catalog" in text
    assert "1 judged queries have no text: q4" in text


def test_the_figure_names_stages_metrics_and_queries(tmp_path: Path) -> None:
    path = tmp_path / "figure.svg"
    draw(_evaluation(Stage.LEXICAL, Stage.FUSED), path)
    svg = path.read_text(encoding="utf-8")
    for words in ("lexical", "condensed nDCG@10", "fused against lexical", "2 gained, 1 lost"):
        assert words in svg
    assert "red $shoes_1$ &amp; &lt;b&gt;" in svg
    assert "保温杯" in svg
    assert "lamp " * 9 not in svg  # long queries are cut


def test_one_stage_is_drawn_without_a_comparison(tmp_path: Path) -> None:
    path = tmp_path / "figure.svg"
    draw(_evaluation(Stage.FUSED), path)
    assert "Query by query" not in path.read_text(encoding="utf-8")


def test_a_figure_that_cannot_be_written_names_the_cure(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "folder.png", tmp_path / "figure.docx"):
        with pytest.raises(EvaluationError, match="--figure"):
            draw(_evaluation(Stage.FUSED), path)
