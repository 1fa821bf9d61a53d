"""Two rankings into one.

Both retrievers score every candidate either of them found, so no score has to be guessed. Each list
of scores is measured from its best, in units of the distance from its best to its fiftieth: that
distance says how sharply the list tells its head apart, and unlike a deviation over the whole list
it does not depend on how much junk the tail holds (one common word can match a whole catalog).

Measured against reciprocal rank fusion (Cormack et al. 2009), z-scores, min-max and theoretical
min-max (Bruch et al. 2023) by cross-validation over queries: docs/log.md, 2026-11-24.
"""

from __future__ import annotations

import numpy as np

from engine.types import Scores

DENSE_WEIGHT = np.float32(0.6)
"""What one unit of cosine distance is worth beside one unit of keyword distance."""

HEAD = 50
"""Places whose spread sets the unit."""


def from_best(scores: Scores, among: Scores | None = None) -> Scores:
    """Scores as distances below the best: 0 for the best, about -1 at place `HEAD`. Shape kept.

    All 0 where the head does not differ: such a list has no opinion. With `among`, shape (any,),
    best and unit are those of that list.
    """
    among = scores if among is None else among
    if not len(among):
        return np.zeros_like(scores)
    best = among.max()
    place = min(HEAD, len(among)) - 1
    spread = best - np.partition(among, len(among) - 1 - place)[len(among) - 1 - place]
    if spread < 1e-6:
        return np.zeros_like(scores)
    distances: Scores = (scores - best) / spread
    return distances


def fuse(lexical: Scores, dense: Scores) -> Scores:
    """One score a candidate from its keyword score and its cosine; shapes (candidates,)."""
    fused: Scores = from_best(lexical) + DENSE_WEIGHT * from_best(dense)
    return fused
