"""Keyword search alone, after the documentation of bm25s (Lù 2024).

What a shop has before it has models: BM25 over the whole text, English stop words left out, words
stemmed. `daogou bench` measures it where the library is installed: `pip install bm25s`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import Stemmer

from indexer.evaluate import peer_serving
from indexer.evaluate.peer_serving import PRODUCTS, read_products, texts_of

_STEMMER = Stemmer.Stemmer("english")
_FOLDER = "bm25"


class KeywordPipeline:
    """Products and a keyword index of them."""

    def __init__(self, index: Path) -> None:
        self._products = read_products(index / PRODUCTS)
        self._index: Any = bm25s.BM25.load(str(index / _FOLDER), mmap=True)

    def search(self, text: str, k: int) -> list[dict[str, Any]]:
        """The best `k` products as they were indexed, with their scores."""
        tokens = _tokenized([text])
        rows, scores = self._index.retrieve(
            tokens, k=min(k, len(self._products)), show_progress=False
        )
        found = zip(rows[0].tolist(), scores[0].astype(np.float64).tolist(), strict=True)
        return [
            {"score": score, "product": self._products[row]} for row, score in found if score > 0
        ]


def _tokenized(texts: list[str]) -> Any:  # noqa: ANN401 - bm25s has no types
    return bm25s.tokenize(texts, stopwords="en", stemmer=_STEMMER, show_progress=False)


def build(products: Path, _models: Path, out: Path) -> None:
    """Index the products of a JSON Lines file; there is no model to read them."""
    index = bm25s.BM25()
    index.index(_tokenized(texts_of(read_products(products))), show_progress=False)
    index.save(str(out / _FOLDER))


def load(index: Path, _models: Path) -> KeywordPipeline:
    """The index, ready to be searched."""
    return KeywordPipeline(index)


if __name__ == "__main__":
    peer_serving.main(__doc__, build, load)
