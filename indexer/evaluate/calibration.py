"""Whether class probabilities mean what they say: calibration of the four-class reranker.

Every function takes probabilities of shape (n, 4), columns in the order of `Relevance` (grade 0 to
3), and the grades people gave, shape (n,). `weights` says how often each pair counts, shape (n,);
without it, once: a bootstrap sample is the same pairs with other weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import EvaluationError
from engine.types import Relevance

BINS = 15
"""Bins of equal mass that calibration error is measured in."""

_CLASSES = len(Relevance)
LEAST = 1e-15
"""Probabilities count as at least this: 0 for what is true must not cost infinitely much."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reliability:
    """The bins of one class, one against the rest, the least probable first; each (bins,).

    `count` is in pairs, of which one that lies on a border is divided.
    """

    predicted: Floats  # mean probability of the class
    observed: Floats  # share of the pairs that people gave this class
    count: Floats


def reliability(
    probabilities: ArrayLike,
    grades: ArrayLike,
    relevance: Relevance,
    *,
    bins: int = BINS,
    weights: ArrayLike | None = None,
) -> Reliability:
    """Predicted against observed share of one class, in bins of equal mass.

    Pairs with the same probability are alike: where a border falls among them, each is divided in
    the same proportion, so the order of the input does not matter.
    """
    return cut_bins(sort_class(probabilities, grades, relevance), _mass(weights, grades), bins)


def expected_calibration_error(
    probabilities: ArrayLike,
    grades: ArrayLike,
    *,
    bins: int = BINS,
    weights: ArrayLike | None = None,
) -> dict[Relevance, float]:
    """For each class, one against the rest: mean |observed − predicted| over equal-mass bins.

    Naeini, Cooper and Hauskrecht 2015, with the equal-mass bins of Nguyen and O'Connor 2015.
    """
    return {
        relevance: mean_gap(
            reliability(probabilities, grades, relevance, bins=bins, weights=weights)
        )
        for relevance in Relevance
    }


def log_loss(
    probabilities: ArrayLike, grades: ArrayLike, *, weights: ArrayLike | None = None
) -> float:
    """Mean negative log probability of the grade given, in nats."""
    given, known = checked(probabilities, grades)
    losses = -np.log(np.clip(given[np.arange(len(known)), known], LEAST, 1.0))  # (n,)
    return float(np.average(losses, weights=_mass(weights, known)))


def base_rate_log_loss(
    grades: ArrayLike, *, training: ArrayLike | None = None, weights: ArrayLike | None = None
) -> float:
    """The log-loss of always answering how frequent each class is.

    The frequencies are those of `training`, grades of shape (m,); where that is not given, of
    `grades` themselves, the harder peer: no constant answer does better on them.
    """
    known = _whole(grades)
    mass = _mass(weights, known)
    counts = np.bincount(known, mass, minlength=_CLASSES)
    source = counts if training is None else np.bincount(_whole(training), minlength=_CLASSES)
    rates = np.clip(source / source.sum(), LEAST, 1.0)
    return float(-(counts @ np.log(rates)) / mass.sum())


def confusion(
    probabilities: ArrayLike, grades: ArrayLike, *, weights: ArrayLike | None = None
) -> Floats:
    """How many pairs of each grade (rows) are given each class as most probable (columns): (4, 4).

    Of equally probable classes the lower grade is chosen.
    """
    given, known = checked(probabilities, grades)
    return cross(known, given.argmax(axis=1), _mass(weights, known))


def accuracy(
    probabilities: ArrayLike, grades: ArrayLike, *, weights: ArrayLike | None = None
) -> float:
    """The share of pairs whose most probable class is the grade given."""
    return share_right(confusion(probabilities, grades, weights=weights))


def macro_f1(
    probabilities: ArrayLike, grades: ArrayLike, *, weights: ArrayLike | None = None
) -> float:
    """The mean F1 of the classes that are given or predicted at all."""
    return mean_f1(confusion(probabilities, grades, weights=weights))


@dataclass(frozen=True, slots=True)
class SortedClass:
    """One class's probabilities in ascending order; each (n,)."""

    order: NDArray[np.int64]
    predicted: Floats
    is_class: Floats
    last: NDArray[np.bool_]
    """Whether the next probability is another one."""


def sort_class(probabilities: ArrayLike, grades: ArrayLike, relevance: Relevance) -> SortedClass:
    """The pairs by what they are given of one class: to be sorted once and binned often."""
    given, known = checked(probabilities, grades)
    order = np.argsort(given[:, relevance], kind="stable")
    predicted = given[order, relevance]
    is_class = (known[order] == relevance).astype(np.float64)
    return SortedClass(order, predicted, is_class, np.append(np.diff(predicted) > 0, True))


def cut_bins(ordered: SortedClass, mass: Floats, bins: int) -> Reliability:
    """Cut the cumulated sums at equal masses; in between they grow evenly, ties included."""
    weights = mass[ordered.order]
    at = np.concatenate([[0.0], np.cumsum(weights)[ordered.last]])
    edges = np.linspace(0.0, at[-1], bins + 1)

    def within(values: Floats) -> Floats:
        cumulated = np.concatenate([[0.0], np.cumsum(values * weights)[ordered.last]])
        shares: Floats = np.diff(np.interp(edges, at, cumulated))
        return shares

    count = np.diff(edges)
    return Reliability(within(ordered.predicted) / count, within(ordered.is_class) / count, count)


def mean_gap(bins: Reliability) -> float:
    """Mean |observed − predicted|, by mass."""
    return float(np.average(np.abs(bins.observed - bins.predicted), weights=bins.count))


def cross(known: NDArray[np.int64], predicted: NDArray[np.int64], mass: Floats) -> Floats:
    """Pairs by grade (rows) and most probable class (columns): (4, 4)."""
    flat = np.bincount(known * _CLASSES + predicted, mass, minlength=_CLASSES**2)
    crossed: Floats = flat.astype(np.float64).reshape(_CLASSES, _CLASSES)
    return crossed


def share_right(crossed: Floats) -> float:
    """The accuracy that a confusion shows."""
    return float(np.trace(crossed) / crossed.sum())


def mean_f1(crossed: Floats) -> float:
    """The macro F1 that a confusion shows."""
    both = crossed.sum(axis=0) + crossed.sum(axis=1)  # (4,): predicted plus given
    return float((2 * np.diag(crossed)[both > 0] / both[both > 0]).mean())


def _mass(weights: ArrayLike | None, grades: ArrayLike) -> Floats:
    if weights is None:
        return np.ones(len(np.asarray(grades)))
    return np.asarray(weights, dtype=np.float64)


def _whole(grades: ArrayLike) -> NDArray[np.int64]:
    """Grades as whole numbers, at least one of them."""
    known = np.asarray(grades, dtype=np.int64)
    if not known.size:
        raise EvaluationError("there is no judged pair. Give judgments of products in the catalog")
    if known.min() < 0 or known.max() >= _CLASSES:
        raise EvaluationError(f"grades run from {known.min()} to {known.max()}, not from 0 to 3")
    return known


def checked(probabilities: ArrayLike, grades: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Probabilities (n, 4) and grades (n,), or an EvaluationError that says why not."""
    given, known = np.asarray(probabilities, dtype=np.float64), _whole(grades)
    if given.shape != (len(known), _CLASSES):
        raise EvaluationError(
            f"probabilities have shape {given.shape}, not {(len(known), _CLASSES)}: "
            "give one column a class and one row a grade"
        )
    return given, known
