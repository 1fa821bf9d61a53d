"""What a shopper's history says of products: candidates, and the features they are ranked by.

The same code makes them for training, for evaluation and for serving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.guide.behaviour import FEATURES, HALF_LIVES, Behaviour
from engine.guide.history import History
from engine.types import Rows, Vectors

Column = NDArray[np.float64]

_DECAYS = (15.0, 45.0, 120.0)  # half-lives of a shopper's own purchases, days
_NEVER = 9_999.0
_DEPTH = {"shopper": 150, "last": 80, "basket": 80, "sold": 80, "text": 80}
"""Candidates by where they come from."""


class Texts(Protocol):
    """The products' vectors, by item."""

    def vectors(self, items: Rows) -> Vectors:
        """Unit vectors of the items, (n, dim)."""

    def nearest(self, vector: NDArray[np.float32], depth: int) -> Rows:
        """The items whose vectors are nearest to one, nearest first."""


@dataclass(frozen=True)
class Taste:
    """One shopper's history, summed up by item."""

    history: History
    behaviour: Behaviour

    @cached_property
    def owned(self) -> Rows:
        """Items bought, ascending."""
        return np.unique(self.history.items[self.history.bought])

    @cached_property
    def liked(self) -> tuple[Rows, Column]:
        """Items and how much each is liked by now, ascending items; none that is unwanted."""
        items, place = np.unique(self.history.items, return_inverse=True)
        worth = self.history.liking * 0.5 ** (self.history.age / _DECAYS[-1])
        total = np.bincount(place, worth, len(items)).astype(np.float64)
        return items[total > 0], total[total > 0]

    @cached_property
    def latest(self) -> Rows:
        """Items of the last order, or, where nothing was bought, of the last thing done."""
        history = self.history
        counted = history.bought if history.bought.any() else history.liking > 0
        if not counted.any():
            return np.empty(0, dtype=np.int64)
        last = history.order == history.order[counted].max()
        return np.unique(history.items[counted & last])

    def profile(self, texts: Texts) -> NDArray[np.float32]:
        """The mean vector of what is liked, (dim,)."""
        items, worth = self.liked
        mean: NDArray[np.float32] = (worth.astype(np.float32) @ texts.vectors(items)).astype(
            np.float32
        )
        length = float(np.linalg.norm(mean))
        return mean / length if length else mean

    @cached_property
    def spreads(self) -> Mapping[str, tuple[Rows, Column]]:
        """What lies near the history: items ascending and how near, by way of getting there."""
        shopper, basket = self.behaviour.by_shopper, self.behaviour.by_basket
        ones = np.ones(len(self.owned))
        last = np.ones(len(self.latest))
        return {
            "shopper": shopper.spread(*self.liked),
            "last": shopper.spread(self.latest, last),
            "basket": basket.spread(self.owned, ones),
            "basket_last": basket.spread(self.latest, last),
        }

    def candidates(self, texts: Texts) -> Rows:
        """Items worth ranking, ascending: own ones, what lies near them, what sells."""
        found = [self.owned, self.liked[0]]
        for name, (items, worth) in self.spreads.items():
            best = np.argsort(-worth, kind="stable")[: _DEPTH.get(name, _DEPTH["basket"])]
            found.append(items[best])
        found += [self.behaviour.best_sold(_DEPTH["sold"], half) for half in HALF_LIVES[:3]]
        if len(self.liked[0]):
            found.append(texts.nearest(self.profile(texts), _DEPTH["text"]))
        return np.unique(np.concatenate(found))

    def features(self, items: Rows, texts: Texts) -> NDArray[np.float32]:
        """What the learned ranking reads of each item, (n, len(FEATURES))."""
        columns = {
            **self._own(items),
            **self._sales(items),
            **self._near(items),
            **self._alike(items, texts),
            **self._shopper(items),
        }
        return np.column_stack([columns[name] for name in FEATURES]).astype(np.float32)

    def _own(self, items: Rows) -> dict[str, Column]:
        """How the shopper bought each item before."""
        bought = self.history.take(self.history.bought)
        orders = np.unique(bought.order)
        slot, mine = _places(bought.items, items)
        # An order counts once however many of its lines are of the item.
        pairs = np.unique(np.stack([slot, bought.order[mine]], axis=1), axis=0)
        age_of = dict(zip(bought.order.tolist(), bought.age.tolist(), strict=True))
        age = np.array([age_of[order] for order in pairs[:, 1].tolist()])
        n = len(items)
        count = np.bincount(pairs[:, 0], minlength=n).astype(np.float64)
        newest = np.full(n, -1, dtype=np.int64)
        np.maximum.at(newest, pairs[:, 0], pairs[:, 1])
        oldest = np.full(n, np.iinfo(np.int64).max)
        np.minimum.at(oldest, pairs[:, 0], pairs[:, 1])
        last = np.full(n, _NEVER)
        np.minimum.at(last, pairs[:, 0], age)
        since = len(orders) - np.searchsorted(orders, oldest)
        later = len(orders) - np.searchsorted(orders, newest, side="right")
        owned = count > 0
        own = {"orders": count, "last_days": last}
        for half in _DECAYS:
            own[f"orders_{half:.0f}"] = np.bincount(pairs[:, 0], 0.5 ** (age / half), n)
        own["orders_since"] = np.where(owned, since, 0.0)
        own["orders_later"] = np.where(owned, later, 99.0)
        own["rate"] = count / np.maximum(own["orders_since"], 1)
        own["share"] = count / max(len(orders), 1)
        own["log_quantity"] = np.bincount(slot, np.log1p(bought.quantity[mine]), n)
        return own

    def _sales(self, items: Rows) -> dict[str, Column]:
        """How each item sells to all."""
        sold = self.behaviour.popularity[items].astype(np.float64)  # (n, half-lives)
        five, fifteen, thirty, ninety = sold.T
        named = {f"sold_{half:.0f}": np.log1p(sold[:, place])
                 for place, half in enumerate(HALF_LIVES)}  # fmt: skip
        named["trend"] = np.log((fifteen + 0.5) / (ninety / 6 + 0.5))
        named["trend_late"] = np.log((five + 0.5) / (thirty / 6 + 0.5))
        for name in ("last_sold", "first_sold", "log_buyers", "repeat"):
            named[name] = self.behaviour.number(name)[items].astype(np.float64)
        return named

    def _near(self, items: Rows) -> dict[str, Column]:
        """How near each item lies to what the shopper bought, by what others bought."""
        near = {name: _looked_up(found, items) for name, found in self.spreads.items()}
        spread = {f"near_{name}": column for name, column in near.items()}
        spread["near_mean"] = near["shopper"] / np.sqrt(max(len(self.owned), 1))
        return spread

    def _alike(self, items: Rows, texts: Texts) -> dict[str, Column]:
        """How alike its text is to what is liked, itself left out, and its price to theirs."""
        liked, worth = self.liked
        prices = self.behaviour.number("log_price").astype(np.float64)
        if not len(liked):
            none = np.zeros(len(items))
            return {"text_best": none, "text_mean": none, "price_gap": none}
        cosines = texts.vectors(items) @ texts.vectors(liked).T  # (n, liked)
        cosines[items[:, None] == liked[None, :]] = 0.0
        return {
            "text_best": cosines.max(axis=1).astype(np.float64),
            "text_mean": (cosines @ (worth / worth.sum())).astype(np.float64),
            "price_gap": prices[items] - prices[liked].mean(),
        }

    def _shopper(self, items: Rows) -> dict[str, Column]:
        """The shopper's habits, the same for every item."""
        bought = self.history.take(self.history.bought)
        orders = len(np.unique(bought.order))
        lines = len(np.unique(np.stack([bought.order, bought.items]), axis=1).T)
        habits = {
            "shopper_orders": float(orders),
            "shopper_last": float(bought.age.min(initial=_NEVER)),
            "shopper_basket": lines / max(orders, 1),
            "shopper_items": float(len(self.owned)),
            "shopper_variety": len(self.owned) / max(lines, 1),
        }
        return {name: np.full(len(items), value) for name, value in habits.items()}


def _places(asked: Rows, items: Rows) -> tuple[Rows, NDArray[np.bool_]]:
    """Where among ascending `items` each of `asked` stands, and which of them stand there at all.

    The places are those of the found ones alone.
    """
    place = np.searchsorted(items, asked)
    place[place == len(items)] = 0
    there = items[place] == asked if len(items) else np.zeros(len(asked), dtype=np.bool_)
    return place[there].astype(np.int64), there


def _looked_up(found: tuple[Rows, Column], items: Rows) -> Column:
    """The value of each of `items` among ascending found ones; 0 where it was not found."""
    column = np.zeros(len(items))
    place, there = _places(found[0], items)
    column[place] = found[1][there]
    return column
