"""The commands `daogou evaluate …`: from files on disk to figures on screen.

What is heavy is imported where it is used: `daogou --help` and `daogou serve` start quickly.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import EvaluationError
from engine.types import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


_Store = Annotated[
    Path, typer.Option("--store", "-s", envvar="DAOGOU_STORE", help="Folder of the snapshots.")
]
_Queries = Annotated[Path, typer.Option(help="query_id<TAB>text lines, or as --layout says.")]
_Qrels = Annotated[
    Path | None, typer.Option(help="TREC qrels, grades 0 to 3, or as --layout says.")
]
_Only = Annotated[Path | None, typer.Option(help="File of query ids: evaluate these alone.")]
_Layout = Annotated[
    str,
    typer.Option(
        help="How both are written: trec; wands (query.csv and label.csv); "
        "esci (one examples file given as --queries; its us test rows)."
    ),
]
_UnseenOnly = Annotated[
    bool, typer.Option("--unseen-only", help="Leave out queries that a model was trained on.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@evaluate.command("search")
def evaluate_search(
    context: typer.Context,
    *,
    queries: _Queries,
    qrels: _Qrels = None,
    store: _Store = Path("store"),
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Rank only each query's judged products.")
    ] = False,
    stages: Annotated[
        str, typer.Option(help="Stages parted by commas; all that the snapshot offers otherwise.")
    ] = "",
    only: _Only = None,
    layout: _Layout = "trec",
    run_out: Annotated[
        Path | None, typer.Option(help="Folder for TREC run files, STAGE.run.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the figures: .png, .svg or .pdf.")
    ] = None,
    unseen_only: _UnseenOnly = False,
    json_out: _Json = False,
) -> None:
    """Measure what each stage of the search is worth on judged queries."""
    from indexer.evaluate.report import to_json, to_tables
    from indexer.evaluate.runs import write_runs

    judged = _read(layout, queries, qrels, only)
    wanted = _stages(stages)
    engine = _engine(context, store)
    if unseen_only:
        judged = _unseen(engine, judged)
    evaluation = _evaluate(engine, judged, wanted, judged_only=judged_only)
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


@evaluate.command("recommend")
def evaluate_recommend(
    *,
    purchases: Annotated[Path, typer.Option(help="Purchases to learn from: a table.")],
    test: Annotated[Path, typer.Option(help="Later purchases: what had to be recommended.")],
    table_format: Annotated[
        str, typer.Option("--format", help="auto, daogou or online-retail: the tables' columns.")
    ] = "auto",
    store: Annotated[
        Path | None, typer.Option("--store", "-s", help="Takes texts from there, not from `title`.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes every core.")] = 0,
    json_out: _Json = False,
) -> None:
    """Learn from purchases, and measure how well later ones are recommended, beside peers."""
    from indexer.evaluate.recommend import evaluate_recommend as measure
    from indexer.evaluate.recommend_report import to_json, to_tables
    from indexer.evaluate.recommend_texts import texts_for
    from indexer.purchases import read_purchases

    before, after = read_purchases(purchases, table_format), read_purchases(test, table_format)
    texts_of = texts_for([before, after], store=store, threads=threads)
    evaluation = measure(before, after, texts_of, seed=seed, threads=threads)
    if json_out:
        typer.echo(json.dumps(to_json(evaluation), ensure_ascii=False, indent=2))
    else:
        Console().print(to_tables(evaluation))


@evaluate.command("consult")
def evaluate_consult(
    *,
    questions: Annotated[
        Path, typer.Option(help="Parquet: question, candidate, label; set, qid, product_id.")
    ],
    model: Annotated[
        Path | None, typer.Option(help="Measure this one as it is, instead of training in folds.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Exported encoder; the shipped one if left out.")
    ] = None,
    reranker: Annotated[
        Path | None, typer.Option(help="Exported reranker to adapt; the shipped one if left out.")
    ] = None,
    untuned: Annotated[
        Path | None, typer.Option(help="Exported encoder whose cosine is one more peer.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, max=100, help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and training.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 takes every core.")] = 0,
    json_out: _Json = False,
) -> None:
    """Measure how well answers are found in a catalog's texts. Needs the extra `train`."""
    from engine.guide.evidence import load_evidence
    from engine.models.encoder import SHIPPED_ENCODER, load_encoder
    from indexer.evaluate.consult import check_fits, cross_validate, measure, untuned_cosines
    from indexer.evaluate.consult_report import to_json, to_tables
    from indexer.train.evidence import read_all, read_questions
    from indexer.train.evidence_across import AcrossTrainer, reranker_for

    asked = read_questions(questions)
    encoder = encoder or SHIPPED_ENCODER
    reader = load_encoder(encoder, threads=threads, tokens=True)
    adapted = reranker_for(reader.fingerprint, reranker)
    across = AcrossTrainer(adapted, encoder, threads=threads) if adapted else None
    ranker = load_evidence(model) if model else None
    if ranker is not None:
        check_fits(ranker.info, reader.fingerprint, across.fingerprint if across else "")
    reads = read_all(asked, reader)
    peer = untuned_cosines(asked, load_encoder(untuned, threads=threads)) if untuned else None
    if ranker is not None:
        if across is not None and ranker.info.reranker:
            reads = across.read(ranker.adapters, asked, reads)
        evaluation = measure(asked, reads, ranker, untuned=peer)
    else:
        with _progress(len(asked), "training in folds") as advance:
            evaluation = cross_validate(
                asked, reads, encoder=reader.fingerprint, count=folds, seed=seed, across=across,
                untuned=peer, on_progress=advance,
            )  # fmt: skip
    if json_out:
        typer.echo(json.dumps(to_json(evaluation), ensure_ascii=False, indent=2))
    else:
        Console().print(to_tables(evaluation))


