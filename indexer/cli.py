"""The commands that make and keep an index: `daogou index`, `publish` and `snapshots`.

What is heavy is imported where it is used: `daogou --help` and `daogou serve` start quickly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.errors import CatalogError, SnapshotDamagedError, SnapshotError
from engine.store import SnapshotStore
from indexer.device import Device
from indexer.progress import Bars, Silent

if TYPE_CHECKING:
    from indexer.build import IndexReport
    from indexer.reuse import Changes

StoreOption = Annotated[
    Path, typer.Option("--store", "-s", envvar="DAOGOU_STORE", help="Folder of the snapshots.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
DeviceOption = Annotated[
    Device,
    typer.Option(help="What encodes texts; auto: a CUDA GPU where there is one and they are many."),
]

snapshots = typer.Typer(
    help="List, check, roll back and prune what was indexed.", no_args_is_help=True
)


def index(
    catalog: Annotated[
        Path, typer.Argument(help="CSV, TSV, JSON Lines or Parquet file, or a folder of them.")
    ],
    *,
    store: StoreOption = Path("store"),
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", "-m", metavar="FIELD=COLUMN", help="Which column holds a field."),
    ] = None,
    layout: Annotated[
        str, typer.Option("--format", help="Layout of a published set: auto, wands or esci.")
    ] = "auto",
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where rejected rows are listed; STORE/rejects.jsonl if left out."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first rejected row.")
    ] = False,
    encoder: Annotated[
        Path | None, typer.Option(help="Exported encoder to use instead of the shipped one.")
    ] = None,
    reranker: Annotated[
        Path | None, typer.Option(help="Exported cross-encoder instead of the shipped one.")
    ] = None,
    no_reranker: Annotated[
        bool, typer.Option("--no-reranker", help="Keep none: 18 KB less on disk a product.")
    ] = False,
    ranking: Annotated[
        Path | None,
        typer.Option(help="Final ranking, as `daogou train ranking` writes it, instead of ours."),
    ] = None,
    past_queries: Annotated[
        Path | None, typer.Option(help="What shoppers asked, one query a line, to suggest it.")
    ] = None,
    min_recall: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Publish no index of vectors that finds less of the 100 nearest."
        ),
    ] = 0.95,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change and how long it would take.")
    ] = False,
    device: DeviceOption = Device.AUTO,
    threads: Annotated[int, typer.Option(min=0, help="Inference threads; 0 takes every core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Index a catalog, and serve it from STORE from now on."""
    from engine.settings import load_settings
    from indexer.build import IndexOptions, index_catalog  # slow to load, and not for --help

    defaults = IndexOptions()
    options = IndexOptions(
        layout=layout,
        mapping=_mapping(columns or []),
        rejects=rejects,
        strict=strict,
        encoder=encoder or defaults.encoder,
        reranker=None if no_reranker else reranker or defaults.reranker,
        ranking=ranking or defaults.ranking,
        past_queries=past_queries,
        min_recall=min_recall,
        threads=threads,
        model_cache=load_settings().model_cache,
        device=device,
    )
    if dry_run:
        from indexer.plan import plan_index

        plan = plan_index(catalog, store, options)
        if as_json:
            print_json(asdict(plan))
        else:
            typer.echo(
                f"Would index {plan.products:,} products ({plan.rejected:,} rows rejected): "
                f"{_said(plan.changes, 'to encode')} Encoding takes about {plan.seconds:,.0f} s."
            )
            if plan.again:
                typer.echo(f"Every text would be encoded: {plan.again}.")
            for line in _harmed(plan.lost, plan.recovered, store):
                typer.echo(line)
        return
    report = index_catalog(catalog, store, options, Silent() if as_json else Bars())
    if as_json:
        print_json(_report(report))
    else:
        _print_report(report, store)


