from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.cli import EngineSource, evaluate_search
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