@evaluate.command("explain")
def evaluate_explain(
    *,
    queries: Annotated[
        Path, typer.Option(help="Distinct queries to ask: a text, or id<TAB>text, in each line.")
    ],
    store: _Store = Path("store"),
    stage: Annotated[Stage | None, typer.Option(help="Whose ranking is explained.")] = None,
    hits: Annotated[int, typer.Option(min=1, max=10, help="Hits explained of each query.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the random words.")] = 0,
    json_out: _Json = False,
) -> None:
    """Measure whether the words that explanations name carry the score, and how long it takes."""
    from engine.guide.guide import ShoppingGuide
    from indexer.evaluate.explain import evaluate_explanations, to_json, to_tables

    texts = _distinct(queries)
    guide = ShoppingGuide.open(store)
    with _progress(len(texts), "explaining") as advance:
        found = evaluate_explanations(
            guide, texts, hits=hits, stage=stage, seed=seed, on_progress=advance
        )
    if json_out:
        typer.echo(json.dumps(to_json(found), ensure_ascii=False, indent=2))
    else:
        Console().print(to_tables(found))


@evaluate.command("spans")
def evaluate_spans(
    *,
    queries: Annotated[
        Path, typer.Option(help="JSON Lines: tokens and labels (O, B-TYPE, I-TYPE) of queries.")
    ],
    peer: Annotated[
        Path | None, typer.Option(help="What the peer learns from; otherwise half of --queries.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Span tagger to measure; the shipped one if left out.")
    ] = None,
    json_out: _Json = False,
) -> None:
    """Measure how well the words of queries are told apart: product, maker, colour, size."""
    from engine.guide.spans import SHIPPED_SPANS, load_spans
    from indexer.evaluate.spans import evaluate_spans as measure
    from indexer.evaluate.spans_report import to_json, to_tables
    from indexer.train.spans import read_labelled

    learnt_from = None if peer is None else read_labelled(peer)
    evaluation = measure(read_labelled(queries), load_spans(model or SHIPPED_SPANS), learnt_from)
    if json_out:
        typer.echo(json.dumps(to_json(evaluation), ensure_ascii=False, indent=2))
    else:
        Console().print(to_tables(evaluation))


