"""One snapshot: everything needed to answer, in one folder that never changes.

manifest.json      what is inside: schema, models, counts, size and SHA-256 of every file
manifest.sha256    the manifest's own checksum, in the form `sha256sum -c` reads
products.sqlite    the products' texts, by row
offers.sqlite      their prices, ratings, stock and the like
id_rank.npy        int32 (products,): the product id's place in ascending order
vectors.npy        float16 (products, dim): the truth that dense indexes are derived from
dense/             an approximate index of them, of a large catalog
lexical/           the keyword index
facets/            what filters read, of texts and of offers
shelves/           where in the categories each product stands
models/encoder/    the serving model the vectors were made with, and its tokenizer
models/reranker/   the cross-encoder, where the shop has one
suggest/           phrases and words of the catalog, to complete and to spell by
records/           what was read of each product's texts, for the next snapshot to take over
sources.npy        uint64 (products, 2): digests of the catalog rows that the texts are from
passages/          what the encoder made of each passage, where the reranker reads that
ranking/           the learned final ranking, where one was trained
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.errors import ModelError
from engine.manifest import Manifest, check_files, read_manifest
from engine.models.encoder import load_encoder
from engine.models.reranker import load_reranker
from engine.products import ProductStore
from engine.protocols import (
    DenseRetriever,
    Encoder,
    LexicalRetriever,
    PassageReranker,
    Reranker,
)
from engine.retrieval.dense import ExactIndex, StoredVectors, open_vectors
from engine.retrieval.facets import Facets
from engine.retrieval.ivf import FOLDER as DENSE
from engine.retrieval.ivf import IvfIndex
from engine.retrieval.lexical import LexicalIndex
from engine.retrieval.passages import Passages
from engine.retrieval.ranking import FittedOn, LearnedRanking, RankingInfo, load_ranking
from engine.retrieval.shelves import Shelves
from engine.retrieval.suggestions import FOLDER as SUGGEST
from engine.retrieval.suggestions import Suggestions


class Snapshot:
    """An open snapshot: its parts, loaded when first asked for and then kept.

    `open` is the way in; it checks the manifest and then the files, see `check`.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, *, threads: int = 0, kept: Path | None = None
    ) -> None:
        """Look into a folder; nothing is opened yet.

        Args:
            folder: of the snapshot.
            manifest: what lies in it.
            threads: of its models; 0 takes every core.
            kept: folder of compiled models, kept between starts; None keeps none.
        """
        self.folder = folder
        self.manifest = manifest
        self._threads = threads
        self._kept = kept

    @classmethod
    def open(cls, folder: Path, *, threads: int = 0) -> Snapshot:
        """The snapshot in this folder, ready to answer.

        Raises:
            SnapshotError: missing, damaged, foreign, or of another schema.
        """
        snapshot = cls(folder, read_manifest(folder), threads=threads)
        snapshot.check()
        return snapshot

    def check(self) -> None:
        """Compare the size of every file, and every small file's checksum, with the manifest.

        Raises:
            SnapshotDamagedError: names up to five damaged files.
        """
        check_files(self.folder, self.manifest, every_byte=False)

    def share_models(self, other: Snapshot) -> None:
        """Use the models that another open snapshot has loaded, where they are the same."""
        for kind, entry in self.manifest.models.items():
            if other.manifest.models.get(kind) == entry and kind in vars(other):
                vars(self)[kind] = vars(other)[kind]

    def share_encoder(self, encoder: Encoder) -> None:
        """Use an encoder that is loaded, where it is the snapshot's own.

        Raises:
            ModelError: it is another one.
        """
        self._check_model("encoder", encoder.fingerprint)
        vars(self)["encoder"] = encoder

    @property
    def id(self) -> str:
        """Name of the snapshot in its store."""
        return self.manifest.id

    @property
    def created_at(self) -> datetime:
        """When it was built, in UTC."""
        return self.manifest.created_at

    def __len__(self) -> int:
        return self.manifest.products

    @cached_property
    def products(self) -> ProductStore:
        """Products by row and by id."""
        return ProductStore(self.folder)

    @cached_property
    def id_rank(self) -> NDArray[np.int32]:
        """For each row, its product id's place in ascending order; shape (products,).

        Raises:
            SnapshotDamagedError: the file holds something else.
        """
        return open_array(self.folder / "id_rank.npy", np.int32, rows=len(self))

    @cached_property
    def lexical(self) -> LexicalRetriever:
        """Keyword search."""
        return LexicalIndex.open(self.folder / "lexical", self.id_rank)

    @cached_property
    def vectors(self) -> StoredVectors:
        """The products' vectors, memory-mapped; shape (products, dim).

        Raises:
            SnapshotDamagedError: the file holds something else.
        """
        return open_vectors(self.folder / "vectors.npy", len(self), self.manifest.dim)

    @cached_property
    def dense(self) -> DenseRetriever:
        """Vector search."""
        if (self.folder / DENSE).is_dir():
            return IvfIndex.open(self.folder / DENSE, self.vectors, self.id_rank)
        return ExactIndex(self.vectors, self.id_rank)

    @cached_property
    def facets(self) -> Facets:
        """What filters read."""
        return Facets(self.folder / "facets", len(self))

    @cached_property
    def shelves(self) -> Shelves:
        """Which shelf each product stands on."""
        return Shelves(self.folder / "shelves", len(self))

    @cached_property
    def suggestions(self) -> Suggestions:
        """Completes what is being typed."""
        return Suggestions(self.folder / SUGGEST)

    @cached_property
    def encoder(self) -> Encoder:
        """The bi-encoder the vectors were made with."""
        encoder = load_encoder(
            self.folder / "models" / "encoder", threads=self._threads, kept=self._kept
        )
        self._check_model("encoder", encoder.fingerprint)
        return encoder

    @cached_property
    def reranker(self) -> Reranker | PassageReranker | None:
        """The cross-encoder, or None where the snapshot holds none."""
        if "reranker" not in self.manifest.models:
            return None
        reranker = load_reranker(
            self.folder / "models" / "reranker", threads=self._threads, kept=self._kept
        )
        self._check_model("reranker", reranker.fingerprint)
        return reranker

    @cached_property
    def passages(self) -> Passages:
        """What the encoder made of each passage. Only where the reranker reads that."""
        return Passages(self.folder / "passages", self.manifest.dim, len(self))

    @cached_property
    def ranking(self) -> LearnedRanking | None:
        """The learned final ranking, or None where the snapshot holds none.

        Raises:
            ModelError: it is damaged, or was fitted on other models or keyword scores.
        """
        recorded = self.manifest.ranking
        if recorded is None:
            return None
        ranking = load_ranking(self.folder / "ranking")
        if ranking.fingerprint != recorded.fingerprint:
            raise ModelError(
                f"the ranking in {self.folder} has fingerprint {ranking.fingerprint[:12]}, the "
                f"manifest names {recorded.fingerprint[:12]}. "
                "Publish it again: daogou publish --store STORE --ranking DIR"
            )
        check_ranking(ranking.info, fingerprints(self.manifest))
        return ranking

    def _check_model(self, kind: str, fingerprint: str) -> None:
        """Vectors queried with another model's fingerprint would rank nonsense."""
        recorded = self.manifest.models[kind].fingerprint
        if fingerprint != recorded:
            raise ModelError(
                f"the {kind} in {self.folder} has fingerprint {fingerprint[:12]}, "
                f"the snapshot was made with {recorded[:12]}. "
                "Index the catalog again: daogou index CATALOG --store STORE"
            )


def fingerprints(manifest: Manifest) -> FittedOn:
    """What a ranking for this snapshot has to be fitted on."""
    reranker = manifest.models.get("reranker")
    return FittedOn(
        encoder=manifest.models["encoder"].fingerprint,
        lexical=manifest.lexical_fingerprint,
        reranker=None if reranker is None else reranker.fingerprint,
    )


def check_ranking(info: RankingInfo, here: FittedOn) -> None:
    """Weights fitted on one model's scores mean nothing for another's.

    Args:
        info: the ranking.
        here: what it is to work with: see `fingerprints`.

    Raises:
        ModelError: the ranking was fitted on another encoder, reranker or keyword index.
    """
    found = here.model_dump()
    wanted = info.fitted_on.model_dump()
    if wanted["reranker"] is None:  # it reads nothing of any reranker
        found["reranker"] = None
    other = [kind for kind, fingerprint in wanted.items() if found[kind] != fingerprint]
    if other:
        raise ModelError(
            f"the ranking {info.name!r} was fitted on another {' and '.join(other)} than "
            "the snapshot's. Train it again: daogou train ranking --store STORE"
        )