def apply(
    changes: Annotated[
        Path,
        typer.Argument(
            help="CSV, TSV, JSON Lines or Parquet file of products as in the catalog; one that is "
            "gone has its id and `deleted` true."
        ),
    ],
    *,
    store: StoreOption = Path("store"),
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", "-m", metavar="FIELD=COLUMN", help="Which column holds a field."),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(help="Where rejected rows are listed; STORE/rejects-apply.jsonl if left out."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first rejected row.")
    ] = False,
    device: DeviceOption = Device.AUTO,
    threads: Annotated[int, typer.Option(min=0, help="Inference threads; 0 takes every core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Add, replace or remove some products of what STORE serves. Safe to repeat."""
    from engine.settings import load_settings
    from indexer.apply import apply_changes
    from indexer.build import IndexOptions

    options = IndexOptions(
        mapping=_mapping(columns or []),
        rejects=rejects,
        strict=strict,
        threads=threads,
        model_cache=load_settings().model_cache,
        device=device,
    )
    report = apply_changes(changes, store, options, Silent() if as_json else Bars())
    if as_json:
        print_json(_report(report))
    else:
        _print_report(report, store)


def _mapping(pairs: list[str]) -> dict[str, str]:
    """`title=name` pairs as field → column."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not (name and equals and column):
            raise CatalogError(
                f"cannot read --map {pair!r}. Write --map FIELD=COLUMN, e.g. title=name"
            )
        if name in mapping:
            raise CatalogError(f"--map gives {name} twice: {mapping[name]!r} and {column!r}")
        mapping[name] = column
    return mapping


def _report(report: IndexReport) -> dict[str, object]:
    """The report as JSON types."""
    return {
        "snapshot": report.snapshot_id,
        "folder": str(report.folder),
        "products": report.products,
        "rejected": report.rejected,
        "rejects_by_reason": dict(report.rejects_by_reason),
        "rejects_file": str(report.rejects_file) if report.rejects_file else None,
        "bytes": report.bytes,
        "changes": asdict(report.changes),
        "device": report.device,
        "no_gpu": report.no_gpu,
        "again": report.again,
        "lost": list(report.lost),
        "recovered": dict(report.recovered),
        "dense": None if report.dense is None else asdict(report.dense),
        "seconds": {name: round(spent, 3) for name, spent in report.seconds.items()},
    }


def _print_report(report: IndexReport, store: Path) -> None:
    """The report in words."""
    out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)  # paths are no markup
    spent = sum(report.seconds.values())
    out.print(
        f"Indexed {report.products:,} products in {spent:.1f} s "
        f"({report.bytes / 2**20:.1f} MiB), snapshot {report.snapshot_id}."
        if report.seconds
        else f"Nothing to change: {report.products:,} products, snapshot {report.snapshot_id}."
    )
    if report.changes.added < report.products or report.changes.taken_up:
        out.print(_said(report.changes, "encoded"))
    if report.again:
        out.print(f"Every text was encoded: {report.again}.")
    if report.device == Device.CUDA:
        out.print("Texts were encoded on the GPU.")
    if report.no_gpu:
        out.print(f"The GPU was given up: {report.no_gpu}.")
    if (dense := report.dense) is not None:
        out.print(
            f"Vectors lie in {dense.lists:,} lists, of which a search reads {dense.probes:,}: it "
            f"finds {dense.recall:.3f} of the 100 nearest ({dense.queries} queries)."
        )
    for line in _harmed(report.lost, report.recovered, store):
        out.print(line)
    if report.rejected:
        reasons = ", ".join(
            f"{reason} {count:,}" for reason, count in report.rejects_by_reason.items()
        )
        out.print(
            f"Rejected {report.rejected:,} rows ({reasons}); listed in {report.rejects_file}."
        )
    out.print(f'Search it: daogou search "…" --store {store}')


def _harmed(lost: Iterable[str], recovered: Mapping[str, str], store: Path) -> Iterator[str]:
    """What became of parts that were damaged, a line each with its cure."""
    for part in lost:
        yield (
            f"What the snapshot before held of {part} cannot be read and is left out. "
            f"Give it again: {_gives(part, store)}"
        )
    for part, snapshot_id in recovered.items():
        yield (
            f"What the snapshot before held of {part} cannot be read: it is that of "
            f"{snapshot_id} again. Give a newer one: {_gives(part, store)}"
        )


def _gives(part: str, store: Path) -> str:
    """The command that gives a snapshot a part that no catalog holds."""
    command = "index CATALOG" if part == "past-queries" else "publish"
    return f"daogou {command} --store {store} --{part} PATH"


def _said(changes: Changes, encoded: str) -> str:
    """What changed, in words."""
    return (
        f"{changes.added:,} added, {changes.changed:,} with another text, "
        f"{changes.updated:,} otherwise changed, {changes.kept:,} as they were, "
        f"{changes.removed:,} removed; {changes.encoded:,} texts {encoded}."
        + (
            f" {changes.taken_up:,} had been encoded by a run that was stopped."
            if changes.taken_up
            else ""
        )
    )


def publish(
    *,
    store: StoreOption = Path("store"),
    ranking: Annotated[
        Path | None, typer.Option(help="Final ranking, as `daogou train ranking` writes it.")
    ] = None,
    reranker: Annotated[
        Path | None, typer.Option(help="Exported cross-encoder to rerank with.")
    ] = None,
    behaviour: Annotated[
        Path | None, typer.Option(help="What shoppers did, as `daogou train recommend` writes it.")
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(help="What finds answers in texts, as `daogou train evidence` writes it."),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="Inference threads; 0 takes every core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Serve the current snapshot with another ranking, reranker, behaviour or evidence model.

    Nothing is indexed again; a ranking that was fitted on another reranker is dropped.
    """
    from indexer.publish import publish as make  # slow to load, and not for --help

    progress = Silent() if as_json else Bars()
    report = make(
        store, ranking=ranking, reranker=reranker, behaviour=behaviour, evidence=evidence,
        threads=threads, progress=progress,
    )  # fmt: skip
    if as_json:
        print_json(
            {
                "snapshot": report.snapshot_id,
                "folder": str(report.folder),
                "ranking": report.ranking,
                "reranker": report.reranker,
                "dropped_ranking": report.dropped_ranking,
                "recommends": report.recommends,
                "new_bytes": report.new_bytes,
            }
        )
        return
    typer.echo(
        f"Serving snapshot {report.snapshot_id}: reranker {report.reranker or 'none'}, "
        f"ranking {report.ranking or 'none'}, {'with' if report.recommends else 'without'} "
        f"purchases ({report.new_bytes / 2**20:.1f} MiB new)."
    )
    if report.dropped_ranking:
        typer.echo(
            f"The ranking {report.dropped_ranking!r} was fitted on another reranker and is left "
            f"out. Train it again: daogou train ranking --store {store}"
        )


@snapshots.command("list")
def list_snapshots(store: StoreOption = Path("store"), as_json: JsonOption = False) -> None:
    """List the published snapshots, oldest first."""
    kept = SnapshotStore(store)
    current = kept.current().name
    entries: list[dict[str, object]] = []
    for name in kept.ids():
        entry: dict[str, object] = {"id": name, "current": name == current}
        try:
            manifest = kept.manifest(name)
            entry |= {
                "created_at": manifest.created_at.isoformat(timespec="seconds"),
                "products": manifest.products,
                "rejected": manifest.rejected,
                "bytes": manifest.size,
                "source": manifest.source,
                "models": {kind: model.name for kind, model in manifest.models.items()},
            }
        except SnapshotError as error:
            entry["error"] = str(error)
        entries.append(entry)
    if as_json:
        print_json({"snapshots": entries})
        return
    table = Table("", "snapshot", "products", "MiB", "source")
    for entry in entries:
        mark = "→" if entry["current"] else ""
        if "error" in entry:
            table.add_row(mark, str(entry["id"]), "", "", Text(str(entry["error"]), "red"))
        else:
            size = f"{int(str(entry['bytes'])) / 2**20:.1f}"
            source = Text(str(entry["source"]))
            table.add_row(mark, str(entry["id"]), f"{entry['products']:,}", size, source)
    Console().print(table)


SnapshotArgument = Annotated[
    str | None, typer.Argument(help="Snapshot id; the current one if left out.")
]


@snapshots.command()
def verify(
    snapshot_id: SnapshotArgument = None,
    store: StoreOption = Path("store"),
    as_json: JsonOption = False,
) -> None:
    """Read every byte of a snapshot and compare it with its manifest."""
    kept = SnapshotStore(store)
    name = snapshot_id or kept.current().name
    found = kept.verify(name)
    if as_json:
        print_json({"snapshot": name, "damages": found})
        if found:
            raise typer.Exit(2)
    elif found:
        raise SnapshotDamagedError(
            f"snapshot {name} is damaged: {'; '.join(found)}. "
            f"Roll back with: daogou snapshots rollback --store {store}"
        )
    else:
        typer.echo(f"Snapshot {name} is whole: every byte is as it was written.")


@snapshots.command()
def rollback(
    snapshot_id: Annotated[
        str | None, typer.Argument(help="Snapshot id; the one before the current if left out.")
    ] = None,
    store: StoreOption = Path("store"),
) -> None:
    """Serve an earlier snapshot again, after checking every byte of it."""
    kept = SnapshotStore(store)
    with kept.writing():
        typer.echo(f"Serving snapshot {kept.rollback(snapshot_id)}.")


@snapshots.command()
def prune(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest to keep.")] = 3,
    store: StoreOption = Path("store"),
) -> None:
    """Delete old snapshots; the current one always stays."""
    kept = SnapshotStore(store)
    with kept.writing():
        deleted = kept.prune(keep)
    typer.echo(f"Deleted {len(deleted)} snapshots, {len(kept.ids())} left.")


@snapshots.command("export")
def export_command(
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    *,
    store: StoreOption = Path("store"),
    snapshot: Annotated[
        str | None, typer.Option(help="Snapshot id; the current one if left out.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a snapshot into one file, every byte checked."""
    from indexer.backup import export_snapshot

    manifest = export_snapshot(store, out, snapshot, force=force)
    typer.echo(
        f"Wrote snapshot {manifest.id}, {manifest.products:,} products, to {out} "
        f"({out.stat().st_size / 2**20:.1f} MiB)."
    )


@snapshots.command("import")
def import_command(
    source: Annotated[Path, typer.Argument(help="What `daogou snapshots export` wrote.")],
    *,
    store: StoreOption = Path("store"),
    threads: Annotated[int, typer.Option(min=0, help="Inference threads; 0 takes every core.")] = 0,
) -> None:
    """Serve an exported snapshot from STORE, after checking every byte of it."""
    from indexer.backup import import_snapshot

    manifest = import_snapshot(source, store, threads=threads)
    typer.echo(f"Serving snapshot {manifest.id}: {manifest.products:,} products.")


def print_json(value: object) -> None:
    """Print one JSON object on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False))