@evaluate.command("calibration")
def evaluate_calibration(
    context: typer.Context,
    *,
    queries: _Queries,
    qrels: _Qrels = None,
    store: _Store = Path("store"),
    only: _Only = None,
    layout: _Layout = "trec",
    figure: Annotated[
        Path | None, typer.Option(help="Draw the reliability diagram: .png, .svg or .pdf.")
    ] = None,
    unseen_only: _UnseenOnly = False,
    json_out: _Json = False,
) -> None:
    """Measure whether the reranker's class probabilities mean what they say."""
    from indexer.evaluate.calibration_report import report
    from indexer.evaluate.classified import classify_judged
    from indexer.evaluate.report import calibration_to_json, calibration_to_tables

    judged = _read(layout, queries, qrels, only)
    engine = _engine(context, store)
    if unseen_only:
        judged = _unseen(engine, judged)
    with _progress(len(judged.ids), "classifying") as advance:
        pairs = classify_judged(engine, judged, on_progress=advance)
    found = report(pairs.probabilities, pairs.grades, pairs.queries)
    if json_out:
        typer.echo(json.dumps(calibration_to_json(pairs, found), ensure_ascii=False, indent=2))
    else:
        Console().print(calibration_to_tables(pairs, found))
    if figure:
        from indexer.evaluate.reliability_figure import draw_reliability

        draw_reliability(found, figure)


@evaluate.command("cutoff")
def evaluate_cut_off(
    context: typer.Context,
    *,
    queries: Annotated[
        Path, typer.Option(help="query_id<TAB>text lines: queries that the catalog can answer.")
    ],
    unanswerable: Annotated[
        Path, typer.Option(help="query_id<TAB>text lines: queries that it has nothing for.")
    ],
    store: _Store = Path("store"),
    unseen_only: _UnseenOnly = False,
    json_out: _Json = False,
) -> None:
    """Measure whether the engine knows when the catalog has nothing that fits."""
    from indexer.evaluate.cutoff import evaluate_cutoff
    from indexer.evaluate.judgments import read_queries
    from indexer.evaluate.report import cutoff_to_json, cutoff_to_tables
    from indexer.evaluate.seen import seen_in_training

    kinds: list[Mapping[str, str]] = [read_queries(queries), read_queries(unanswerable)]
    for kind, source in zip(kinds, (queries, unanswerable), strict=True):
        _check({f"query {one!r}": text for one, text in kind.items()}, source)
    engine = _engine(context, store)
    if unseen_only:
        seen = [seen_in_training(engine.snapshot.folder, kind) for kind in kinds]
        kinds = [
            {one: text for one, text in kind.items() if one not in known}
            for kind, known in zip(kinds, seen, strict=True)
        ]
    with _progress(sum(map(len, kinds)), "searching") as advance:
        found = evaluate_cutoff(engine, *kinds, on_progress=advance)
    if json_out:
        typer.echo(json.dumps(cutoff_to_json(found), ensure_ascii=False, indent=2))
    else:
        Console().print(cutoff_to_tables(found))


def bench(
    *,
    queries: Annotated[
        Path, typer.Option(help="Distinct queries to ask: a text, or id<TAB>text, in each line.")
    ],
    store: _Store = Path("store"),
    judged_queries: Annotated[
        Path | None, typer.Option(help="query_id<TAB>text lines: nDCG@10 beside the times.")
    ] = None,
    qrels: _Qrels = None,
    work: Annotated[
        Path, typer.Option(help="Keeps the peers' models and indexes for the next run.")
    ] = Path("daogou-bench"),
    clients: Annotated[str, typer.Option(help="Numbers of clients, parted by commas.")] = (
        "1,2,8,32"
    ),
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="Each measures everything once.")] = 3,
    starts: Annotated[int, typer.Option(min=0, help="Starts of each server.")] = 3,
    products: Annotated[
        int, typer.Option(min=0, help="Products indexed to measure indexing; 0 leaves it out.")
    ] = 2_000,
    catalog: Annotated[
        Path | None, typer.Option(help="Where these are read, instead of the snapshot's own.")
    ] = None,
    overload: Annotated[bool, typer.Option(help="Ask for twice what it can serve.")] = True,
    figure: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    json_out: _Json = False,
) -> None:
    """Measure daogou against the pipeline a user would write, on this machine.

    The peer is sentence-transformers, a flat FAISS index and a cross-encoder over the 50 nearest,
    in torch and full precision, with the snapshot's own weights. Needs the extra `train`. Measured
    beside it where they are installed: the same through ONNX Runtime (`onnxscript`),
    hybrid search of `txtai`, and keyword search alone (`bm25s`).
    """
    from indexer.evaluate.bench import Bench, BenchOptions
    from indexer.evaluate.bench_report import bench_to_json, bench_to_tables, draw_bench
    from indexer.evaluate.load import stoppable

    options = BenchOptions(_numbers(clients), seconds, rounds, starts, products, catalog, overload)
    if qrels and not judged_queries:
        raise EvaluationError("--qrels: judgments of no query. Name theirs with --judged-queries")
    if figure:
        _check_figure(figure)
    judged = _read("trec", judged_queries, qrels, None) if judged_queries else None
    run = Bench(
        store,
        _distinct(queries),
        work,
        options,
        judged=judged,
        say=lambda line: typer.echo(line, err=True),
    )
    with stoppable():
        report = run.run()
    if json_out:
        typer.echo(json.dumps(bench_to_json(report), ensure_ascii=False, indent=2))
    else:
        Console().print(bench_to_tables(report))
    if figure:
        draw_bench(report, figure)


