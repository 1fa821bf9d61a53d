"""One query on its way through the stages, and the page it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.arrays import places_in
from engine.products import ProductStore
from engine.retrieval.features import Signals
from engine.types import Hit, Query, Ranking, Relevance, Rows, Scores, Stage, StageScore

Probabilities = NDArray[np.float32]
"""Class probabilities in the order of `Relevance`, shape (4,)."""


@dataclass(slots=True)
class Answer:
    """One query on its way through the stages."""

    query: Query
    rankings: dict[Stage, Ranking] = field(default_factory=dict)
    matching: Ranking | None = None
    """Products by keyword score, among them all that match by their words; None where that is known
    or not asked for."""
    probabilities: dict[int, Probabilities] = field(default_factory=dict)
    """By row, for the products that were reranked."""
    leaders: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Products whose id, SKU or GTIN was asked for, and that may be shown."""
    words: Scores = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    """For each content word the best keyword score it has alone; empty where nothing reads them."""
    pool: Signals | None = None
    """All that was retrieved, as it was scored, by ascending row."""
    head: Signals | None = None
    """The candidates that were reranked."""
    fits: float | None = None
    """How likely the catalog has something for the query; None without a cut-off."""
    nothing_fits: bool = False

    vector: NDArray[np.float32] | None = None
    """The query's, (dim,), where it was encoded."""

    def ranking(self, stage: Stage) -> Ranking:
        """A stage's ranking, led by what was asked for by its id."""
        return _lead(self.rankings[stage], self.leaders)

    def page(
        self, ranking: Ranking, k: int, offset: int, products: ProductStore
    ) -> tuple[Hit, ...]:
        """The hits of one page of a ranking."""
        page = ranking.rows[offset : offset + k]
        scores = ranking.scores[offset : offset + k]
        found = _by_stage(self.rankings, page)
        return tuple(
            Hit(
                product=product,
                rank=offset + place,
                score=float(score),
                stages=stages,
                probabilities=_named(self.probabilities.get(int(row))),
            )
            for place, (row, score, product, stages) in enumerate(
                zip(page, scores, products.fetch(page), found, strict=True), start=1
            )
        )


def _lead(ranking: Ranking, first: Rows) -> Ranking:
    """The ranking, led by these products."""
    if not len(first):
        return ranking
    others = ~np.isin(ranking.rows, first)
    best = max(float(ranking.scores[0]), 0.0) if len(ranking) else 0.0
    above = best + np.arange(len(first), 0, -1, dtype=np.float32)
    return Ranking(
        np.concatenate([first, ranking.rows[others]]),
        np.concatenate([above, ranking.scores[others]]),
    )


def _by_stage(rankings: dict[Stage, Ranking], page: Rows) -> list[dict[Stage, StageScore]]:
    """The rank and score each stage that found it gave each product of a page."""
    found: list[dict[Stage, StageScore]] = [{} for _ in page]
    order = np.argsort(page)
    for stage, ranking in rankings.items():
        shown, there = places_in(page[order], ranking.rows)
        places = np.flatnonzero(there)
        for each, place, score in zip(
            order[shown[places]].tolist(),
            places.tolist(),
            ranking.scores[places].tolist(),
            strict=True,
        ):
            found[each][stage] = StageScore(place + 1, score)
    return found


def _named(probabilities: Probabilities | None) -> dict[Relevance, float] | None:
    """Class probabilities by class."""
    if probabilities is None:
        return None
    return {relevance: float(probabilities[relevance]) for relevance in Relevance}
