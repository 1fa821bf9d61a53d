"""What the final ranking and the cut-off read: each candidate, and each query, in numbers.

Everything is measured against the query's own pool, what retrieval brought for it, so that a number
means the same in a catalog of any size. Training and serving compute it by this code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.arrays import places_in
from engine.retrieval.fusion import (
    DENSE_WEIGHT,
    HEAD,
    REFUSED_WEIGHT,
    dense_part,
    dense_weight,
    from_best,
    fuse,
    keyword_part,
)
from engine.types import Ranking, Rows, Scores

Column = NDArray[np.float32]
"""One number a candidate, shape (n,)."""

GAINS = np.array([0.0, 0.01, 0.1, 1.0], dtype=np.float32)
"""What a product of each class is worth, grade 0 to 3 (ESCI's task 1, Reddy et al. 2022)."""

FEEDBACK = 5
"""How many of the best by untuned fusion the others' vectors are compared with."""
SHELF_FEEDBACK = 10
"""How many of them the others' shelves are compared with."""

FUSION: Mapping[str, np.float32] = {
    "words": np.float32(1),
    "meaning": DENSE_WEIGHT,
    "refused": -REFUSED_WEIGHT,
}
"""The untuned fusion as a weighted sum of features."""

_GRADES = np.arange(4, dtype=np.float32)
_ODDS = np.array([-1.0, -0.33, 0.33, 1.0], dtype=np.float32)
_LEAST_P = 1e-6  # int8 rounds some probabilities to 0


@dataclass(frozen=True, slots=True)
class Pool:
    """Every candidate of one query as retrieval scored it."""

    keyword: Scores  # (pool,)
    cosine: Scores  # (pool,)
    weight: np.float32
    """What a unit of cosine distance is worth for the query: see `dense_weight`."""
    typical: Rows
    """The best by untuned fusion, at most `HEAD`: prices and ratings are compared with theirs."""
    words: Scores
    """For each content word of the query the best keyword score it has alone, 0 where no product
    has it; shape (words,). Empty where no cut-off asked for it."""


def make_pool(
    rows: Rows,
    keyword: Scores,
    cosine: Scores,
    id_rank: NDArray[np.int32],
    *,
    terms: int,
    words: Scores | None = None,
) -> Pool:
    """The pool of these candidates, all of shape (pool,) but `words`, of a query of `terms`."""
    weight = dense_weight(terms, cosine)
    ranked = Ranking.sort(rows, fuse(keyword, cosine, weight), id_rank)
    none = np.empty(0, dtype=np.float32)
    return Pool(keyword, cosine, weight, ranked.rows[:HEAD], none if words is None else words)


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of some candidates of one query, in one order."""

    rows: Rows  # (n,)
    keyword: Scores  # (n,)
    cosine: Scores  # (n,)
    pool: Pool
    numbers: Callable[[str], Column]
    """A numeric field of every product of the snapshot, NaN where unknown."""
    likeness: Callable[[Rows, Rows], Scores]
    """Mean cosine of each of some products to those of a second set, itself left out."""
    nearness: Callable[[Rows, Rows], Scores]
    """The same of their shelves: see `Shelves.likeness`."""
    probabilities: NDArray[np.float32] | None = None
    """The reranker's, shape (n, 4); None before it ran."""
    head: int = 0
    """How many, from the first on, were reranked to be shown: those set the scale."""
    reference: Column | None = None
    """The odds of those that set it, where they are others than these candidates."""
    refused: NDArray[np.bool_] | None = None
    """Which have what the query excludes, (n,); None stands for none of them."""

    def reranked(self, probabilities: NDArray[np.float32], *, head: int) -> Signals:
        """The same with the reranker's class probabilities, shape (n, 4)."""
        return replace(self, probabilities=probabilities, head=head)

    def asked(self, words: Scores) -> Signals:
        """The same with the best keyword score of each word of the query."""
        return replace(self, pool=replace(self.pool, words=words))

    @property
    def odds(self) -> Column:
        """How much likelier the fitting classes are than the others, in log-odds."""
        return _by_row(np.log(np.maximum(self.classes, _LEAST_P)), _ODDS)

    @property
    def head_odds(self) -> Column:
        """The odds of what was reranked to be shown."""
        return self.odds[: self.head] if self.reference is None else self.reference

    @property
    def classes(self) -> NDArray[np.float32]:
        """The class probabilities, shape (n, 4).

        Raises:
            ValueError: the reranker did not run.
        """
        if self.probabilities is None:
            raise ValueError("these candidates were not reranked")
        return self.probabilities

    @property
    def feedback(self) -> Column:
        """Likeness to the best by untuned fusion: 0 for the likest of the typical candidates.

        Pseudo-relevance feedback on vectors (Li et al. 2023): what is right for the query looks
        like what else is right for it.
        """
        typical = self.pool.typical
        best = typical[:FEEDBACK]
        own = self.likeness(self.rows, best)
        return from_best(own, self._of(typical, best, own, self.likeness))

    @property
    def shelf(self) -> Column:
        """Nearness to the shelves of the best by untuned fusion, less that of the nearest."""
        best = self.pool.typical[:SHELF_FEEDBACK]
        own = self.nearness(self.rows, best)
        return own - np.float32(_best(self._of(best, best, own, self.nearness)))

    def _of(
        self, wanted: Rows, among: Rows, own: Column, measure: Callable[[Rows, Rows], Scores]
    ) -> Column:
        """A measure of other rows: taken from the candidates' own where they are all among them."""
        places, there = places_in(self.rows, wanted)
        return own[places] if there.all() else measure(wanted, among)

    def number(self, name: str) -> Column:
        """A numeric field of the candidates, NaN where unknown."""
        return self.numbers(name)[self.rows]

    def against_typical(self, name: str, scale: Callable[[Column], Column]) -> Column:
        """A scaled field less its median among the typical candidates, 0 where unknown."""
        typical = scale(self.numbers(name)[self.pool.typical])
        known = typical[np.isfinite(typical)]
        if not len(known):
            return np.zeros(len(self.rows), dtype=np.float32)
        return _known(scale(self.number(name)) - np.median(known))


def _words(signals: Signals) -> Column:
    """What the untuned fusion adds for keywords."""
    return keyword_part(signals.keyword, signals.pool.keyword)


def _meaning(signals: Signals) -> Column:
    """What it adds for the cosine, in units of `DENSE_WEIGHT`."""
    trust = signals.pool.weight / DENSE_WEIGHT
    return trust * dense_part(signals.cosine, signals.pool.cosine)


def _refused(signals: Signals) -> Column:
    """1 for what has what the query excludes, 0 for the others."""
    if signals.refused is None:
        return np.zeros(len(signals.rows), dtype=np.float32)
    return np.asarray(signals.refused, dtype=np.float32)


def _fused(signals: Signals) -> Column:
    """The score of the untuned fusion."""
    score = np.zeros(len(signals.rows), dtype=np.float32)
    for part in _FUSED:
        score += FUSION[part.name] * part.compute(signals)
    return score


def _by_row(values: NDArray[np.float32], weights: Column) -> Column:
    """A sum by row: a matrix product would round a row by its place among the others."""
    summed: Column = (values * weights).sum(axis=1)
    return summed


def _known(values: Column) -> Column:
    """The values, 0 where they are unknown."""
    return np.where(np.isfinite(values), values, np.float32(0))


def _log(values: Column) -> Column:
    """The logarithm; of what is not positive, unknown."""
    return np.log(np.where(values > 0, values, np.float32(np.nan)))


class Feature(NamedTuple):
    """One number of each candidate."""

    name: str
    compute: Callable[[Signals], Column]
    reranked: bool = False
    """Whether it needs the reranker."""


_FUSED = (
    Feature("words", _words),
    Feature("meaning", _meaning),
    Feature("refused", _refused),
)

FEATURES: tuple[Feature, ...] = (
    Feature("lexical", lambda s: from_best(s.keyword, s.pool.keyword)),
    Feature("cosine", lambda s: from_best(s.cosine, s.pool.cosine)),
    Feature("cosine_raw", lambda s: s.cosine),
    *_FUSED,
    Feature("fused", _fused),
    Feature("feedback", lambda s: s.feedback),
    Feature("shelf", lambda s: s.shelf),
    Feature("gain", lambda s: _by_row(s.classes, GAINS), reranked=True),
    Feature("grade", lambda s: _by_row(s.classes, _GRADES), reranked=True),
    Feature("logit", lambda s: s.odds, reranked=True),
    Feature("logit_from_best", lambda s: from_best(s.odds, s.head_odds), reranked=True),
    Feature("exact", lambda s: s.classes[:, 3], reranked=True),
    Feature("popularity", lambda s: _known(np.log1p(np.maximum(s.number("rating_count"), 0)))),
    Feature("rating", lambda s: s.against_typical("rating", lambda column: column)),
    Feature("price_known", lambda s: np.isfinite(s.number("price")).astype(np.float32)),
    Feature("price", lambda s: s.against_typical("price", _log)),
)
"""Every feature. A new one is one line here; rankings fitted before go on reading theirs."""


class Statistic(NamedTuple):
    """One number of a query, read off its candidates."""

    name: str
    compute: Callable[[Signals], float]
    reranked: bool = False


STATISTICS: tuple[Statistic, ...] = (
    Statistic("words_found", lambda s: _mean(s.pool.words > 0)),
    Statistic("words_covered", lambda s: _best(s.pool.keyword) / max(float(s.pool.words.sum()), 1)),
    Statistic("best_keyword", lambda s: float(np.log1p(_best(s.pool.keyword)))),
    Statistic("best_cosine", lambda s: _best(s.pool.cosine)),
    Statistic("best_exact", lambda s: _best(s.classes[: s.head, 3]), reranked=True),
    Statistic("best_gain", lambda s: _best(_by_row(s.classes[: s.head], GAINS)), reranked=True),
    Statistic("best_logit", lambda s: _best(s.odds[: s.head]), reranked=True),
)
"""Every statistic a cut-off may read."""


def _best(values: Column) -> float:
    return float(values.max()) if len(values) else 0.0


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else 0.0


def compute_features(signals: Signals, names: Iterable[str] | None = None) -> Mapping[str, Column]:
    """The named features of the candidates, (n,) each; all that can be had if none are named."""
    chosen = None if names is None else set(names)
    has_classes = signals.probabilities is not None
    return {
        feature.name: np.asarray(feature.compute(signals), dtype=np.float32)
        for feature in FEATURES
        if (feature.name in chosen if chosen is not None else has_classes or not feature.reranked)
    }


def compute_statistics(signals: Signals, names: Iterable[str] | None = None) -> Mapping[str, float]:
    """The named statistics of the query; all that can be had if none are named."""
    chosen = None if names is None else set(names)
    has_classes = signals.probabilities is not None
    return {
        statistic.name: float(statistic.compute(signals))
        for statistic in STATISTICS
        if (
            statistic.name in chosen
            if chosen is not None
            else has_classes or not statistic.reranked
        )
    }
