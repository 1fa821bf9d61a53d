"""What the peers with our models share: encode → FAISS flat → a cross-encoder over the nearest.

Whatever runs the models gives two functions. As such a pipeline does, it reads passages to the
128th token and takes probabilities as the checkpoint gives them, not calibrated; prefixes that an
encoder may want are not put before texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from engine.models.reranker import softmax
from engine.models.tokenizer import cutting
from engine.retrieval.features import GAINS
from indexer.evaluate.peer_serving import PRODUCTS, read_products, texts_of

MAX_LENGTH = 128
BATCH = 32
DEPTH = 50
ENCODER, RERANKER = "encoder", "reranker"
"""Checkpoints in the folder of models; without the second nothing is reranked."""

_VECTORS = "vectors.faiss"

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → vectors of unit length; (texts, width)."""

Classify = Callable[
    [NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    NDArray[np.float32],
]
"""Ids and mask of queries, ids and mask of passages → logits; (pairs, classes)."""


@dataclass(frozen=True, slots=True)
class Reranker:
    """A cross-encoder and what cuts texts for it."""

    tokenizer: Tokenizer
    classify: Classify

    def gains(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """The expected gain of each passage, as `CrossEncoder.predict` computes: sorted batches."""
        asked = self.tokenizer.encode(query)
        sequences = self.tokenizer.encode_batch(list(passages))
        logits = np.empty((len(sequences), len(GAINS)), dtype=np.float32)
        for places in batches(sequences):
            texts = padded([asked] * len(places)), padded([sequences[place] for place in places])
            logits[places] = self.classify(*texts[0], *texts[1])
        gains: NDArray[np.float32] = softmax(logits) @ GAINS.astype(np.float32)
        return gains


class Pipeline:
    """Products, their vectors in a flat index, and both models."""

    def __init__(self, index: Path, encode: Encode, reranker: Reranker | None) -> None:
        self._index = faiss.read_index(str(index / _VECTORS))
        self._products = read_products(index / PRODUCTS)
        self._passages = texts_of(self._products)
        self._encode = encode
        self._reranker = reranker

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """The best `k` products as they were indexed, with their scores."""
        nearest = k if self._reranker is None else max(k, DEPTH)
        scores, rows = self._index.search(self._encode([text]), nearest)
        found, worth = rows[0][rows[0] >= 0], scores[0][rows[0] >= 0]
        if self._reranker is not None:
            found = found[:DEPTH]
            worth = self._reranker.gains(text, [self._passages[row] for row in found])
        order = np.argsort(-worth, kind="stable")[:k]
        return [
            {"score": float(worth[place]), "product": self._products[found[place]]}
            for place in order
        ]


def write_vectors(products: Path, encode: Encode, out: Path) -> None:
    """Encode the products of a JSON Lines file into a flat index in the folder `out`."""
    vectors = encode(texts_of(read_products(products)))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(out / _VECTORS))


def max_length(checkpoint: Path) -> int:
    """How many tokens of a text are read: no more than the model of the checkpoint can."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return min(MAX_LENGTH, int(config["max_position_embeddings"]))


def tokenizer_of(checkpoint: Path) -> Tokenizer:
    """The tokenizer of a checkpoint, which cuts texts at `max_length`."""
    written = (checkpoint / "tokenizer.json").read_text(encoding="utf-8")
    return cutting(Tokenizer.from_str(written), max_length(checkpoint))


def batches(sequences: Sequence[Encoding]) -> Iterator[list[int]]:
    """Places of sequences of like length, the longest first."""
    order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


def padded(sequences: Sequence[Encoding]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and mask, (sequences, longest) each."""
    shape = len(sequences), max(map(len, sequences))
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, one in enumerate(sequences):
        ids[row, : len(one)], mask[row, : len(one)] = one.ids, 1
    return ids, mask
