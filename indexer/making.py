"""One snapshot in the making: read, encoded, indexed, tried and published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine import clock
from engine.checksums import FileEntry
from engine.errors import SnapshotDamagedError
from engine.guide.behaviour import FOLDER as BEHAVIOUR
from engine.guide.evidence import FOLDER as EVIDENCE
from engine.manifest import Manifest, ModelEntry, describe_files
from engine.models.folder import ModelInfo
from engine.protocols import Encoder
from engine.retrieval.dense import open_vectors
from engine.retrieval.ivf import DenseInfo
from engine.retrieval.lexical import FINGERPRINT
from engine.search import SearchEngine
from engine.settings import Settings
from engine.snapshot import Snapshot
from engine.store import SnapshotStore, Staging
from engine.types import Hit, Stage
from indexer.carried import Carried, read_queries
from indexer.catalog.entries import Entry, KnownRows
from indexer.checkpoint import Checkpoint
from indexer.dense import write_dense
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
from indexer.progress import Progress
from indexer.reuse import Before, Changes, Origins

if TYPE_CHECKING:
    from indexer.build import IndexOptions

_SAMPLED = 2_048  # vectors whose length is looked at


class Making:
    """A snapshot in the making, step by step in this order: read, encode, index, publish."""

    def __init__(
        self,
        snapshots: SnapshotStore,
        staging: Staging,
        options: IndexOptions,
        before: Before | None,
        opened: ExitStack,
    ) -> None:
        """Put the models where they are served from, and open what reads and writes.

        Args:
            snapshots: the store, held for writing.
            staging: the empty folder that becomes the snapshot.
            options: as `make_snapshot` takes them.
            before: what is served, to take over from.
            opened: closes in the end what is opened here.
        """
        models = choose_models(options.encoder, options.reranker)
        self._snapshots = snapshots
        self._staging = staging
        self._folder = staging.folder
        self._options = options
        self._before = before
        self._infos = infos_of(models)
        self.carried = Carried(snapshots)
        """What a snapshot holds beside the catalog."""
        given = options.past_queries
        self._asked = self.carried.past_queries() if given is None else read_queries(given)
        adopt_models(self._folder, models, before)
        self._ranking = adopt_ranking(self._folder, options.ranking, self._infos)
        self.reader = opened.enter_context(closing(self._reader()))
        """What encodes, with the encoder that lies in the new snapshot."""
        self._checkpoint = Checkpoint(
            snapshots.folder, self._infos["encoder"], tokens=self.reader.keep
        )
        self._writer = opened.enter_context(ProductWriter(self._folder, self._asked, before))
        self._origins = np.empty(0, dtype=np.int32)

    def _reader(self) -> PassageReader:
        return PassageReader(
            self._folder / "models" / "encoder",
            encoder_of(self._infos),
            keep=reads_kept(self._infos),
            threads=self._options.threads,
            kept=self._options.model_cache,
            device=self._options.device,
        )

    @property
    def products(self) -> int:
        """How many were read."""
        return len(self._origins)

    def read(self, read: Callable[[KnownRows | None], Iterable[Entry]], progress: Progress) -> None:
        """Read and store the products, and begin to encode them."""
        if len(self._checkpoint):
            self.reader.checkpoint = self._checkpoint
        stream = read(None if self._before is None else self._before.known)
        self._origins = self._writer.read(stream, progress, self.reader.announce)
        if self.products:
            self.carried.adopt(self._folder, BEHAVIOUR, EVIDENCE)

    def encode(self, progress: Progress) -> None:
        """Write the vectors, and beside that all that is made of texts and offers alone."""
        if np.count_nonzero(self._origins < 0) > ENCODE_CHUNK:
            self.reader.checkpoint = self._checkpoint
        before = self._before
        with ThreadPoolExecutor(1) as beside:
            # Python's part of the indexes is made while the encoder has the cores to itself.
            indexing = beside.submit(self._writer.finish)
            if before is not None and Origins(self._origins, len(before)).unmoved:
                before.share(self._folder, VECTORS, *([PASSAGES] if self.reader.keep else []))
            else:
                write_vectors(self._folder, self._origins, self.reader, progress, before)
            indexing.result()

    def index(self, progress: Progress) -> DenseInfo | None:
        """Write the index of the vectors, where they are many."""
        return write_dense(
            self._folder,
            self._before,
            self._asked,
            progress,
            min_recall=self._options.min_recall,
            threads=self._options.threads,
        )

    def publish(self, source: str, rejected: int) -> tuple[Manifest, Path]:
        """Try the snapshot, and serve it from now on; its manifest and its folder."""
        before = self._before
        shared = {} if before is None else before.shared(self._folder)
        manifest = describe(
            self._staging, self._infos, self._ranking, shared,
            source=source, products=self.products, rejected=rejected,
        )  # fmt: skip
        smoke_test(
            self._folder,
            manifest,
            self._options.threads,
            self._trial(),
            encoder=self.reader.loaded,
        )
        published = self._snapshots.publish(self._staging, manifest, shared.keys())
        self._checkpoint.clear()
        return manifest, published

    def _trial(self) -> Stage | None:
        """Up to which stage the new snapshot is searched before it is published.

        Where no text was encoded the models are those that are served, and need not be loaded.
        """
        before = self._before
        ranked = before is not None and before.snapshot.manifest.ranking == self._ranking
        return None if ranked and self.reader.loaded is None else Stage.FUSED

    def changes(self) -> Changes:
        """How the catalog differs from what was served."""
        count = self.products
        changes = (
            Changes(added=count, encoded=count) if self._before is None else self._before.total()
        )
        changes.encoded -= self.reader.taken_up
        changes.taken_up = self.reader.taken_up
        return changes


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
