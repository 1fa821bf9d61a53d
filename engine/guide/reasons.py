"""Why a product is recommended: what of a shopper's history speaks for it most."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from engine.guide.history import History
from engine.guide.stored import StoredBehaviour
from engine.types import Rows

_ALIKE = 0.5  # cosine from which a description is called alike
_HALF_LIFE = 120.0  # days


class Reason(StrEnum):
    """Why a product is recommended."""

    AGAIN = "again"
    """Bought before, and a kind that is bought again."""
    BOUGHT_TOGETHER = "bought_together"
    """Who bought the named product buys it too."""
    ALIKE = "alike"
    """Its description is like that of the named product."""
    NEW = "new"
    """Nobody bought it yet; like the named product, where there is one."""
    POPULAR = "popular"
    """Many buy it, or rate it."""
    OTHER = "other"
    """Nothing is known that speaks for it."""


def liked_rows(history: History) -> tuple[Rows, NDArray[np.float64]]:
    """Rows that are liked by now, ascending, and how much."""
    rows, place = np.unique(history.items, return_inverse=True)
    decayed = history.liking * 0.5 ** (history.age / _HALF_LIFE)
    worth = np.bincount(place, decayed, len(rows)).astype(np.float64)
    return rows[worth > 0], worth[worth > 0]


def find_reason(
    row: int,
    history: History,
    vectors: NDArray[np.float16],
    stored: StoredBehaviour | None,
    *,
    new: bool,
    popular: bool,
) -> tuple[Reason, int | None]:
    """What speaks most for the product at `row`, and the row of the history that does, if one does.

    Args:
        row: the product.
        history: what the shopper did, by row.
        vectors: those of every product, (products, dim).
        stored: what others did.
        new: whether nobody bought it yet, and that is why it is shown.
        popular: whether anyone bought or rated it.
    """
    otherwise = Reason.POPULAR if popular else Reason.OTHER
    if row in history.items[history.bought]:
        return Reason.AGAIN, None
    liked, worth = liked_rows(history)
    liked, worth = liked[liked != row], worth[liked != row]  # nothing speaks for itself
    if not len(liked):
        return (Reason.NEW if new else otherwise), None
    if stored is not None and not new:
        near = worth * _shared(stored, liked, int(stored.item_of[row]))
        if near.max() > 0:
            return Reason.BOUGHT_TOGETHER, int(liked[near.argmax()])
    cosines = vectors[liked].astype(np.float32) @ vectors[row].astype(np.float32)
    best = int(cosines.argmax())
    if new:
        return Reason.NEW, int(liked[best])
    return (Reason.ALIKE, int(liked[best])) if cosines[best] >= _ALIKE else (otherwise, None)


def _shared(stored: StoredBehaviour, rows: Rows, item: int) -> NDArray[np.float64]:
    """How near an item lies to each row by who bought both, (rows,)."""
    items = stored.item_of[rows]
    near = stored.model.by_shopper
    hit = (near.items[items] == item) & (items >= 0)[:, None]  # (rows, neighbours)
    shared: NDArray[np.float64] = (near.likeness[items].astype(np.float64) * hit).sum(axis=1)
    return shared
