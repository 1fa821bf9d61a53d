"""`daogou train`: from judgments, records and a catalog to models of a shop's own.

What is heavy is imported where it is used: `daogou --help` starts quickly.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import SettingsError

if TYPE_CHECKING:
    from indexer.train.session import Estimate, Job
    from indexer.train.sources import Sources

train = typer.Typer(help="Train the models on what a shop knows.", no_args_is_help=True)


class Init(StrEnum):
    """What else training may start from than a base."""

    SHIPPED = "shipped"


Out = Annotated[Path, typer.Option(help="Folder to write: checkpoint, model card, work.")]
Catalog = Annotated[Path | None, typer.Option(help="Catalog to train for.")]
Queries = Annotated[Path | None, typer.Option(help="query_id<TAB>text lines of --judgments.")]
Judgments = Annotated[Path | None, typer.Option(help="TREC qrels, grades 0 to 3.")]
Labels = Annotated[
    list[Path] | None, typer.Option(help="Table of query, product_id, label E/S/C/I; repeatable.")
]
Records = Annotated[list[Path] | None, typer.Option(help="Table of what shoppers did; repeatable.")]
Unlabelled = Annotated[Path | None, typer.Option(help="Real queries, one a line.")]
SourcesFile = Annotated[
    Path | None, typer.Option("--sources", help="TOML file that names catalogs and their data.")
]
Base = Annotated[str, typer.Option(help="Hugging Face id or folder of a BERT bi-encoder.")]
Start = Annotated[Init | None, typer.Option("--init", help="shipped: go on from what ships.")]
Store = Annotated[
    Path | None, typer.Option("--store", "-s", help="Indexed catalog; else OUT/work gets one.")
]
Encoder = Annotated[
    Path | None, typer.Option("--encoder", help="Exported encoder to index with; else the shipped.")
]
Without = Annotated[
    Path | None, typer.Option(help="Queries, one a line, that nothing is to be learnt from.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of every draw, order and dropout.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of each stage's own.")]
MaxLength = Annotated[int | None, typer.Option(min=16, max=512, help="Tokens read.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads; 0 takes every core.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, time and estimate; keep nothing.")]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what OUT was trained on before.")]


@train.command()
def encoder(
    *,
    out: Out,
    catalog: Catalog = None,
    queries: Queries = None,
    judgments: Judgments = None,
    labels: Labels = None,
    records: Records = None,
    unlabelled: Unlabelled = None,
    sources: SourcesFile = None,
    base: Base = "",
    init: Start = None,
    store: Store = None,
    index_encoder: Encoder = None,
    without: Without = None,
    seed: Seed = 0,
    max_length: MaxLength = None,
    epochs: Epochs = None,
    matryoshka: Annotated[
        list[int] | None, typer.Option(min=8, help="Leading dimensions to train too; repeatable.")
    ] = None,
    threads: Threads = 0,
    dry_run: DryRun = False,
    restart: Restart = False,
) -> None:
    """Train the bi-encoder; export it with: daogou export encoder OUT/checkpoint."""
    from indexer.train import recipe
    from indexer.train.session import Job

    found = _sources(
        sources=sources, catalog=catalog, queries=queries, judgments=judgments, labels=labels,
        records=records, unlabelled=unlabelled,
    )  # fmt: skip
    job = Job(
        "encoder", _base(base, init), out,
        store=store, seed=seed, max_length=max_length or recipe.ENCODER_LENGTH, epochs=epochs,
        matryoshka=tuple(matryoshka or ()), threads=threads, without=_without(without),
    )  # fmt: skip
    _run(job, found, index_encoder, dry_run=dry_run, anew=restart)


@train.command()
def reranker(
    *,
    out: Out,
    catalog: Catalog = None,
    queries: Queries = None,
    judgments: Judgments = None,
    labels: Labels = None,
    records: Records = None,
    unlabelled: Unlabelled = None,
    sources: SourcesFile = None,
    base: Base = "",
    init: Start = None,
    store: Store = None,
    index_encoder: Encoder = None,
    without: Without = None,
    seed: Seed = 0,
    epochs: Epochs = None,
    threads: Threads = 0,
    dry_run: DryRun = False,
    restart: Restart = False,
) -> None:
    """Train the cross-encoder over an encoder that stays as it is.

    Export it with: daogou export reranker OUT/checkpoint --encoder DIR.
    """
    from indexer.train.session import Job

    found = _sources(
        sources=sources, catalog=catalog, queries=queries, judgments=judgments, labels=labels,
        records=records, unlabelled=unlabelled,
    )  # fmt: skip
    job = Job(
        "reranker", _base(base, init), out,
        store=store, seed=seed, epochs=epochs,
        threads=threads, without=_without(without),
    )  # fmt: skip
    _run(job, found, index_encoder, dry_run=dry_run, anew=restart)


@train.command()
def ranking(
    *,
    store: Annotated[
        Path, typer.Option("--store", "-s", envvar="DAOGOU_STORE", help="Folder of the snapshots.")
    ] = Path("store"),
    queries: Annotated[Path, typer.Option(help="query_id<TAB>text lines.")],
    judgments: Annotated[Path, typer.Option(help="TREC qrels, grades 0 to 3.")],
    out: Annotated[Path, typer.Option(help="Folder to write the final ranking to.")],
    unanswerable: Annotated[
        Path | None, typer.Option(help="Queries that the catalog cannot answer.")
    ] = None,
    form: Annotated[
        str, typer.Option(help="auto, linear or lambdamart: auto takes what cross-validates best.")
    ] = "auto",
    scores: Annotated[
        Path | None,
        typer.Option(help="Held-out class probabilities: query_id, product_id, p0 to p3."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Fit the final ranking on a snapshot; serve it with: daogou publish --ranking OUT."""
    from indexer.progress import Bars
    from indexer.train.ranking import train_ranking

    train_ranking(
        store, queries, judgments, out,
        unanswerable=unanswerable, form=form, scores=scores, seed=seed, progress=Bars(),
    )  # fmt: skip
    typer.echo(f"Wrote {out}.")


