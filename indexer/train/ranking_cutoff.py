"""Fitting the cut-off: when to say that nothing in the catalog fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.retrieval.ranking import Cutoff, Weighed
from indexer.evaluate.cutoff import auroc_interval
from indexer.evaluate.statistics import Interval

MOST_REFUSED = 0.01
"""Share of answerable queries that may be told that nothing fits, at most."""
_RIDGE = 0.01
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class CutoffFit:
    """A cut-off and how it did on queries it was not fitted on."""

    cutoff: Cutoff
    auroc: Interval
    answerable_refused: float
    unanswerable_refused: float
    held_out: NDArray[np.float64]
    """How likely each query is answerable, by the folds without it; shape (queries,)."""

    def tells_more(self, other: CutoffFit) -> bool:
        """Whether it tells at least as many of the queries without an answer as another."""
        return self.unanswerable_refused >= other.unanswerable_refused


def fit_cutoff(
    statistics: Sequence[Mapping[str, float]], answerable: Sequence[bool], *, seed: int = 0
) -> CutoffFit:
    """Logistic regression of "the catalog has something" on the queries' statistics.

    The threshold is the highest, 0.5 at most, at which held-out probabilities refuse at most 1% of
    the answerable queries.

    Args:
        statistics: by name, one mapping a query.
        answerable: whether the catalog has something for it; both kinds must occur.
        seed: of the folds.
    """
    names = tuple(statistics[0])
    table = np.array([[each[name] for name in names] for each in statistics])  # (queries, names)
    truth = np.asarray(answerable, dtype=np.float64)
    held = np.zeros(len(truth))
    fold = _folds(truth, seed)
    for part in range(_FOLDS):
        inside, outside = fold != part, fold == part
        if outside.any():
            weighed, bias = _logistic(table[inside], truth[inside], names)
            held[outside] = _probability(weighed, bias, table[outside])
    weighed, bias = _logistic(table, truth, names)
    threshold = _threshold(held[truth == 1])
    return CutoffFit(
        Cutoff(statistics=weighed, bias=bias, threshold=threshold),
        auroc_interval(held[truth == 1], held[truth == 0]),
        float((held[truth == 1] < threshold).mean()),
        float((held[truth == 0] < threshold).mean()),
        held,
    )


def _folds(truth: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """A fold for each query, both kinds spread evenly."""
    random = np.random.default_rng(seed)
    fold = np.zeros(len(truth), dtype=np.int64)
    for kind in (0.0, 1.0):
        places = np.flatnonzero(truth == kind)
        fold[places] = random.permutation(len(places)) % _FOLDS
    return fold


def _threshold(answerable: NDArray[np.float64]) -> float:
    """The highest that refuses few enough of these."""
    allowed = int(MOST_REFUSED * len(answerable))
    return float(min(0.5, np.sort(answerable)[allowed]))


def _logistic(
    table: NDArray[np.float64], truth: NDArray[np.float64], names: tuple[str, ...]
) -> tuple[Weighed, float]:
    """Weights of the scaled statistics and the bias, by ridge regression."""
    from scipy.optimize import minimize  # noqa: PLC0415 - comes with the training parts

    centre, spread = table.mean(axis=0), table.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    scaled = np.column_stack([(table - centre) / scale, np.ones(len(table))])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = scaled @ weights
        p = 1 / (1 + np.exp(-np.clip(odds, -60, 60)))
        ridge = np.append(weights[:-1], 0.0)
        value = np.logaddexp(0, odds).mean() - (truth * odds).mean() + _RIDGE / 2 * ridge @ ridge
        return float(value), scaled.T @ (p - truth) / len(truth) + _RIDGE * ridge

    start = np.zeros(len(names) + 1)
    weights = np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B").x)
    weighed = Weighed(
        names=names,
        weights=tuple(weights[:-1].tolist()),
        centre=tuple(centre.tolist()),
        scale=tuple(scale.tolist()),
    )
    return weighed, float(weights[-1])


def _probability(weighed: Weighed, bias: float, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `Ranker.fits` computes it, for many queries; shape (queries,)."""
    columns = dict(zip(weighed.names, table.T, strict=True))
    odds = np.asarray(weighed.sum(columns)) + bias
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -60, 60))))
