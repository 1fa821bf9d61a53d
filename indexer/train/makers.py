"""What makes lists that nobody judged, over one catalog."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Protocol

from engine.search import SearchEngine
from engine.text import passage
from engine.types import Product, Stage
from indexer.train.lists import Candidate, Origin, QueryList
from indexer.train.mine import hard_negatives, teach


class Maker(Protocol):
    """Teaches lists and mines hard negatives over one catalog."""

    def teach(self, queries: Sequence[str], size: int) -> list[QueryList]:
        """Lists of so many candidates, scored by a teacher."""

    def mine(self, lists: Sequence[QueryList], count: int) -> list[QueryList]:
        """The lists, each with at most so many hard negatives beside its own."""


class Searching:
    """Does so by searching a snapshot of the catalog."""

    def __init__(
        self, engine: SearchEngine, catalog: str, seed: int, stages: Sequence[Stage] = ()
    ) -> None:
        """Search with an engine.

        Args:
            engine: over the catalog.
            catalog: its name.
            seed: of every draw.
            stages: whose mistakes to mine; keyword, vector and fused search where empty.
        """
        self._engine = engine
        self._catalog = catalog
        self._seed = seed
        self._stages = stages or (Stage.LEXICAL, Stage.DENSE, Stage.FUSED)

    def teach(self, queries: Sequence[str], size: int) -> list[QueryList]:
        """As `mine.teach`."""
        return teach(self._engine, self._catalog, queries, size=size, seed=self._seed)

    def mine(self, lists: Sequence[QueryList], count: int) -> list[QueryList]:
        """As `mine.hard_negatives`."""
        return hard_negatives(
            self._engine, lists, per_query=count, stages=self._stages, seed=self._seed
        )


class StandIns:
    """Lists as many and as long as those to come, of products drawn by chance: for estimates."""

    def __init__(self, catalog: str, products: Sequence[Product], seed: int) -> None:
        self._catalog = catalog
        self._products = products
        self._random = Random(seed)  # noqa: S311 - a sample, not a secret

    def teach(self, queries: Sequence[str], size: int) -> list[QueryList]:
        """One list a query, with scores that fall by tenths."""
        return [
            QueryList(
                query,
                self._catalog,
                tuple(self._draw(-place / 10) for place in range(size)),
                classes=False,
            )
            for query in queries
        ]

    def mine(self, lists: Sequence[QueryList], count: int) -> list[QueryList]:
        """The lists, each with exactly so many products more."""
        return [
            replace(each, candidates=(*each.candidates, *(self._draw() for _ in range(count))))
            for each in lists
        ]

    def _draw(self, teacher: float | None = None) -> Candidate:
        product = self._random.choice(self._products)
        return Candidate(product.id, passage(product), Origin.MINED, "estimate", None, teacher)
