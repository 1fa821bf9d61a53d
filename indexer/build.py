"""Catalog in, published snapshot out: what `daogou index` does."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import clock
from engine.checksums import FileEntry
from engine.errors import CatalogError, SnapshotDamagedError, SnapshotError
from engine.guide.behaviour import FOLDER as BEHAVIOUR
from engine.guide.evidence import FOLDER as EVIDENCE
from engine.manifest import Manifest, ModelEntry, describe_files
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import ModelInfo
from engine.models.reranker import SHIPPED_RERANKER
from engine.protocols import Encoder
from engine.retrieval.dense import open_vectors
from engine.retrieval.ivf import DenseInfo
from engine.retrieval.lexical import FINGERPRINT
from engine.retrieval.ranking import SHIPPED_RANKING
from engine.search import SearchEngine
from engine.settings import Settings
from engine.snapshot import Snapshot
from engine.store import SnapshotStore, Staging
from engine.types import Hit, Stage
from indexer.carried import Carried, read_queries
from indexer.catalog import RejectLog, read_entries
from indexer.catalog.entries import Entry, KnownRows
from indexer.checkpoint import Checkpoint
from indexer.dense import write_dense
from indexer.device import Device, require
from indexer.encode import ENCODE_CHUNK, PASSAGES, VECTORS, write_vectors
from indexer.models import (
    adopt_models,
    adopt_ranking,
    choose_models,
    encoder_of,
    infos_of,
    model_entry,
    reads_kept,
)
from indexer.passage_reader import PassageReader
from indexer.products import ProductWriter
from indexer.progress import Progress, Silent
from indexer.reuse import Before, Changes, Origins, served_before

_SAMPLED = 2_048  # vectors whose length is looked at


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
    rejected: int = 0,
) -> IndexReport:
    """Publish a snapshot of these products. The store must be held for writing.

    Args:
        snapshots: the store.
        read: gives the products, in the order of their rows, once it is told which are known.
        source: what the catalog is called.
        options: models, ranking, threads, the cache and the device count.
        before: what is served, to take over from.
        why: nothing can be taken over, though something is served.
        rejects: the rows that gave no product.
        progress: where to report.
        rejected: rows that gave none in a run before, to be counted as the catalog's.

    Returns:
        What was done.

    Raises:
        CatalogError, SnapshotError, ModelError: as `index_catalog`.
    """
    seconds: dict[str, float] = {}
    models = choose_models(options.encoder, options.reranker)
    infos = infos_of(models)
    with faults_named(snapshots.folder), staged(snapshots) as staging, ExitStack() as opened:
        folder = staging.folder
        with timed(seconds, "read"):
            carried, given = Carried(snapshots), options.past_queries
            asked = carried.past_queries() if given is None else read_queries(given)
            adopt_models(folder, models, before)
            ranking = adopt_ranking(folder, options.ranking, infos)
            reader = opened.enter_context(closing(_reader(folder, infos, options)))
            checkpoint = Checkpoint(snapshots.folder, infos["encoder"], tokens=reader.keep)
            if len(checkpoint):
                reader.checkpoint = checkpoint
            writer = opened.enter_context(ProductWriter(folder, asked, before))
            stream = read(None if before is None else before.known)
            origins = writer.read(stream, progress, reader.announce)
            if not len(origins):
                raise CatalogError(_nothing_left(source, rejects))
            carried.adopt(folder, BEHAVIOUR, EVIDENCE)
        with timed(seconds, "encode"):
            if np.count_nonzero(origins < 0) > ENCODE_CHUNK:
                reader.checkpoint = checkpoint
            _write_parts(folder, origins, writer, reader, before=before, progress=progress)
        with timed(seconds, "index"):
            dense = write_dense(
                folder,
                before,
                asked,
                progress,
                min_recall=options.min_recall,
                threads=options.threads,
            )
        with timed(seconds, "publish"):
            shared = {} if before is None else before.shared(folder)
            manifest = describe(
                staging, infos, ranking, shared,
                source=source, products=len(origins), rejected=rejected + rejects.total,
            )  # fmt: skip
            stage = _trial(before, ranking, reader)
            smoke_test(folder, manifest, options.threads, stage, encoder=reader.loaded)
            published = snapshots.publish(staging, manifest, shared.keys())
            checkpoint.clear()
    return IndexReport(
        snapshot_id=manifest.id,
        folder=published,
        products=manifest.products,
        rejected=rejects.total,
        rejects_by_reason=dict(rejects.by_reason),
        rejects_file=rejects.path if rejects.total else None,
        bytes=manifest.size,
        seconds=seconds,
        changes=_changes(manifest.products, before, reader),
        dense=dense,
        again=why if before is None else before.why,
        lost=tuple(carried.lost),
        recovered=carried.recovered,
        device=reader.device,
        no_gpu=reader.no_gpu,
    )


@contextmanager
def timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note how long a step takes."""
    began = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - began


