"""The keyword engines compared: the same bags of terms, the same terms of a query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.analysis import STOPWORDS, analyze
from engine.retrieval.bag import terms_of
from engine.retrieval.lexical import LexicalBuilder, LexicalIndex
from engine.types import Product, Ranking
from tests.benchmarks.common import optional_module

DEPTH = 200
"""Candidates asked for, as the engine does."""


def bm25s() -> Any:  # noqa: ANN401 - a module
    """The library, which the project does not depend on."""
    return optional_module("bm25s", "bm25s")


class Tantivy:
    """What daogou serves with."""

    def __init__(self, folder: Path, products: int) -> None:
        self._index = LexicalIndex.open(folder, np.arange(products, dtype=np.int32))

    @staticmethod
    def build(folder: Path, products: Iterator[Product]) -> None:
        """Write the index."""
        builder = LexicalBuilder(folder)
        for row, product in enumerate(products):
            builder.add(row, terms_of(product))
        builder.finish()

    def search(self, query: str) -> Ranking:
        """The best `DEPTH` products."""
        return self._index.search([query], DEPTH)[0]


class Bm25s:
    """Scores of all products in numpy (Lù 2024), memory-mapped."""

    def __init__(self, folder: Path, products: int) -> None:
        self._model: Any = bm25s().BM25.load(folder, mmap=True, load_corpus=False)
        self._order = np.arange(products, dtype=np.int32)

    @staticmethod
    def build(folder: Path, products: Iterator[Product]) -> None:
        """Write the index."""
        vocabulary: dict[str, int] = {}
        bags = [
            np.array(
                [vocabulary.setdefault(term, len(vocabulary)) for term in terms_of(product).split()]
            )
            for product in products
        ]
        model = bm25s().BM25(k1=1.2, b=0.75, method="lucene")
        model.index((bags, vocabulary), show_progress=False)
        model.save(folder)

    def search(self, query: str) -> Ranking:
        """The best `DEPTH` products."""
        terms = list(dict.fromkeys(analyze(query)))
        terms = [term for term in terms if term not in STOPWORDS] or terms
        terms = [term for term in terms if term in self._model.vocab_dict]
        if not terms:
            return Ranking.empty()
        scores = self._model.get_scores(terms)
        depth = min(DEPTH, len(scores))
        rows = np.argpartition(scores, -depth)[-depth:]
        rows = rows[scores[rows] > 0]
        return Ranking.sort(rows, scores[rows], self._order)


ENGINES: dict[str, type[Tantivy | Bm25s]] = {"tantivy": Tantivy, "bm25s": Bm25s}
