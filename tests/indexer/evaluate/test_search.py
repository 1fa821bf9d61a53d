from __future__ import annotations

from pathlib import Path

import ir_measures
import pytest

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.judgments import JudgedQueries, read_qrels
from indexer.evaluate.metrics import FULL_CATALOG, per_query
from indexer.evaluate.runs import write_runs
from indexer.evaluate.search import DEPTH, evaluate_stages
from tests.indexer.evaluate.fakes import FakeEngine

_JUDGED = JudgedQueries(
    {"q1": "red shoes", "q2": "blue mug", "q3": "lamp"},
    {"q1": {"a": 3, "b": 2}, "q2": {"b": 3, "gone": 3}, "q3": {"c": 1}},
)
_CATALOG = frozenset("abcd")


def _engine() -> FakeEngine:
    return FakeEngine(
        {
            Stage.LEXICAL: {"red shoes": ["b", "a"], "blue mug": ["d"], "lamp": ["d", "c"]},
            Stage.DENSE: {"red shoes": ["a", "b"], "blue mug": ["d", "b"], "lamp": ["d", "c"]},
            Stage.FUSED: {"red shoes": ["a", "b"], "blue mug": ["b"], "lamp": ["d", "c"]},
        },
        _CATALOG,
    )


def test_each_stage_is_measured_by_its_own_ranking() -> None:
    found = evaluate_stages(_engine(), _JUDGED)
    assert list(found.stages) == [Stage.LEXICAL, Stage.DENSE, Stage.FUSED]
    ranks = {stage: figures.values["RR"] for stage, figures in found.stages.items()}
    assert ranks == {
        Stage.LEXICAL: {"q1": 0.5, "q2": 0.0},
        Stage.DENSE: {"q1": 1.0, "q2": 0.5},
        Stage.FUSED: {"q1": 1.0, "q2": 1.0},
    }
    interval = found.stages[Stage.DENSE].intervals["RR"]
    assert (interval.mean, interval.queries) == (0.75, 2)


def test_what_is_left_out_is_counted() -> None:
    judged = JudgedQueries({**_JUDGED.texts, "q4": "unjudged"}, {**_JUDGED.qrels, "q9": {"a": 1}})
    found = evaluate_stages(_engine(), judged)
    assert found.left_out == {
        "nDCG@10": 0,
        "condensed nDCG@10": 0,
        "P@10": 1,
        "RR": 1,
        "R@100": 1,
        "Judged@10": 0,
    }
    assert found.judged.without_text == ["q9"]
    assert found.judged.without_judgments == ["q4"]
    assert set(found.stages[Stage.FUSED].run) == {"q1", "q2", "q3"}


def test_a_product_the_catalog_lacks_stays_in_the_ideal() -> None:
    found = evaluate_stages(_engine(), _JUDGED, stages=[Stage.FUSED])
    assert found.missing_products == 1
    assert found.stages[Stage.FUSED].values["R@100"]["q2"] == 0.5


def test_the_full_catalog_is_ranked_a_thousand_deep() -> None:
    engine = _engine()
    evaluate_stages(engine, _JUDGED, stages=[Stage.DENSE])
    assert engine.depths == [DEPTH] == [1_000]


def test_time_is_that_of_the_stages_without_fetching_products() -> None:
    assert evaluate_stages(_engine(), _JUDGED).stages[Stage.DENSE].ms_per_query == pytest.approx(
        2.0
    )


def test_judged_only_ranks_every_judged_product_and_nothing_besides() -> None:
    engine = _engine()
    found = evaluate_stages(engine, _JUDGED, judged_only=True)
    lexical = found.stages[Stage.LEXICAL]
    assert lexical.run == {"q1": ["b", "a"], "q2": ["b"], "q3": ["c"]}
    assert set(lexical.values) == {"judged nDCG"}
    # Gains 1 and 0.1 in the wrong order, and in the right one.
    wrong = (0.1 + 1 / 1.584962500721156) / (1 + 0.1 / 1.584962500721156)
    assert lexical.values["judged nDCG"]["q1"] == pytest.approx(wrong)
    assert found.stages[Stage.FUSED].values["judged nDCG"]["q1"] == 1.0
    assert found.protocol == "judged only"


