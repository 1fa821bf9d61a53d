"""What one shopper did, as recommendations read it. It is given with each request, never kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from engine.errors import QueryError
from engine.types import Rows


class Deed(StrEnum):
    """What a shopper did with a product."""

    PURCHASE = "purchase"
    CART = "cart"
    CLICK = "click"
    RATING = "rating"
    RETURN = "return"
    DISMISSAL = "dismissal"
    """Said to be of no interest."""


_LIKING = {
    Deed.PURCHASE: 1.0,
    Deed.CART: 0.5,
    Deed.CLICK: 0.2,
    Deed.RETURN: -1.0,
    Deed.DISMISSAL: -1.0,
}
MOST_EVENTS = 5_000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a shopper did with one product."""

    product_id: str
    deed: Deed = Deed.PURCHASE
    at: datetime | None = None
    """When; now where it is not known. Without a time zone it is UTC."""
    order_id: str = ""
    """Products bought together share it; without one, those of the same moment do."""
    quantity: float = 1.0
    rating: float | None = None
    """1 to 5, of a rating."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing.

        Raises:
            QueryError: a quantity that is not positive, a rating outside of 1 to 5 or missing.
        """
        if not (math.isfinite(self.quantity) and self.quantity > 0):
            raise QueryError(
                f"the quantity of {self.product_id!r} must be positive", part="history"
            )
        rated = self.deed is Deed.RATING
        if rated and (self.rating is None or not 1 <= self.rating <= 5):
            raise QueryError(
                f"the rating of {self.product_id!r} must lie between 1 and 5", part="history"
            )

    @property
    def liking(self) -> float:
        """From -1, unwanted, to 1, bought."""
        if self.rating is not None and self.deed is Deed.RATING:
            return (self.rating - 3) / 2
        return _LIKING[self.deed]


@dataclass(frozen=True, slots=True)
class History:
    """The events of one shopper side by side, each array of shape (events,)."""

    items: Rows
    """Which product, by whatever number the caller counts products with."""
    age: NDArray[np.float64]
    """Days ago."""
    order: NDArray[np.int64]
    """Events of one order share a number; a later order has a greater one."""
    quantity: NDArray[np.float64]
    liking: NDArray[np.float64]
    bought: NDArray[np.bool_]
    """Of purchases: what was returned later is not owned, but was bought."""

    def __len__(self) -> int:
        return len(self.items)

    def take(self, wanted: NDArray[np.bool_]) -> History:
        """The events where `wanted` is true."""
        return History(
            self.items[wanted], self.age[wanted], self.order[wanted], self.quantity[wanted],
            self.liking[wanted], self.bought[wanted],
        )  # fmt: skip


def make_history(events: Sequence[Event], items: Sequence[int], now: datetime) -> History:
    """The history of these events, whose products have the numbers `items`, as of `now`.

    Events of the future count as of now.

    Raises:
        QueryError: more events than `MOST_EVENTS`.
    """
    if len(events) > MOST_EVENTS:
        raise QueryError(
            f"a history has at most {MOST_EVENTS:,} events: send the latest", part="history"
        )
    days = [max(0.0, (_aware(now) - _aware(event.at or now)).total_seconds() / 86_400)
            for event in events]  # fmt: skip
    keys = [(-age, event.order_id) for age, event in zip(days, events, strict=True)]
    first: dict[str, tuple[float, str]] = {}
    for key in keys:  # an order that stretches over a while is one order
        if key[1]:
            first[key[1]] = min(key, first.get(key[1], key))
    keys = [first.get(key[1], key) for key in keys]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return History(
        items=np.array(items, dtype=np.int64),
        age=np.array(days, dtype=np.float64),
        order=np.array([numbers[key] for key in keys], dtype=np.int64),
        quantity=np.array([event.quantity for event in events], dtype=np.float64),
        liking=np.array([event.liking for event in events], dtype=np.float64),
        bought=np.array([event.deed is Deed.PURCHASE for event in events], dtype=np.bool_),
    )


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
