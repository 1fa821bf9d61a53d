"""Ways to make one score of a keyword score and a cosine, each with a weight for the cosine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.retrieval.fusion import dense_part, dense_weight, fuse, keyword_part
from engine.types import Ranking, Rows, Scores

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
"""What the vector side counts beside the keyword side's 1. Wide, so that no method is cut short:
scores measured from the least cosine there can be differ little, and want a large weight."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Products to rank for one query; all arrays of shape (candidates,)."""

    rows: Rows
    keyword: Scores
    """Exact BM25 scores, 0 without a match."""
    dense: Scores
    """Exact cosines."""
    by_keyword: NDArray[np.bool_]
    """Which of them keyword search brought."""
    by_dense: NDArray[np.bool_]
    terms: int
    """Of the query."""


Method = Callable[[Candidates, float, NDArray[np.int32]], Scores]
"""Candidates, weight of the cosine, and ids' places in order → one score a candidate."""

Normalise = Callable[[Scores], Scores]


def z_score(scores: Scores) -> Scores:
    """Deviations from the mean."""
    normal: Scores = (scores - scores.mean()) / max(float(scores.std()), 1e-6)
    return normal


def min_max(scores: Scores) -> Scores:
    """0 for the least, 1 for the most."""
    return from_floor(float(scores.min()))(scores)


def from_floor(floor: float) -> Normalise:
    """0 for the least score there can be, 1 for the most found (Bruch et al. 2023)."""

    def normalise(scores: Scores) -> Scores:
        normal: Scores = (scores - floor) / max(float(scores.max()) - floor, 1e-6)
        return normal

    return normalise


def summed(keyword: Normalise, dense: Normalise) -> Method:
    """A weighted sum of normalised scores."""
    return lambda found, weight, _: keyword(found.keyword) + weight * dense(found.dense)


def reciprocal_rank(k: int) -> Method:
    """Cormack et al. 2009: a product gets nothing from a list that does not hold it."""

    def parts(
        rows: Rows, scores: Scores, held: NDArray[np.bool_], ids: NDArray[np.int32]
    ) -> Scores:
        places = np.full(len(rows), np.inf)
        places[held] = np.arange(1, held.sum() + 1)[
            np.argsort(_order(rows[held], scores[held], ids))
        ]
        part: Scores = (1 / (k + places)).astype(np.float32)
        return part

    def score(found: Candidates, weight: float, ids: NDArray[np.int32]) -> Scores:
        keyword = parts(found.rows, found.keyword, found.by_keyword, ids)
        return keyword + weight * parts(found.rows, found.dense, found.by_dense, ids)

    return score


def _order(rows: Rows, scores: Scores, ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Indices of the rows from the best to the last."""
    return Ranking.sort(np.arange(len(rows)), scores, ids[rows]).rows


OURS = "from the best (ours)"
SHIPPED = "ours, as served"

METHODS: Mapping[str, Method] = {
    "reciprocal rank, k 10": reciprocal_rank(10),
    "reciprocal rank, k 20": reciprocal_rank(20),
    "reciprocal rank, k 60": reciprocal_rank(60),
    "z-score": summed(z_score, z_score),
    "min-max": summed(min_max, min_max),
    "theoretical min-max": summed(from_floor(0.0), from_floor(-1.0)),
    OURS: summed(keyword_part, dense_part),
    SHIPPED: lambda found, _weight, _ids: fuse(
        found.keyword, found.dense, dense_weight(found.terms, found.dense)
    ),
}