def _reader(folder: Path, infos: Mapping[str, ModelInfo], options: IndexOptions) -> PassageReader:
    """What encodes, with the encoder that lies in the new snapshot."""
    encoder, keep = folder / "models" / "encoder", reads_kept(infos)
    return PassageReader(
        encoder,
        encoder_of(infos),
        keep=keep,
        threads=options.threads,
        kept=options.model_cache,
        device=options.device,
    )


def _write_parts(
    folder: Path,
    origins: NDArray[np.int32],
    writer: ProductWriter,
    reader: PassageReader,
    *,
    before: Before | None,
    progress: Progress,
) -> None:
    """Write the vectors, and beside that all that is made of texts and offers alone."""
    with ThreadPoolExecutor(1) as beside:
        # Python's part of the indexes is made while the encoder has the cores to itself.
        indexing = beside.submit(writer.finish)
        if before is not None and Origins(origins, len(before)).unmoved:
            before.share(folder, VECTORS, *([PASSAGES] if reader.keep else []))
        else:
            write_vectors(folder, origins, reader, progress, before)
        indexing.result()


def _trial(
    before: Before | None, ranking: ModelEntry | None, reader: PassageReader
) -> Stage | None:
    """Up to which stage the new snapshot is searched before it is published.

    Where no text was encoded the models are those that are served, and need not be loaded.
    """
    ranked = before is not None and before.snapshot.manifest.ranking == ranking
    return None if ranked and reader.loaded is None else Stage.FUSED


def _changes(products: int, before: Before | None, reader: PassageReader) -> Changes:
    """How the catalog differs from what was served."""
    changes = Changes(added=products, encoded=products) if before is None else before.total()
    changes.encoded -= reader.taken_up
    changes.taken_up = reader.taken_up
    return changes


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


def describe(
    staging: Staging,
    models: Mapping[str, ModelInfo],
    ranking: ModelEntry | None,
    shared: Mapping[str, FileEntry],
    *,
    source: str,
    products: int,
    rejected: int,
) -> Manifest:
    """The manifest of a staged snapshot whose files are all written."""
    folder = staging.folder
    return Manifest(
        id=staging.id,
        parent=staging.parent,
        created_at=clock.now(),
        daogou_version=version("daogou"),
        source=source,
        products=products,
        rejected=rejected,
        dim=open_vectors(folder / "vectors.npy").shape[1],
        lexical_fingerprint=FINGERPRINT,
        models={kind: model_entry(info) for kind, info in models.items()},
        ranking=ranking,
        files=describe_files(folder, shared),
    )


def smoke_test(
    folder: Path,
    manifest: Manifest,
    threads: int,
    stage: Stage | None = Stage.FUSED,
    *,
    encoder: Encoder | None = None,
) -> None:
    """Open the staged snapshot and search it up to `stage`, before a shopper does.

    Without a stage no model is loaded; keyword and vector search are tried alone.
    With its encoder, where that was loaded from there already.

    Raises:
        SnapshotDamagedError: parts disagree on how many products there are, vectors are not of unit
            length, or a search finds nothing.
    """
    snapshot = Snapshot(folder, manifest, threads=threads)
    if encoder is not None:
        snapshot.share_encoder(encoder)
    parts = [len(snapshot.products), len(snapshot.vectors), len(snapshot.id_rank)]
    if (folder / "passages").exists():
        parts.append(len(snapshot.passages))
    if set(parts) != {manifest.products}:
        raise SnapshotDamagedError(f"the new snapshot is not whole: {parts} products. Index again")
    sample = np.linspace(0, len(snapshot) - 1, num=min(len(snapshot), _SAMPLED), dtype=np.int64)
    lengths = np.linalg.norm(snapshot.vectors[sample].astype(np.float32), axis=1)
    if not np.allclose(lengths, 1.0, atol=1e-2):
        raise SnapshotDamagedError("the encoder gave vectors that are not of unit length")
    if stage is None:
        snapshot.lexical.search(["smoke test"], 1)
        found = any(map(len, snapshot.dense.search(snapshot.vectors[:1].astype(np.float32), 1)))
    else:
        found = bool(_search(snapshot, stage))
    if not found:
        raise SnapshotDamagedError("the new snapshot finds nothing. Index again")
    snapshot.products.close()


def _search(snapshot: Snapshot, stage: Stage) -> Sequence[Hit]:
    defaults = Settings.model_construct()  # not the environment's: those belong to who searches
    return SearchEngine(snapshot, defaults).search("smoke test", stage=stage).hits
