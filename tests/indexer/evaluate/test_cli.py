from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.cli import EngineSource, evaluate, evaluate_search
from indexer.evaluate.seen import write_training_queries
from tests.indexer.evaluate.fakes import FakeEngine

_APP = typer.Typer()
_APP.command()(evaluate_search)


def _engine(_: Path) -> FakeEngine:
    return FakeEngine(
        {
            Stage.LEXICAL: {"red shoes": ["b", "a"], "blue mug": ["b"]},
            Stage.FUSED: {"red shoes": ["a", "b"], "blue mug": ["b"]},
        },
        frozenset("ab"),
    )


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "q.tsv").write_text("q1\tred shoes\nq2\tblue mug\n", encoding="utf-8")
    (tmp_path / "qrels.txt").write_text("q1 0 a 3\nq2 0 b 3\n", encoding="utf-8")
    (tmp_path / "ids.txt").write_text("q1\n", encoding="utf-8")
    options = {"store": tmp_path, "queries": tmp_path / "q.tsv", "qrels": tmp_path / "qrels.txt"}
    return [str(word) for name, path in options.items() for word in (f"--{name}", path)]


def _run(*arguments: str) -> str:
    found = CliRunner().invoke(
        _APP, arguments, obj=EngineSource(_engine), catch_exceptions=False, color=False
    )
    assert found.exit_code == 0, found.output
    return found.stdout


def test_json_is_one_object_on_standard_output(files: list[str]) -> None:
    found = json.loads(_run(*files, "--json"))
    assert found["stages"]["lexical"]["RR"]["mean"] == 0.75
    assert found["stages"]["fused"]["RR"]["mean"] == 1.0
    assert set(found["stages"]["fused"]["nDCG@10"]) == {"mean", "low", "high", "queries"}


def test_the_table_is_the_default(files: list[str]) -> None:
    text = _run(*files)
    assert "nDCG@10" in text
    assert "fused − lexical" in text


def test_stages_only_and_judged_only_reach_the_evaluation(files: list[str], tmp_path: Path) -> None:
    only = ["--only", str(tmp_path / "ids.txt"), "--stages", "lexical", "--judged-only", "--json"]
    found = json.loads(_run(*files, *only))
    assert set(found["stages"]) == {"lexical"}
    assert found["stages"]["lexical"]["judged nDCG"]["queries"] == 1
    assert found["notes"] == ["only the queries listed in ids.txt"]


def test_runs_and_figure_are_written(files: list[str], tmp_path: Path) -> None:
    _run(*files, "--run-out", str(tmp_path / "runs"), "--figure", str(tmp_path / "figure.png"))
    lines = (tmp_path / "runs" / "fused.run").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "q1 Q0 a 1 -1 daogou-fused"
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_stage_is_named(files: list[str]) -> None:
    with pytest.raises(EvaluationError, match=r"'fusion' is no stage. Choose from lexical,dense"):
        _run(*files, "--stages", "lexical,fusion")


def _command(engine: FakeEngine, *arguments: str) -> str:
    found = CliRunner().invoke(
        evaluate,
        arguments,
        obj=EngineSource(lambda _: engine),
        catch_exceptions=False,
        color=False,
    )
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [("\u200b", "is empty"), ("tent " * 300, "has 1,499 characters, at most 1,000")],
)
def test_a_query_that_cannot_be_asked_is_named_before_any_work(
    files: list[str], tmp_path: Path, text: str, says: str
) -> None:
    odd = tmp_path / "odd.tsv"
    odd.write_text(f"q1\tred shoes\nq2\t{text}\nq3\t\u200b\n", encoding="utf-8")

    def refused(_: Path) -> FakeEngine:
        raise AssertionError("opened before the queries were looked at")

    def run(*arguments: str) -> None:
        source = EngineSource(refused)
        CliRunner().invoke(evaluate, arguments, obj=source, catch_exceptions=False)

    judged = [str(odd) if word.endswith("q.tsv") else word for word in files]  # q3 is not judged
    good, store = files[3], files[:2]
    for command in (
        ["search", *judged],
        ["calibration", *judged],
        ["cutoff", *store, "--queries", good, "--unanswerable", str(odd)],
    ):
        with pytest.raises(EvaluationError, match=rf"odd\.tsv, query 'q2' {says}"):
            run(*command)
    with pytest.raises(EvaluationError, match=rf"odd\.tsv, line 2 {says}"):
        run("explain", *store, "--queries", str(odd))
    with pytest.raises(AssertionError, match="opened"):
        run("search", *judged, "--only", str(tmp_path / "ids.txt"))