@train.command()
def recommend(
    *,
    store: Annotated[Path, typer.Option("--store", "-s", help="Indexed catalog.")] = Path("store"),
    purchases: Annotated[Path, typer.Option(help="Table of line items: who bought what, when.")],
    out: Annotated[Path, typer.Option(help="Folder to write the behaviour model to.")],
    layout: Annotated[
        str, typer.Option("--format", help="auto, daogou or online-retail: the table's columns.")
    ] = "auto",
    seed: Seed = 0,
    threads: Threads = 0,
) -> None:
    """Learn what shoppers buy next; serve it with: daogou publish --behaviour OUT."""
    from indexer.train.recommend import train_recommend

    info = train_recommend(store, purchases, out, layout=layout, seed=seed, threads=threads)
    typer.echo(
        f"Wrote {out}: {info.orders:,} orders of {info.shoppers:,} shoppers, {info.items:,} "
        f"products."
    )
    typer.echo(f"Serve it: daogou publish --store {store} --behaviour {out}")


@train.command()
def evidence(
    *,
    questions: Annotated[
        Path, typer.Option(help="Parquet: question, candidate, label; set, qid, product_id.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the evidence ranker to.")],
    index_encoder: Encoder = None,
    reranker: Annotated[
        Path | None, typer.Option(help="Exported reranker to adapt; the shipped one if left out.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="For the card: where the questions are from, and their licence.")
    ] = "",
    seed: Seed = 0,
    threads: Threads = 0,
) -> None:
    """Learn to find answers in texts; serve it with: daogou publish --evidence OUT."""
    from engine.models.encoder import SHIPPED_ENCODER
    from indexer.train.evidence_model import write_evidence

    info = write_evidence(
        questions, out, encoder=index_encoder or SHIPPED_ENCODER, reranker=reranker, data=data,
        seed=seed, threads=threads,
    )  # fmt: skip
    typer.echo(f"Wrote {out}: fitted on {info.provenance['questions']} questions.")
    typer.echo(f"Serve it: daogou publish --store STORE --evidence {out}")


@train.command("spans")
def spans(
    *,
    queries: Annotated[
        Path, typer.Option(help="JSON Lines: tokens and labels (O, B-TYPE, I-TYPE) of queries.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the span tagger to.")],
    dry_run: DryRun = False,
    seed: Seed = 0,
    threads: Threads = 0,
) -> None:
    """Learn which words of a query name what: product, maker, colour, size."""
    from indexer.train.spans import outline, read_labelled, write_spans

    if dry_run:
        for line in outline(read_labelled(queries)):
            typer.echo(line)
        return
    info = write_spans(queries, out, seed=seed, threads=threads)
    typer.echo(f"Wrote {out}: fitted on {info.provenance['queries']} queries.")
    typer.echo(f"Measure it: daogou evaluate spans --queries FILE --model {out}")


@train.command("all")
def train_all(
    *,
    sources: Annotated[Path, typer.Option(help="TOML file that names catalogs and their data.")],
    base: Annotated[str, typer.Option(help="Hugging Face id or folder of a BERT bi-encoder.")],
    out: Out,
    only: Annotated[
        list[str] | None, typer.Option(help="Step to do, its input being there; repeatable.")
    ] = None,
    unanswerable: Annotated[
        Path | None, typer.Option(help="Queries that the catalog cannot answer.")
    ] = None,
    seed: Seed = 0,
    threads: Threads = 0,
) -> None:
    """The whole recipe: encoder, export, index, reranker, export, final ranking.

    A step that was done with the same before is not done again; one that was killed goes on.
    """
    from indexer.progress import Bars
    from indexer.train.sources import load_sources
    from indexer.train.whole import Whole

    whole = Whole(
        load_sources(sources), base, out,
        unanswerable=unanswerable, seed=seed, threads=threads, progress=Bars(), say=_say,
    )  # fmt: skip
    whole.run(only or [])


def _sources(
    *,
    sources: Path | None,
    catalog: Path | None,
    queries: Path | None,
    judgments: Path | None,
    labels: list[Path] | None,
    records: list[Path] | None,
    unlabelled: Path | None,
) -> Sources:
    """What the options name: a file of sources, or one shop's.

    Raises:
        SettingsError: both or neither are named.
    """
    from indexer.train.sources import Sources, load_sources

    parts = (catalog, queries, judgments, labels, records, unlabelled)
    if sources is not None and any(parts):
        raise SettingsError("--sources names everything: leave out --catalog and what goes with it")
    if sources is not None:
        return load_sources(sources)
    if catalog is None:
        raise SettingsError("what to train for is not said: give --catalog FILE or --sources TOML")
    return Sources.for_one_shop(
        catalog,
        queries=queries,
        judgments=judgments,
        records=records or [],
        labels=labels or [],
        unlabelled=unlabelled,
    )


def _base(base: str, init: Init | None) -> str:
    if bool(base) == bool(init):
        raise SettingsError("give either --base ID or --init shipped: what to train from")
    return base or str(init)


def _without(file: Path | None) -> tuple[str, ...]:
    """The queries of a file.

    Raises:
        SettingsError: it cannot be read.
    """
    from indexer.train.sources import read_lines

    return tuple(read_lines(file)) if file else ()


def _run(job: Job, sources: Sources, encoder: Path | None, *, dry_run: bool, anew: bool) -> None:
    from dataclasses import replace

    from indexer.progress import Bars
    from indexer.train import session

    job = replace(job, encoder=encoder) if encoder else job
    if dry_run:
        _print(session.estimate(job, sources))
        return
    if anew:
        session.restart(job.out)
    checkpoint = session.run(job, sources, Bars(), _say)
    typer.echo(f"Wrote {checkpoint}, and its card, {job.out / 'README.md'}.")
    typer.echo(f"Export it: daogou export {job.kind} {checkpoint} --out DIR")


def _print(estimate: Estimate) -> None:
    for kind, lists, pairs in estimate.counts:
        typer.echo(f"{kind}: {lists:,} lists, {pairs:,} pairs")
    for name, count in estimate.left_out.items():
        typer.echo(f"left out of {name}: {count:,} pairs whose product the catalog lacks")
    for name, pairs, seconds in estimate.stages:
        typer.echo(f"stage {name}: {pairs:,} pairs, about {seconds / 60:.1f} minutes")
    total = sum(seconds for *_, seconds in estimate.stages)
    typer.echo(f"About {total / 60:.1f} minutes of training, after indexing and mining.")


def _say(line: str) -> None:
    typer.echo(line, err=True)
