"""txtai as its documentation teaches hybrid search: BM25 and vectors in equal parts.

`Embeddings(path=…, hybrid=True)`, indexed, saved, loaded and searched, with the same encoder.
Nothing is reranked: its `Reranker` runs sequence classifiers and ColBERTs of the Hugging Face Hub,
and the snapshot's reranker is neither. The products are held beside, as the other peers hold them:
with `content=True` two searches at once fail (txtai 9.14 shares one cursor of SQLite among them).

`daogou bench` measures it where the library is installed: `pip install txtai`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from txtai import Embeddings

from indexer.evaluate import peer_serving
from indexer.evaluate.peer_pipeline import ENCODER, max_length
from indexer.evaluate.peer_serving import PRODUCTS, read_products, texts_of

_FOLDER = "embeddings"


class TxtaiPipeline:
    """Products, and an index of their texts."""

    def __init__(self, index: Path, models: Path) -> None:
        self._products = read_products(index / PRODUCTS)
        moved = {"path": str(models / ENCODER)}  # the index says where its model was
        self._embeddings: Any = Embeddings().load(str(index / _FOLDER), config=moved)

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """The best `k` products as they were indexed, with their scores."""
        return [
            {"score": float(score), "product": self._products[row]}
            for row, score in self._embeddings.search(text, k)
        ]


def build(products: Path, models: Path, out: Path) -> None:
    """Index the products of a JSON Lines file."""
    encoder = models / ENCODER
    embeddings: Any = Embeddings(
        path=str(encoder), hybrid=True, gpu=False, maxlength=max_length(encoder)
    )
    embeddings.index(enumerate(texts_of(read_products(products))))
    embeddings.save(str(out / _FOLDER))
    embeddings.close()


def load(index: Path, models: Path) -> TxtaiPipeline:
    """The index, ready to be searched."""
    return TxtaiPipeline(index, models)


if __name__ == "__main__":
    peer_serving.main(__doc__, build, load)
