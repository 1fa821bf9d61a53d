"""The pipeline a user would write after the documentation of sentence-transformers: the peer.

`SentenceTransformer.encode` → FAISS flat → a cross-encoder over the 50 nearest, torch in full
precision, served by FastAPI. `daogou bench` measures daogou against it, with the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from indexer.evaluate import peer_serving
from indexer.evaluate.peer_pipeline import (
    BATCH,
    ENCODER,
    RERANKER,
    Classify,
    Encode,
    Pipeline,
    Reranker,
    max_length,
    tokenizer_of,
    write_vectors,
)
from indexer.train import crossencoder


def build(products: Path, models: Path, out: Path) -> None:
    """Encode the products of a JSON Lines file and write the index."""
    write_vectors(products, _encoder(models), out)


def load(index: Path, models: Path) -> Pipeline:
    """The index, ready to be searched."""
    checkpoint = models / RERANKER
    reranker = None
    if (checkpoint / crossencoder.HEAD_FILE).is_file():
        model, _ = crossencoder.load(checkpoint)
        reranker = Reranker(tokenizer_of(checkpoint), _classifier(model.eval()))
    return Pipeline(index, _encoder(models), reranker)


def _encoder(models: Path) -> Encode:
    encoder = SentenceTransformer(str(models / ENCODER), device="cpu")
    encoder.max_seq_length = max_length(models / ENCODER)
    return lambda texts: encoder.encode(list(texts), batch_size=BATCH, normalize_embeddings=True)


def _classifier(model: Any) -> Classify:  # noqa: ANN401 - torch is not typed
    def classify(*inputs: Any) -> Any:  # noqa: ANN401
        with torch.inference_mode():
            return model(*map(torch.from_numpy, inputs)).numpy()

    return classify


if __name__ == "__main__":
    peer_serving.main(__doc__, build, load)
