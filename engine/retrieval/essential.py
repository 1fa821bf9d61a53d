"""Which of a query's words have to be gone through: the essential lists of MaxScore.

A product without the rare words of a query cannot score much, so the long lists of products that
have its frequent words need not be gone through: those words are looked up in the products that the
short lists bring (Turtle and Flood, "Query evaluation: strategies and optimizations", 1995). Of
"3 inch maple veneer" that spares most products that have "3".

Terms stand in the order of their rarity throughout, the rarest first; `held` is how many products
have each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
"""BM25's k1."""

Counts = NDArray[np.int64]
Bounds = NDArray[np.float64]

_LOOKED_UP = 2  # looking a term up in a product takes as long as going through so many postings


def bounds_of(held: Counts, products: int) -> Bounds:
    """More than each term can add to a score; (terms,).

    BM25's weight of it, which saturation never reaches, and a little for its rounding.
    """
    bounds: Bounds = np.log1p((products - held + 0.5) / (held + 0.5)) * (K1 + 1) * 1.001
    return bounds


def essential(held: Counts, bounds: Bounds, least: float) -> int:
    """How many terms, the rarest, to go through for every product that scores at least so much.

    A product needs one of them; more than that are gone through where that is sooner done.
    """
    spared = np.cumsum(bounds[::-1]) < least
    needed = max(1, len(bounds) - int(spared.sum()))
    return needed + int(np.argmin(costs(held)[needed - 1 :]))


def costs(held: Counts) -> Counts:
    """What it takes to go through the first 1, 2, … terms alone, in postings; (terms,)."""
    others = np.arange(len(held))[::-1]
    return held.cumsum() * (1 + _LOOKED_UP * others)
