"""A reranker's calibration as one report: every figure with its interval over queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import EvaluationError
from engine.types import Relevance
from indexer.evaluate.calibration import (
    BINS,
    LEAST,
    Floats,
    Reliability,
    base_rate_log_loss,
    checked,
    confusion,
    cross,
    cut_bins,
    mean_f1,
    mean_gap,
    reliability,
    share_right,
    sort_class,
)
from indexer.evaluate.statistics import SAMPLES, Interval

_SEED = 20_170_806


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """Figures over all pairs together; their intervals resample the queries."""

    pairs: int
    queries: int
    calibration_error: Mapping[Relevance, Interval]
    log_loss: Interval
    base_rate_log_loss: Interval
    log_loss_gain: Interval
    """What the probabilities save against the base rates: above 0 is better."""
    accuracy: Interval
    macro_f1: Interval
    confusion: NDArray[np.int64]
    """Rows: grade given; columns: most probable class; (4, 4)."""
    reliability: Mapping[Relevance, Reliability]


def report(
    probabilities: ArrayLike,
    grades: ArrayLike,
    queries: Sequence[str],
    *,
    training: ArrayLike | None = None,
    samples: int = SAMPLES,
) -> CalibrationReport:
    """Every figure with its 95% bootstrap interval over queries.

    Pairs of one query stand or fall together, so whole queries are drawn.

    Args:
        probabilities: (n, 4).
        grades: (n,).
        queries: the query id of each pair, (n,).
        training: grades that base rates are taken from, where not from `grades`.
        samples: how many to draw.

    Raises:
        EvaluationError: there is no pair, or the shapes differ.
    """
    given, known = checked(probabilities, grades)
    names, owner = np.unique(np.asarray(queries, dtype=object), return_inverse=True)
    if len(owner) != len(known):
        raise EvaluationError(
            f"{len(owner)} query ids are given for {len(known)} pairs. Align them"
        )
    found = _intervals(_figures(given, known, training), owner, len(names), samples)
    loss, base_rate_loss, gain, right, f1 = found[len(Relevance) :]
    return CalibrationReport(
        len(known),
        len(names),
        dict(zip(Relevance, found[: len(Relevance)], strict=True)),
        loss,
        base_rate_loss,
        gain,
        right,
        f1,
        confusion(given, known).astype(np.int64),
        {relevance: reliability(given, known, relevance) for relevance in Relevance},
    )


def _intervals(
    figures: Callable[[NDArray[np.generic]], list[float]],
    owner: NDArray[np.int64],
    queries: int,
    samples: int,
) -> list[Interval]:
    """Each figure with its interval; `owner` is the number of the query of each pair, (n,)."""
    point = figures(np.ones(len(owner)))
    random = np.random.default_rng(_SEED)
    even = np.full(queries, 1 / queries)
    drawn = np.array(
        [figures(random.multinomial(queries, even)[owner]) for _ in range(samples)]
    )  # (samples, figures)
    low, high = _interval_ends(drawn, point)
    return [
        Interval(mean, float(bottom), float(top), queries)
        for mean, bottom, top in zip(point, low, high, strict=True)
    ]


def _interval_ends(drawn: Floats, point: Sequence[float]) -> Floats:
    """The 2.5% and 97.5% percentiles of each figure; (samples, figures) → (2, figures).

    Noise in a bin is calibration error, and a bootstrap sample is noisier than the pairs it is
    drawn from: the errors, which come first, are moved back by what they are too high on average.
    """
    ends: Floats = np.percentile(drawn, [2.5, 97.5], axis=0)
    bias = (drawn.mean(axis=0) - np.asarray(point))[: len(Relevance)]
    ends[:, : len(Relevance)] = np.maximum(ends[:, : len(Relevance)] - bias, 0.0)
    return ends


def _figures(
    given: Floats, known: NDArray[np.int64], training: ArrayLike | None
) -> Callable[[NDArray[np.generic]], list[float]]:
    """Weights of the pairs → the figures of a report in its order.

    What does not depend on the weights, sorting above all, is done once for all samples.
    """
    ordered = [sort_class(given, known, relevance) for relevance in Relevance]
    losses = -np.log(np.clip(given[np.arange(len(known)), known], LEAST, 1.0))
    predicted = given.argmax(axis=1)

    def figures(weights: NDArray[np.generic]) -> list[float]:
        mass = np.asarray(weights, dtype=np.float64)
        errors = [mean_gap(cut_bins(one, mass, BINS)) for one in ordered]
        loss = float(losses @ mass / mass.sum())
        base = base_rate_log_loss(known, training=training, weights=mass)
        crossed = cross(known, predicted, mass)
        return [*errors, loss, base, base - loss, share_right(crossed), mean_f1(crossed)]

    return figures
