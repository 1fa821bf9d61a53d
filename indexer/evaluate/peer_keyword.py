"""Keyword search alone, after the documentation of bm25s (Lù 2024): a second peer.

What a shop has before it has models: BM25 over the whole text, English stop words left out, words
stemmed. `daogou bench` measures it where the library is installed.

    python -m indexer.evaluate.peer_keyword index --products FILE --out DIR
    python -m indexer.evaluate.peer_keyword serve --index DIR
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import Stemmer

from engine.text import passage
from engine.types import Product
from indexer.evaluate.peer_serving import PRODUCTS, read_lines, serve

_STEMMER = Stemmer.Stemmer("english")


class KeywordPipeline:
    """Products and a keyword index of them."""

    def __init__(self, index: Path) -> None:
        self._products = [json.loads(line) for line in read_lines(index / PRODUCTS)]
        self._index: Any = bm25s.BM25.load(str(index / "bm25"), mmap=True)

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


def build(products: Path, out: Path) -> None:
    """Index the products of a JSON Lines file."""
    out.mkdir(parents=True, exist_ok=True)
    lines = read_lines(products)
    index = bm25s.BM25()
    texts = [passage(Product.from_dict(json.loads(line))) for line in lines]
    index.index(_tokenized(texts), show_progress=False)
    index.save(str(out / "bm25"))
    (out / PRODUCTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Index or serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("index", "serve"))
    parser.add_argument("--products", type=Path)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.what == "index":
        build(given.products, given.out)
    else:
        serve(KeywordPipeline(given.index))


if __name__ == "__main__":
    main()
