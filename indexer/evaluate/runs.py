"""TREC run files: what each stage ranked, for any other evaluator to check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.errors import EvaluationError
from engine.types import Stage
from indexer.evaluate.metrics import Run


def write_runs(folder: Path, runs: Mapping[Stage, Run]) -> list[Path]:
    """Write `STAGE.run` for each stage; returns the files.

    Lines are `query_id Q0 product_id rank score daogou-STAGE`. The score is minus the rank, so no
    evaluator breaks ties its own way.

    Raises:
        EvaluationError: an id holds white space, which the format cannot carry, or the folder
            cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [
            _write(folder / f"{stage}.run", f"daogou-{stage}", run) for stage, run in runs.items()
        ]
    except OSError as error:
        raise EvaluationError(
            f"run files cannot be written to {folder} ({error.strerror}). Choose another --run-out"
        ) from error


def _write(path: Path, tag: str, run: Run) -> Path:
    lines = [
        f"{_word(query_id)} Q0 {_word(product_id)} {rank} {-rank} {tag}\n"
        for query_id, ranking in run.items()
        for rank, product_id in enumerate(ranking, start=1)
    ]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    return path


def _word(name: str) -> str:
    # As in qrels: only ASCII white space parts the columns.
    if not name or len(name.encode().split()) != 1 or name.strip(" \t\r\n\v\f") != name:
        raise EvaluationError(
            f"id {name!r} holds white space, which a run file cannot carry. "
            "Leave --run-out away, or rename the id in the catalog"
        )
    return name
