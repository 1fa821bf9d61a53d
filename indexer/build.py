"""Catalog in, published snapshot out: what `daogou index` does."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from engine import clock
from engine.errors import CatalogError, ModelError, SnapshotDamagedError, SnapshotError
from engine.guide.behaviour import FOLDER as BEHAVIOUR
from engine.guide.evidence import FOLDER as EVIDENCE
from engine.manifest import Manifest, ModelEntry, describe_files, read_manifest
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import EncoderInfo, ModelInfo, RerankerInfo, read_model_info
from engine.models.reranker import SHIPPED_RERANKER
from engine.products import ProductStoreBuilder
from engine.protocols import Encoder
from engine.retrieval.dense import open_vectors
from engine.retrieval.facets import FacetBuilder
from engine.retrieval.ivf import DenseInfo
from engine.retrieval.lexical import FINGERPRINT
from engine.retrieval.ranking import (
    SHIPPED_RANKING,
    FittedOn,
    RankingInfo,
    read_ranking_info,
)
from engine.retrieval.shelves import ShelfBuilder
from engine.retrieval.suggestions import ASKED, read_asked
from engine.retrieval.suggestions import FOLDER as SUGGEST
from engine.search import SearchEngine
from engine.settings import Settings
from engine.snapshot import Snapshot, check_ranking
from engine.store import SnapshotStore, Staging
from engine.types import Product, Stage
from indexer.catalog import RejectLog, read_catalog
from indexer.checkpoint import Checkpoint
from indexer.dense import write_dense
from indexer.encode import ENCODE_CHUNK, PassageReader, write_vectors
from indexer.progress import Progress, Silent
from indexer.reuse import Before, Changes
from indexer.texts import TextIndexes

PAST_QUERIES = "past-queries"
"""What shoppers asked, among what a snapshot may have lost."""

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
    lost: tuple[str, ...] = ()
    """What was published beside the snapshot before and was found damaged: it is left out."""


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
        ModelError: a model folder is missing or damaged.
    """
    options = options or IndexOptions()
    snapshots = SnapshotStore(store)
    with snapshots.writing(), reject_log(store, options) as rejects:
        return make_snapshot(
            snapshots, products_of(source, store, options, rejects), str(source), options,
            rejects=rejects, progress=progress or Silent(),
        )  # fmt: skip


def products_of(
    source: Path, store: Path, options: IndexOptions, rejects: RejectLog
) -> Iterator[Product]:
    """The catalog's products, read as the options say. The store may lie in its folder."""
    return read_catalog(
        source,
        layout=options.layout,
        mapping=options.mapping,
        rejects=rejects,
        exclude=store,
    )


def reject_log(store: Path, options: IndexOptions) -> RejectLog:
    """Where the rows that cannot be used are listed."""
    return RejectLog(options.rejects or store / "rejects.jsonl", strict=options.strict)