def _check_figure(path: Path) -> None:
    """See to it that a picture can be written, before hours are spent on it.

    Raises:
        EvaluationError: it cannot.
    """
    there = path if path.exists() else path.parent
    suited = path.suffix.lower() in {".png", ".svg", ".pdf"} and not path.is_dir()
    if not (suited and path.parent.is_dir() and os.access(there, os.W_OK)):
        raise EvaluationError(
            f"--figure: {path} cannot be written. Give it a folder that exists and a name that "
            "ends in .png, .svg or .pdf"
        )


def _numbers(written: str) -> tuple[int, ...]:
    """The numbers of clients in `1,2,8`.

    Raises:
        EvaluationError: one is no positive number.
    """
    parts = [part.strip() for part in written.split(",")]
    wrong = [part for part in parts if not part.isdecimal() or int(part) < 1]
    if wrong:
        raise EvaluationError(f"--clients: {wrong[0]!r} is no number of clients. Write 1,2,8")
    return tuple(dict.fromkeys(map(int, parts)))


def _distinct(path: Path) -> list[str]:
    """The distinct queries of a file.

    Raises:
        EvaluationError: it cannot be read, has none, or one that cannot be asked.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}. Name a text file") from error
    written = (line.rpartition("\t")[2].strip() for line in lines)
    texts = {f"line {number}": text for number, text in enumerate(written, start=1) if text}
    if not texts:
        raise EvaluationError(f"{path} has no query. Write one in each line")
    _check(texts, path)
    return list(dict.fromkeys(texts.values()))


def _check(texts: Mapping[str, str], source: Path) -> None:
    """See to it that the queries of a file, by what to call them, can be asked before any is.

    Raises:
        EvaluationError: one cannot.
    """
    from engine.settings import load_settings
    from indexer.evaluate.judgments import check_query

    longest = load_settings().max_query_chars
    for name, text in texts.items():
        check_query(text, f"{source}, {name}", longest)


def _engine(context: typer.Context, store: Path) -> StagedSearch:
    return (context.find_object(EngineSource) or EngineSource()).open(store)


def _unseen(engine: StagedSearch, judged: JudgedQueries) -> JudgedQueries:
    """The queries that no model of the snapshot was trained on."""
    from indexer.evaluate.seen import seen_in_training

    seen = seen_in_training(engine.snapshot.folder, judged.texts)
    return judged.without(seen, "seen in training")


@contextmanager
def _progress(total: int, description: str) -> Iterator[Callable[[int], None]]:
    """Counts queries on standard error where that is a terminal."""
    with _bar() as progress:
        task = progress.add_task(description, total=total)
        yield lambda queries: progress.advance(task, queries)


def _bar() -> Progress:
    terminal = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    )


def _read(layout: str, queries: Path, qrels: Path | None, only: Path | None) -> JudgedQueries:
    from indexer.evaluate.judgments import read_ids
    from indexer.evaluate.layouts import read_layout

    judged = read_layout(layout, queries, qrels)
    judged = judged.only(read_ids(only), only) if only else judged
    _check({f"query {one!r}": judged.texts[one] for one in judged.ids}, queries)
    return judged


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
    with _bar() as progress:
        task = progress.add_task("searching", total=total)

        def advance(stage: Stage, answered: int) -> None:
            progress.update(task, description=stage.value, advance=answered)

        return evaluate_stages(
            engine, judged, stages=stages, judged_only=judged_only, on_progress=advance
        )
