"""Catalog in, published snapshot out: what `daogou index` does."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import CatalogError, SnapshotError
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.reranker import SHIPPED_RERANKER
from engine.retrieval.ivf import DenseInfo
from engine.retrieval.ranking import SHIPPED_RANKING
from engine.store import SnapshotStore, Staging
from indexer.catalog import RejectLog, read_entries
from indexer.catalog.entries import Entry, KnownRows
from indexer.device import Device, require
from indexer.making import Making
from indexer.models import (
    choose_models,
    infos_of,
    model_entry,
    reads_kept,
)
from indexer.progress import Progress, Silent
from indexer.reuse import Before, Changes, served_before


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How to read the catalog, and which models go into the snapshot."""

    layout: str = "auto"
    mapping: Mapping[str, str] = field(default_factory=dict)
    rejects: Path | None = None
    strict: bool = False
    encoder: Path = SHIPPED_ENCODER
    reranker: Path | None = SHIPPED_RERANKER
    """The one that ships is left out beside another encoder; another is refused."""
    ranking: Path | None = SHIPPED_RANKING
    """The one that ships is left out where it was fitted on other models; another is refused."""
    past_queries: Path | None = None
    """What shoppers asked, one query a line; without it, what the snapshot before was given."""
    min_recall: float = 0.95
    """Least share of the 100 nearest vectors that an approximate index has to find."""
    threads: int = 0
    model_cache: Path | None = None
    """Folder of compiled models, kept between runs; None keeps none."""
    device: Device = Device.AUTO
    """What encodes passages. Queries are encoded on the CPU wherever."""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run did."""

    snapshot_id: str
    folder: Path
    products: int
    rejected: int
    rejects_by_reason: Mapping[str, int]
    rejects_file: Path | None
    bytes: int
    seconds: Mapping[str, float]
    """Wall time by step."""
    changes: Changes = field(default_factory=Changes)
    """Against what was served before."""
    dense: DenseInfo | None = None
    """How an approximate index of the vectors is searched; None where every one is compared."""
    again: str = ""
    """Why texts that are as they were are encoded again; empty where they are not."""
    lost: tuple[str, ...] = ()
    """What the snapshot before held beside the catalog and is left out, since it was damaged."""
    recovered: Mapping[str, str] = field(default_factory=dict)
    """What it held and an older snapshot gave instead, with that one's id."""
    device: str = ""
    """What encoded, `cpu` or `cuda`, at last where it was both; empty where nothing had to be."""
    no_gpu: str = ""
    """Why the GPU that is there was given up; empty where it was not."""


def index_catalog(
    source: Path,
    store: Path,
    options: IndexOptions | None = None,
    progress: Progress | None = None,
) -> IndexReport:
    """Index a catalog file or folder and serve it from `store` from now on.

    Killed at any moment, the store goes on serving what it served before.

    Raises:
        CatalogError: the catalog cannot be read, or no product is left of it.
        SnapshotError: the store cannot be written to; StoreLockedError where another process is.
        ModelError: a model folder is missing or damaged, or a GPU was asked for that is not there.
    """
    options = options or IndexOptions()
    require(options.device)
    snapshots = SnapshotStore(store)
    with snapshots.writing(), reject_log(store, options) as rejects:
        infos = infos_of(choose_models(options.encoder, options.reranker))
        encoder, keep = model_entry(infos["encoder"]), reads_kept(infos)
        before, why = served_before(snapshots, encoder, tokens=keep)
        with closing(before) if before else nullcontext():
            return make_snapshot(
                snapshots,
                lambda known: entries_of(source, store, options, rejects, known),
                str(source),
                options,
                before=before,
                why=why,
                rejects=rejects,
                progress=progress or Silent(),
            )


def entries_of(
    source: Path, store: Path, options: IndexOptions, rejects: RejectLog, known: KnownRows | None
) -> Iterator[Entry]:
    """The catalog's products, read as the options say. The store may lie in its folder."""
    return read_entries(
        source,
        layout=options.layout,
        mapping=options.mapping,
        rejects=rejects,
        exclude=store,
        known=known,
    )


def reject_log(store: Path, options: IndexOptions) -> RejectLog:
    """Where the rows that cannot be used are listed."""
    return RejectLog(options.rejects or store / "rejects.jsonl", strict=options.strict)


def make_snapshot(
    snapshots: SnapshotStore,
    read: Callable[[KnownRows | None], Iterable[Entry]],
    source: str,
    options: IndexOptions,
    *,
    before: Before | None,
    why: str = "",
    rejects: RejectLog,
    progress: Progress,
) -> IndexReport:
    """Publish a snapshot of these products. The store must be held for writing.

    Args:
        snapshots: the store.
        read: gives the products, in the order of their rows, once it is told which are known.
        source: what the catalog is called.
        options: models, ranking, threads, the cache and the device count.
        before: what is served, to take over from.
        why: nothing can be taken over, though something is served.
        rejects: the rows that gave no product; the manifest counts those of this run alone.
        progress: where to report.

    Returns:
        What was done.

    Raises:
        CatalogError, SnapshotError, ModelError: as `index_catalog`.
    """
    seconds: dict[str, float] = {}
    with faults_named(snapshots.folder), staged(snapshots) as staging, ExitStack() as opened:
        making = Making(snapshots, staging, options, before, opened)
        with timed(seconds, "read"):
            making.read(read, progress)
            if not making.products:
                raise CatalogError(_nothing_left(source, rejects))
        with timed(seconds, "encode"):
            making.encode(progress)
        with timed(seconds, "index"):
            dense = making.index(progress)
        with timed(seconds, "publish"):
            manifest, published = making.publish(source, rejects.total)
    return IndexReport(
        snapshot_id=manifest.id,
        folder=published,
        products=manifest.products,
        rejected=rejects.total,
        rejects_by_reason=dict(rejects.by_reason),
        rejects_file=rejects.path if rejects.total else None,
        bytes=manifest.size,
        seconds=seconds,
        changes=making.changes(),
        dense=dense,
        again=why if before is None else before.why,
        lost=tuple(making.carried.lost),
        recovered=making.carried.recovered,
        device=making.reader.device,
        no_gpu=making.reader.no_gpu,
    )


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long a step takes."""
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


@contextmanager
def staged(snapshots: SnapshotStore) -> Iterator[Staging]:
    """An empty folder to build in, gone afterwards: a failed run keeps no disk."""
    staging = snapshots.stage()
    try:
        yield staging
    finally:
        shutil.rmtree(staging.folder.parent, ignore_errors=True)


@contextmanager
def faults_named(store: Path) -> Iterator[None]:
    """Say where writing failed and what to do.

    Raises:
        SnapshotError: the disk is full, or a file may not be written.
    """
    try:
        yield
    except (OSError, sqlite3.Error, shutil.Error) as error:
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise SnapshotError(
            f"cannot write to {store}: {reason}. What was served before still is. Free some space "
            "or mend what the message names, then index again"
        ) from error


def _nothing_left(source: str, rejects: RejectLog) -> str:
    """Why a catalog gave no product."""
    if not rejects.total:
        return f"{source} holds no products"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in rejects.by_reason.most_common(3))
    return f"every row of {source} was rejected ({reasons}). See {rejects.path}"
