"""The command `daogou evaluate search`: from files on disk to figures on screen.

What is heavy is imported where it is used: `daogou --help` and `daogou serve` start quickly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import EvaluationError
from engine.types import Stage

if TYPE_CHECKING:
    from indexer.evaluate.judgments import JudgedQueries
    from indexer.evaluate.search import SearchEvaluation, StagedSearch

evaluate = typer.Typer(help="Measure what the engine is worth.", no_args_is_help=True)


def _open(store: Path) -> StagedSearch:
    """The engine over the store's current snapshot."""
    from engine.search import SearchEngine

    return SearchEngine.open(store)


@dataclass(frozen=True, slots=True)
class EngineSource:
    """Where the engine under test comes from: give another as the typer context's object."""

    open: Callable[[Path], StagedSearch] = _open


@evaluate.command("search")
def evaluate_search(
    context: typer.Context,
    *,
    queries: Annotated[Path, typer.Option(help="query_id<TAB>text lines, or as --layout says.")],
    qrels: Annotated[
        Path | None, typer.Option(help="TREC qrels, grades 0 to 3, or as --layout says.")
    ] = None,
    store: Annotated[
        Path, typer.Option("--store", "-s", envvar="DAOGOU_STORE", help="Folder of the snapshots.")
    ] = Path("store"),
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Rank only each query's judged products.")
    ] = False,
    stages: Annotated[
        str, typer.Option(help="Stages parted by commas; all that the snapshot offers otherwise.")
    ] = "",
    only: Annotated[
        Path | None, typer.Option(help="File of query ids: evaluate these alone.")
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="How both are written: trec; wands (query.csv and label.csv); "
            "esci (one examples file given as --queries; its us test rows)."
        ),
    ] = "trec",
    run_out: Annotated[
        Path | None, typer.Option(help="Folder for TREC run files, STAGE.run.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the figures: .png, .svg or .pdf.")
    ] = None,
    json_out: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure what each stage of the search is worth on judged queries."""
    from indexer.evaluate.report import to_json, to_tables
    from indexer.evaluate.runs import write_runs

    judged = _read(layout, queries, qrels, only)
    wanted = _stages(stages)
    source = context.find_object(EngineSource) or EngineSource()
    evaluation = _evaluate(source.open(store), judged, wanted, judged_only=judged_only)
    # Shown before anything is written: a full disk must not cost the figures.
    if json_out:
        typer.echo(json.dumps(to_json(evaluation), ensure_ascii=False, indent=2))
    else:
        Console().print(to_tables(evaluation))
    if run_out:
        write_runs(run_out, {stage: found.run for stage, found in evaluation.stages.items()})
    if figure:
        from indexer.evaluate.figure import draw

        draw(evaluation, figure)


def _read(layout: str, queries: Path, qrels: Path | None, only: Path | None) -> JudgedQueries:
    from indexer.evaluate.judgments import read_ids
    from indexer.evaluate.layouts import read_layout

    judged = read_layout(layout, queries, qrels)
    return judged.only(read_ids(only), only) if only else judged


def _stages(written: str) -> list[Stage]:
    """The stages named in `lexical,fused`.

    Raises:
        EvaluationError: a name is no stage.
    """
    names = [name.strip() for name in written.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Stage)]
    if unknown:
        raise EvaluationError(
            f"--stages: {unknown[0]!r} is no stage. Choose from {','.join(Stage)}"
        )
    return [Stage(name) for name in names]


def _evaluate(
    engine: StagedSearch, judged: JudgedQueries, stages: list[Stage], *, judged_only: bool
) -> SearchEvaluation:
    """The evaluation, with its progress on standard error where that is a terminal."""
    from indexer.evaluate.search import evaluate_stages

    total = len(judged.ids) * len(stages or engine.stages)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    terminal = Console(stderr=True)
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    ) as progress:
        task = progress.add_task("searching", total=total)

        def advance(stage: Stage, answered: int) -> None:
            progress.update(task, description=stage.value, advance=answered)

        return evaluate_stages(
            engine, judged, stages=stages, judged_only=judged_only, on_progress=advance
        )
