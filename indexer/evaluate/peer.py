"""The pipeline a user would write after the documentation of sentence-transformers: a peer.

`SentenceTransformer.encode` → FAISS flat → a cross-encoder over the 50 nearest, torch in full
precision, served by FastAPI. `daogou bench` measures daogou against it, with the same weights.
As such a pipeline does, it reads passages to the 128th token and takes probabilities as the
checkpoint gives them, not calibrated; prefixes that an encoder may want are not put before texts.

    python -m indexer.evaluate.peer index --products FILE --models DIR --out DIR
    python -m indexer.evaluate.peer serve --index DIR --models DIR
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tokenizers import Encoding, Tokenizer

from engine.models.reranker import softmax
from engine.models.tokenizer import cutting
from engine.retrieval.features import GAINS
from indexer.evaluate.peer_serving import PRODUCTS, arguments, read_products, serve, texts_of
from indexer.train.crossencoder import HEAD_FILE, load

MAX_LENGTH = 128
BATCH = 32
DEPTH = 50
ENCODER, RERANKER = "encoder", "reranker"
"""Checkpoints in the folder of models; without the second nothing is reranked."""


class Pipeline:
    """Products, their vectors in a flat index, and both models."""

    def __init__(self, index: Path, models: Path) -> None:
        self._encoder = _encoder(models)
        self._index = faiss.read_index(str(index / "vectors.faiss"))
        self._products = read_products(index / PRODUCTS)
        self._passages = texts_of(self._products)
        self._reranks = (models / RERANKER / HEAD_FILE).is_file()
        if self._reranks:
            self._model, tokenizer = load(models / RERANKER)
            self._model.eval()
            longest = self._model.transformer.config.max_position_embeddings
            self._tokenizer = cutting(Tokenizer.from_str(tokenizer), min(MAX_LENGTH, longest))

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """The best `k` products as they were indexed, with their scores."""
        vector = self._encoder.encode([text], normalize_embeddings=True)
        scores, rows = self._index.search(vector, max(k, DEPTH) if self._reranks else k)
        found, worth = rows[0][rows[0] >= 0], scores[0][rows[0] >= 0]
        if self._reranks:
            found = found[:DEPTH]
            worth = self._gains(text, [self._passages[row] for row in found])
        order = np.argsort(-worth, kind="stable")[:k]
        return [
            {"score": float(worth[place]), "product": self._products[found[place]]}
            for place in order
        ]

    def _gains(self, query: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """The expected gain of each passage, as `CrossEncoder.predict` computes: sorted batches."""
        asked = self._tokenizer.encode(query)
        sequences = self._tokenizer.encode_batch(list(passages))
        order = sorted(range(len(sequences)), key=lambda place: -len(sequences[place]))
        logits = np.empty((len(sequences), len(GAINS)), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                places = order[start : start + BATCH]
                texts = _tensors([asked] * len(places)), _tensors([sequences[p] for p in places])
                logits[places] = self._model(*texts[0], *texts[1]).numpy()
        gains: NDArray[np.float32] = softmax(logits) @ GAINS.astype(np.float32)
        return gains


def _tensors(sequences: Sequence[Encoding]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (sequences, longest) each."""
    shape = len(sequences), max(map(len, sequences))
    ids, mask = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)
    for row, one in enumerate(sequences):
        ids[row, : len(one)], mask[row, : len(one)] = torch.tensor(one.ids), 1
    return ids, mask


def _encoder(models: Path) -> SentenceTransformer:
    encoder = SentenceTransformer(str(models / ENCODER), device="cpu")
    encoder.max_seq_length = min(MAX_LENGTH, encoder.max_seq_length or MAX_LENGTH)
    return encoder


def build(products: Path, models: Path, out: Path) -> None:
    """Encode the products of a JSON Lines file and write the index."""
    out.mkdir(parents=True, exist_ok=True)
    texts = texts_of(read_products(products))
    vectors = _encoder(models).encode(texts, batch_size=BATCH, normalize_embeddings=True)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(out / "vectors.faiss"))
    shutil.copyfile(products, out / PRODUCTS)  # last: what has it is whole


def main() -> None:
    """Index or serve."""
    parser = arguments(__doc__)
    parser.add_argument("--models", type=Path, required=True)
    given = parser.parse_args()
    if given.what == "index":
        build(given.products, given.models, given.out)
    else:
        serve(Pipeline(given.index, given.models))


if __name__ == "__main__":
    main()
