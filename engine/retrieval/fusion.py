"""Two rankings into one.

Both retrievers score every candidate either of them found, so no score has to be guessed. Each list
of scores is measured from its best, in units of the distance from its best to its fiftieth: that
distance says how sharply the list tells its head apart, and unlike a deviation over the whole list
it does not depend on how much junk the tail holds (one common word can match a whole catalog).

Keyword distances saturate: a product without the words is so far off at most, however many others
have them all. And the fewer the words, the less keyword scores know: of the products that have a
lone word ("laptop"), BM25 puts first the shortest, which are bags. There the encoder decides, if
it knows the word.

Measured against reciprocal rank fusion (Cormack et al. 2009), z-scores, min-max and theoretical
min-max (Bruch et al. 2023) by cross-validation over queries: docs/log.md, 2026-11-24 and 28.
"""

from __future__ import annotations

import numpy as np

from engine.types import Scores

DENSE_WEIGHT = np.float32(0.6)
"""What one unit of cosine distance is worth beside one unit of keyword distance."""

SHORT = 2
"""Terms of a query, at most, that let the encoder decide."""
SHORT_WEIGHT = np.float32(2.0)
"""What a unit of cosine distance is worth there, where the encoder knows the words."""
UNKNOWN, KNOWN = 0.4, 0.55
"""Best cosines between which it comes to know them. An encoder whose cosines lie higher than those
of the one that ships is trusted with any words."""

REFUSED_WEIGHT = np.float32(0.8)
"""What a product loses that has what the query excludes, in units of the head."""

SATURATION = np.float32(2.0)
"""Keyword distance, in units of the head, that none goes beyond."""

HEAD = 50
"""Places whose spread sets the unit."""

LEAST_COSINE = 0.2
"""The unit of cosines is no less where a list is shorter than `HEAD`: what a filter left of two
products may differ by nothing."""


def from_best(scores: Scores, among: Scores | None = None, *, least: float = 0.0) -> Scores:
    """Scores as distances below the best: 0 for the best, about -1 at place `HEAD`. Shape kept.

    All 0 where the head does not differ: such a list has no opinion. With `among`, shape (any,),
    best and unit are those of that list; where it is shorter than `HEAD`, the unit is at least
    `least`.
    """
    among = scores if among is None else among
    if not len(among):
        return np.zeros_like(scores)
    best = among.max()
    place = min(HEAD, len(among)) - 1
    spread = best - np.partition(among, len(among) - 1 - place)[len(among) - 1 - place]
    if len(among) < HEAD:
        spread = max(spread, np.float32(least))
    if spread < 1e-6:
        return np.zeros_like(scores)
    distances: Scores = (scores - best) / spread
    return distances


def saturated(distances: Scores) -> Scores:
    """The same near 0, and never `SATURATION` off. Shape and order kept.

    A product's is the same to the last bit whatever stands beside it, as a tanh's may not be.
    """
    bent: Scores = distances / np.sqrt(1 + np.square(distances / SATURATION))
    return bent


def dense_weight(terms: int, dense: Scores) -> np.float32:
    """What one unit of cosine distance is worth for this query.

    Args:
        terms: how many terms the query has, function words left out.
        dense: cosines of its candidates, (candidates,).
    """
    if terms > SHORT or not len(dense):
        return DENSE_WEIGHT
    known = np.clip((dense.max() - np.float32(UNKNOWN)) / np.float32(KNOWN - UNKNOWN), 0, 1)
    return np.float32(DENSE_WEIGHT + known * (SHORT_WEIGHT - DENSE_WEIGHT))


def keyword_part(scores: Scores, among: Scores | None = None) -> Scores:
    """What keyword scores add to the fusion; `among` as in `from_best`. Shape kept."""
    return saturated(from_best(scores, among))


def dense_part(scores: Scores, among: Scores | None = None) -> Scores:
    """What cosines add to the fusion before they are weighed; `among` likewise. Shape kept."""
    return from_best(scores, among, least=LEAST_COSINE)


def fuse(lexical: Scores, dense: Scores, weight: np.float32 = DENSE_WEIGHT) -> Scores:
    """One score a candidate from its keyword score and its cosine; shapes (candidates,).

    `weight` is what `dense_weight` says of the query.
    """
    fused: Scores = keyword_part(lexical) + weight * dense_part(dense)
    return fused