def make_snapshot(
    snapshots: SnapshotStore,
    stream: Iterable[Product],
    source: str,
    options: IndexOptions,
    *,
    rejects: RejectLog,
    progress: Progress,
    rejected: int = 0,
) -> IndexReport:
    """Publish a snapshot of these products. The store must be held for writing.

    Args:
        snapshots: the store.
        stream: the products, in the order of their rows.
        source: what the catalog is called.
        options: models, ranking and threads count.
        rejects: the rows that gave no product.
        progress: where to report.
        rejected: rows that gave none in a run before, to be counted as the catalog's.

    Raises:
        CatalogError, SnapshotError, ModelError: as `index_catalog`.
    """
    seconds: dict[str, float] = {}
    with faults_named(snapshots.folder), staged(snapshots) as staging:
        models = adopt_models(staging.folder, options)
        ranking = adopt_ranking(staging.folder, options.ranking, models)
        started = time.perf_counter()
        asked, damaged = past_queries(options.past_queries, snapshots)
        keep = reads_kept(models)
        before = Before.open(snapshots, models["encoder"], tokens=keep)
        with closing(before) if before else nullcontext():
            known = None if before is None else before.snapshot
            products = write_products(staging.folder, stream, progress, asked, known)
            seconds["read"] = time.perf_counter() - started
            if not products:
                raise CatalogError(_nothing_left(source, rejects))
            lost = damaged + adopt_learnt(staging.folder, snapshots)
            checkpoint = Checkpoint(snapshots.folder, models["encoder"], tokens=keep)
            reader = PassageReader(
                staging.folder / "models" / "encoder",
                encoder_of(models),
                checkpoint if products > ENCODE_CHUNK else None,
                keep=keep,
                threads=options.threads,
            )
            changes = write_vectors(staging.folder, products, reader, progress, before)
        seconds["encode"] = time.perf_counter() - started - seconds["read"]
        dense = write_dense(
            staging.folder,
            snapshots,
            asked,
            progress,
            min_recall=options.min_recall,
            threads=options.threads,
        )
        seconds["index"] = time.perf_counter() - started - sum(seconds.values())
        manifest = describe(
            staging, models, ranking,
            source=source, products=products, rejected=rejected + rejects.total,
        )  # fmt: skip
        smoke_test(staging.folder, manifest, options.threads, encoder=reader.loaded)
        folder = snapshots.publish(staging, manifest)
        checkpoint.clear()
        seconds["publish"] = time.perf_counter() - started - sum(seconds.values())
    return IndexReport(
        snapshot_id=manifest.id,
        folder=folder,
        products=products,
        rejected=rejects.total,
        rejects_by_reason=dict(rejects.by_reason),
        rejects_file=rejects.path if rejects.total else None,
        bytes=manifest.size,
        seconds=seconds,
        changes=changes,
        dense=dense,
        lost=lost,
    )


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


def choose_models(options: IndexOptions) -> dict[str, tuple[Path, ModelInfo]]:
    """Where the models that go into the snapshot lie, and what they say of themselves; by kind.

    Raises:
        ModelError: one is missing or damaged, or the reranker reads another encoder's tokens.
    """
    sources = {"encoder": options.encoder}
    if options.reranker is not None:
        sources["reranker"] = options.reranker
    models = {kind: (path, read_model_info(path, kind=kind)) for kind, path in sources.items()}
    _, encoder = models["encoder"]
    _, reranker = models.get("reranker", (None, None))
    if isinstance(reranker, RerankerInfo) and reranker.encoder not in {"", encoder.fingerprint}:
        if options.reranker != SHIPPED_RERANKER:
            raise ModelError(
                f"the reranker {reranker.name!r} reads what another encoder than {encoder.name!r} "
                "makes of products. Name the encoder it was exported with, or train one on this: "
                "daogou train reranker"
            )
        del models["reranker"]  # nobody asked for it
    return models


def adopt_models(folder: Path, options: IndexOptions) -> dict[str, ModelInfo]:
    """Copy the models into the snapshot: an index carries what it was made with."""
    models = choose_models(options)
    for kind, (source, _) in models.items():
        shutil.copytree(source, folder / "models" / kind)
    return {kind: info for kind, (_, info) in models.items()}


def adopt_ranking(
    folder: Path, source: Path | None, models: Mapping[str, ModelInfo]
) -> ModelEntry | None:
    """Copy the final ranking into the snapshot, if one is given and fits its models."""
    if source is None:
        return None
    info = read_ranking_info(source)
    reranker = models.get("reranker")
    here = FittedOn(
        encoder=models["encoder"].fingerprint,
        lexical=FINGERPRINT,
        reranker=None if reranker is None else reranker.fingerprint,
    )
    try:
        check_ranking(info, here)
    except ModelError:
        if source == SHIPPED_RANKING:  # nobody asked for it
            return None
        raise
    shutil.copytree(source, folder / "ranking")
    return ranking_entry(info)