def _trained_on(folder: Path, *queries: str) -> FakeEngine:
    """An engine whose reranker was trained on these queries."""
    (folder / "models" / "reranker").mkdir(parents=True)
    write_training_queries(folder / "models" / "reranker", queries)
    engine = _engine(folder)
    engine.folder = folder
    return engine


def test_queries_seen_in_training_are_warned_of_and_listed(
    files: list[str], tmp_path: Path
) -> None:
    engine = _trained_on(tmp_path, "RED shoes", "tent")
    text = " ".join(_command(engine, "search", *files).split())
    assert "warning: the reranker saw 1 of these 2 queries in training." in text
    found = json.loads(_command(engine, "search", *files, "--json"))
    assert found["seen_in_training"] == ["q1"]
    assert found["seen_by_model"] == {"reranker": ["q1"]}


def test_unseen_only_leaves_them_out(files: list[str], tmp_path: Path) -> None:
    engine = _trained_on(tmp_path, "red shoes")
    found = json.loads(_command(engine, "search", *files, "--json", "--unseen-only"))
    assert found["queries"] == 1
    assert found["seen_in_training"] == []
    assert found["notes"] == ["1 queries left out: seen in training"]
    write_training_queries(tmp_path / "models" / "reranker", ["red shoes", "blue mug"])
    with pytest.raises(EvaluationError, match="all 2 queries are seen in training"):
        _command(engine, "search", *files, "--unseen-only")


def _classifier(folder: Path) -> FakeEngine:
    engine = _trained_on(folder, "red shoes")
    engine.rankings = {Stage.RERANKED: {}}
    engine.probabilities = {"a": (0.1, 0.1, 0.2, 0.6), "b": (0.4, 0.3, 0.2, 0.1)}
    return engine


def test_calibration_is_printed_and_drawn(files: list[str], tmp_path: Path) -> None:
    figure = tmp_path / "reliability.png"
    text = _command(_classifier(tmp_path), "calibration", *files, "--figure", str(figure))
    for words in ("calibration error, exact", "base rate log loss", "macro f1", "saw 1 of these 2"):
        assert words in text
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_calibration_as_json(files: list[str], tmp_path: Path) -> None:
    engine = _classifier(tmp_path)
    found = json.loads(_command(engine, "calibration", *files, "--json"))
    assert set(found["calibration_error"]) == {"exact", "substitute", "complement", "irrelevant"}
    assert found["accuracy"]["mean"] == 0.5
    assert found["confusion"][3] == [1, 0, 0, 1]
    assert (found["pairs"], found["seen_in_training"]) == (2, ["q1"])
    only = json.loads(_command(engine, "calibration", *files, "--json", "--unseen-only"))
    assert only["queries"] == 1


def test_the_cut_off_is_printed_and_its_errors_named(tmp_path: Path) -> None:
    queries, unanswerable = tmp_path / "yes.tsv", tmp_path / "no.tsv"
    queries.write_text("q1\tred shoes\nq2\tblue mug\n", encoding="utf-8")
    unanswerable.write_text("n1\tcello\nn2\tferry\n", encoding="utf-8")
    engine = _trained_on(tmp_path, "cello")
    engine.rankings = {Stage.RERANKED: {}}
    engine.fits = {
        "red shoes": (0.9, False),
        "blue mug": (0.1, True),
        "cello": (0.2, True),
        "ferry": (0.0, True),
    }
    files = ["cutoff", "--queries", str(queries), "--unanswerable", str(unanswerable)]
    text = _command(engine, *files)
    assert "answerable, but refused: q2" in text
    assert "saw 1 of these 4" in text
    found = json.loads(_command(engine, *files, "--json"))
    assert found["auroc"]["mean"] == 0.75
    assert found["unanswerable_refused"]["mean"] == 1.0
    assert found["refused"] == {"q2": 0.1}
    unseen = json.loads(_command(engine, *files, "--json", "--unseen-only"))
    assert unseen["auroc"]["queries"] == 3
    assert unseen["seen_in_training"] == []
