"""Products that nobody bought yet, ranked for a shopper by their texts alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.types import Vectors

_SHARPNESS = 8.0
_NEAREST = 10


def rank_fresh(
    fresh: Vectors, liked: Vectors, sold: Vectors, popularity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How well each new product suits a shopper, higher is better, (n,).

    The sum of two standardised signals: how much nearer it lies to what the shopper likes than to
    what everybody bought (a ratio of kernel sums over cosines), and how well the products sell
    whose texts are nearest to it. Settings by seven months of Online Retail (docs/log.md).

    Args:
        fresh: the new products' vectors, (n, dim).
        liked: those of what the shopper likes, (m, dim); none: by sales alone.
        sold: those of products that were bought, (s, dim).
        popularity: how well these sell, (s,).
    """
    if not len(fresh):
        return np.empty(0)
    if not len(sold):
        return np.zeros(len(fresh)) if not len(liked) else _log_kernel(fresh, liked)
    cosines = fresh @ sold.T  # (n, s)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :_NEAREST]
    score = _standardised(np.log1p(popularity[nearest].mean(axis=1)))
    if len(liked):
        everybody = np.log(np.exp(_SHARPNESS * (cosines - 1)).mean(axis=1) + 1e-12)
        score += _standardised(_log_kernel(fresh, liked) - everybody)
    return score


def _log_kernel(fresh: Vectors, liked: Vectors) -> NDArray[np.float64]:
    """The logarithm of the summed nearness to what is liked, (n,)."""
    near = np.exp(_SHARPNESS * (fresh @ liked.T - 1)).sum(axis=1).astype(np.float64)
    total: NDArray[np.float64] = np.log(near + 1e-12)
    return total


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = float(values.std())
    scaled: NDArray[np.float64] = (values - values.mean()) / (spread or 1.0)
    return scaled