def test_a_stage_that_drops_a_candidate_is_found_out() -> None:
    class Forgetful(FakeEngine):
        def search_many(self, *args: object, **options: object) -> list:  # type: ignore[type-arg]
            options["k"] = 1
            return super().search_many(*args, **options)  # type: ignore[arg-type]

    engine = Forgetful(_engine().rankings, _CATALOG)
    with pytest.raises(EvaluationError, match="'q1': the lexical stage ranked 1 products, not"):
        evaluate_stages(engine, _JUDGED, judged_only=True)


def test_an_answer_by_another_stage_is_not_measured() -> None:
    engine = FakeEngine(_engine().rankings, _CATALOG, answers_as=Stage.LEXICAL)
    with pytest.raises(EvaluationError, match="'q1' was answered by the lexical stage, not dense"):
        evaluate_stages(engine, _JUDGED, stages=[Stage.DENSE])


def test_a_stage_the_snapshot_lacks_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"no reranked stage.*lexical,dense,fused"):
        evaluate_stages(_engine(), _JUDGED, stages=[Stage.FUSED, Stage.RERANKED])


def test_queries_and_judgments_must_meet() -> None:
    with pytest.raises(EvaluationError, match="same query ids"):
        evaluate_stages(_engine(), JudgedQueries({"q1": "red"}, {"Q1": {"a": 3}}))


def test_stages_are_compared_in_line_and_with_the_fused_one() -> None:
    found = evaluate_stages(_engine(), _JUDGED)
    pairs = [(comparison.stage, comparison.against) for comparison in found.comparisons]
    assert pairs == [
        (Stage.DENSE, Stage.LEXICAL),
        (Stage.FUSED, Stage.DENSE),
        (Stage.FUSED, Stage.LEXICAL),
    ]
    last = found.comparisons[-1]
    lexical, fused = (found.stages[one].values["nDCG@10"] for one in (last.against, last.stage))
    assert last.difference.mean == pytest.approx(sum(fused[q] - lexical[q] for q in fused) / 3)
    assert (last.gained, last.lost) == (2, 0)
    assert all(comparison.p_holm >= comparison.p for comparison in found.comparisons)


def test_run_files_give_the_same_figures_again(tmp_path: Path) -> None:
    found = evaluate_stages(_engine(), _JUDGED)
    paths = write_runs(tmp_path / "runs", {s: figures.run for s, figures in found.stages.items()})
    assert [path.name for path in paths] == ["lexical.run", "dense.run", "fused.run"]
    lines = paths[1].read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["q1 Q0 a 1 -1 daogou-dense", "q1 Q0 b 2 -2 daogou-dense"]
    for path, figures in zip(paths, found.stages.values(), strict=True):
        again: dict[str, list[tuple[float, str]]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            query_id, _, product_id, _, score, _ = line.split(" ")
            again.setdefault(query_id, []).append((-float(score), product_id))
        run = {query_id: [one for _, one in sorted(ranked)] for query_id, ranked in again.items()}
        assert per_query(FULL_CATALOG, run, _JUDGED.qrels) == figures.values


def test_a_run_file_read_by_ir_measures_has_no_ties(tmp_path: Path) -> None:
    # Ids in descending order, and odd: an evaluator that saw ties would turn them round.
    judged = JudgedQueries({"q": "x"}, {"q": {"z": 3, "产品\u00a01": 2, "a": 0, "B": 1}})
    ranking = ["z", "产品\u00a01", "a", "B"]
    engine = FakeEngine({Stage.FUSED: {"x": ranking}}, frozenset(ranking))
    found = evaluate_stages(engine, judged)
    (path,) = write_runs(tmp_path, {Stage.FUSED: found.stages[Stage.FUSED].run})
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("q 0 z 3\nq 0 产品\u00a01 2\nq 0 a 0\nq 0 B 1\n", encoding="utf-8")
    assert read_qrels(qrels) == judged.qrels
    lines = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    run = [ir_measures.ScoredDoc(line[0], line[2], float(line[4])) for line in lines]
    measure = ir_measures.nDCG @ 10
    value = ir_measures.calc_aggregate([measure], judged.qrels, run)[measure]
    assert value == found.stages[Stage.FUSED].intervals["nDCG@10"].mean


def test_an_id_that_a_run_file_cannot_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="id 'a b' holds white space"):
        write_runs(tmp_path, {Stage.FUSED: {"q": ["a b"]}})