def adopt_learnt(folder: Path, snapshots: SnapshotStore) -> tuple[str, ...]:
    """Take over what was published beside the snapshot that is served; the parts that are damaged.

    What shoppers did names products by their ids, and what finds answers reads any text: a catalog
    that changed makes neither wrong.
    """
    try:
        source = snapshots.current()
        manifest = read_manifest(source)
    except SnapshotError:
        return ()  # nothing is served, or nothing that can be read
    lost = []
    for part in (BEHAVIOUR, EVIDENCE):
        names = [name for name in manifest.files if name.startswith(f"{part}/")]
        if not all(manifest.files[name].is_at(source / name) for name in names):
            lost.append(part)
            continue
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy2(source / name, folder / name)
    return tuple(lost)


def ranking_entry(info: RankingInfo) -> ModelEntry:
    """What a manifest says of a final ranking."""
    return ModelEntry(name=info.name, fingerprint=info.fingerprint, precision="fp64")


def model_entry(info: ModelInfo) -> ModelEntry:
    """What a manifest says of a model."""
    return ModelEntry(name=info.name, fingerprint=info.fingerprint, precision=info.precision)


def encoder_of(models: Mapping[str, ModelInfo]) -> EncoderInfo:
    """What the encoder among the models says of itself.

    Raises:
        ModelError: there is none.
    """
    info = models.get("encoder")
    if not isinstance(info, EncoderInfo):
        raise ModelError("a snapshot needs an encoder. Name one: --encoder DIR")
    return info


def reads_kept(models: Mapping[str, ModelInfo]) -> bool:
    """Whether a reranker reads what the encoder makes of passages."""
    reranker = models.get("reranker")
    return isinstance(reranker, RerankerInfo) and bool(reranker.encoder)


def past_queries(
    path: Path | None, snapshots: SnapshotStore
) -> tuple[dict[str, int], tuple[str, ...]]:
    """What shoppers asked, by how often: as the file says, or as the snapshot before does.

    And what is lost, where that one's are damaged: taken over, they would pass for whole.

    Raises:
        CatalogError: the file cannot be read.
    """
    if path is None:
        try:
            source = snapshots.current()
            entry = read_manifest(source).files.get(f"{SUGGEST}/{ASKED}")
        except SnapshotError:
            return {}, ()  # nothing is served, or nothing that can be read
        if entry is None or entry.is_at(source / SUGGEST / ASKED):
            return read_asked(source / SUGGEST), ()
        return {}, (PAST_QUERIES,)
    try:
        with path.open(encoding="utf-8") as lines:
            return dict(Counter(line.strip() for line in lines if line.strip())), ()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"{path} cannot be read ({error}). Give a UTF-8 file with one query a line"
        ) from error


def write_products(
    folder: Path,
    stream: Iterable[Product],
    progress: Progress,
    asked: Mapping[str, int],
    before: Snapshot | None = None,
) -> int:
    """Write all that is read of products alone, in one pass; returns the count.

    What is made of texts alone is taken over from the snapshot before where no text differs.
    """
    facets = FacetBuilder(folder / "facets")
    shelves = ShelfBuilder(folder / "shelves")
    count = 0
    with (
        closing(ProductStoreBuilder(folder / "products.sqlite")) as store,
        TextIndexes(folder, asked, before) as texts,
        progress.step("Reading", None) as advance,
    ):
        for product in stream:
            row = store.add(product)
            texts.add(row, product)
            facets.add(row, product)
            shelves.add(product.category)
            count += 1
            advance(1)
        store.finish()
        texts.finish()
    facets.finish()
    shelves.finish()
    return count


def describe(
    staging: Staging,
    models: Mapping[str, ModelInfo],
    ranking: ModelEntry | None,
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
        files=describe_files(folder),
    )


def smoke_test(
    folder: Path,
    manifest: Manifest,
    threads: int,
    stage: Stage = Stage.FUSED,
    *,
    encoder: Encoder | None = None,
) -> None:
    """Open the staged snapshot and search it up to `stage`, before a shopper does.

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
    defaults = Settings.model_construct()  # not the environment's: those belong to who searches
    engine = SearchEngine(snapshot, defaults)
    if not engine.search("smoke test", stage=stage).hits:
        raise SnapshotDamagedError("the new snapshot finds nothing. Index again")
    snapshot.products.close()
