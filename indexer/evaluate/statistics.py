"""How sure a mean over queries is: bootstrap intervals, randomisation tests, Holm's correction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

SAMPLES = 10_000
_SEED = 20_070_623
_BLOCK = 1 << 21  # numbers drawn at a time: memory stays constant however many queries there are


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over queries with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float
    queries: int


def bootstrap(values: ArrayLike, *, samples: int = SAMPLES, seed: int = _SEED) -> Interval:
    """The mean of one value a query, shape (queries,), with its percentile interval.

    Efron and Tibshirani 1993, chapter 13. The same values give the same interval.
    """
    given = np.asarray(values, dtype=np.float64)
    count = len(given)
    random = np.random.default_rng(seed)
    means = np.concatenate(
        [
            given[random.integers(count, size=(rows, count))].mean(axis=1)
            for rows in _blocks(samples, count)
        ]
    )  # (samples,)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(given.mean()), float(low), float(high), count)


def bootstrap_ratio(above: ArrayLike, below: ArrayLike, *, seed: int = _SEED) -> Interval:
    """The ratio of two means over the same queries, (queries,) each, with its interval."""
    tops, bottoms = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(tops), size=(SAMPLES // 10, len(tops)))
    ratios = tops[drawn].sum(axis=1) / np.maximum(bottoms[drawn].sum(axis=1), 1e-12)
    low, high = np.percentile(ratios, [2.5, 97.5])
    ratio = float(tops.sum() / max(float(bottoms.sum()), 1e-12))
    return Interval(ratio, float(low), float(high), len(tops))


def randomisation_test(
    differences: ArrayLike, *, samples: int = SAMPLES, seed: int = _SEED
) -> float:
    """Two-sided p of paired per-query differences, shape (queries,), if signs were up to chance.

    Fisher's randomisation test as Smucker, Allan and Carterette (2007) recommend it for retrieval;
    the observed signs count as one sample, so p is never 0 (Phipson and Smyth 2010).
    """
    given = np.asarray(differences, dtype=np.float64)
    random = np.random.default_rng(seed)
    observed = abs(given.sum()) * (1 - 1e-12)  # equal sums stay equal through rounding
    extreme = 0
    for rows in _blocks(samples, len(given)):
        signs = random.choice((-1.0, 1.0), size=(rows, len(given)))
        extreme += int(np.count_nonzero(np.abs(signs @ given) >= observed))
    return (extreme + 1) / (samples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, corrected for their number (Holm 1979), order kept."""
    order = np.argsort(p_values, kind="stable")
    left = np.arange(len(p_values), 0, -1)  # hypotheses not yet rejected at each step
    stepped = np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * left)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in corrected]


def _blocks(samples: int, queries: int) -> Iterator[int]:
    """How many samples to draw at a time."""
    size = max(1, _BLOCK // queries)
    for start in range(0, samples, size):
        yield min(size, samples - start)
