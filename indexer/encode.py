"""Passages to vectors, a chunk at a time, and nothing encoded twice."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.models.encoder import TransformerEncoder, load_encoder
from engine.models.folder import EncoderInfo
from engine.models.tokens import quantise
from engine.products import ProductStore
from engine.retrieval.dense import create_vectors
from engine.retrieval.passages import PassageBuilder
from engine.text import passage
from indexer.checkpoint import Checkpoint, Kept
from indexer.progress import Progress
from indexer.reuse import Before, Changes

ENCODE_CHUNK = 2_048
"""Passages encoded at a time: enough to sort by length, few enough to stay off the heap."""


def write_vectors(
    folder: Path,
    count: int,
    reader: PassageReader,
    progress: Progress,
    before: Before | None = None,
) -> Changes:
    """Write every passage's vector in row order; how the catalog differs from what was served.

    Only passages that neither the snapshot before nor the checkpoint has are encoded, a chunk at a
    time. What the encoder made of each token is kept for the reranker where the reader keeps it.
    """
    products = ProductStore(folder / "products.sqlite")
    np.save(folder / "id_rank.npy", products.id_rank())
    vectors = create_vectors(folder / "vectors.npy", count, reader.dim)
    with (
        closing(products),
        PassageBuilder(folder / "passages") if reader.keep else nullcontext() as kept,
        progress.step("Encoding", count) as advance,
    ):
        for start in range(0, count, ENCODE_CHUNK):
            rows = range(start, min(start + ENCODE_CHUNK, count))
            chunk = products.fetch(rows)
            passages = [passage(product) for product in chunk]
            known = np.full(len(rows), -1) if before is None else before.rows(chunk, passages)
            fresh = np.flatnonzero(known < 0)
            encoded = np.empty((len(rows), reader.dim), dtype=np.float16)
            if before is not None and len(fresh) < len(rows):
                encoded[known >= 0] = before.vectors(known[known >= 0])
            encoded[fresh], tokens = reader.read([passages[place] for place in fresh])
            if kept is not None:
                read = iter(tokens)
                kept.add(
                    next(read) if row < 0 or before is None else before.tokens(row)
                    for row in known.tolist()
                )
            vectors[start : rows.stop] = encoded
            advance(len(rows))
        if kept is not None:
            kept.finish()
    vectors.flush()
    changes = Changes(added=count, encoded=count) if before is None else before.total()
    changes.encoded -= reader.taken_up
    changes.taken_up = reader.taken_up
    return changes


class PassageReader:
    """Encodes texts, those alone that a run before did not."""

    def __init__(
        self,
        folder: Path,
        info: EncoderInfo,
        checkpoint: Checkpoint | None,
        *,
        keep: bool,
        threads: int,
    ) -> None:
        """Prepare; the model is loaded for the first text that has to be encoded.

        Args:
            folder: the encoder's.
            info: what it says of itself.
            checkpoint: what a run that was stopped has encoded.
            keep: whether the tokens of passages are kept.
            threads: CPU threads; 0 takes every core.
        """
        self.dim = info.dim
        self.keep = keep
        self.taken_up = 0
        self.loaded: TransformerEncoder | None = None
        self._folder = folder
        self._checkpoint = checkpoint
        self._threads = threads

    def read(self, texts: Sequence[str]) -> tuple[NDArray[np.float16], list[Kept]]:
        """Vectors of the texts, (n, dim), and their tokens where those are kept."""
        if self._checkpoint is None or not texts:
            return self._encode(texts)
        taken = self._checkpoint.take(texts)
        self.taken_up += len(taken.places)
        rest = np.setdiff1d(np.arange(len(texts)), taken.places)
        asked = [texts[place] for place in rest]
        vectors, tokens = self._encode(asked)
        self._checkpoint.add(asked, vectors, tokens)
        if not len(taken.places):
            return vectors, tokens
        every = np.empty((len(texts), self.dim), dtype=np.float16)
        every[taken.places], every[rest] = taken.vectors, vectors
        placed = dict(zip(taken.places.tolist(), taken.tokens, strict=False))
        placed |= dict(zip(rest.tolist(), tokens, strict=False))
        return every, [placed[place] for place in sorted(placed)]

    def _encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float16], list[Kept]]:
        if not texts:
            return np.empty((0, self.dim), dtype=np.float16), []
        if self.loaded is None:
            self.loaded = load_encoder(self._folder, threads=self._threads, tokens=self.keep)
        if not self.keep:
            return self.loaded.encode_passages(texts).astype(np.float16), []
        vectors, tokens = self.loaded.read_passages(texts)
        return vectors.astype(np.float16), [quantise(each) for each in tokens]
