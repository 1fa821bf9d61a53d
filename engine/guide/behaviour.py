"""What shoppers did with a catalog, summed over all of them: it names no shopper and no order.

A folder:

behaviour.json   counts, settings, where it comes from
items.json       product ids; every array below has one row for each, in this order
popularity.npy   (items, 4) orders, decayed with the half-lives of `HALF_LIVES`
numbers.npy      (items, 5): see `NUMBERS`
shoppers.npy     (items, k) items bought by the same shoppers, nearest first, -1 where there are
                 fewer; shoppers_likeness.npy their cosines
baskets.npy      the same of products bought in one order; baskets_likeness.npy
tree_*.npy       the learned ranking: see `engine.guide.forest`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from engine.arrays import open_array
from engine.errors import ModelError
from engine.guide.forest import Forest
from engine.types import Rows

FOLDER = "behaviour"
"""Of a snapshot: where its behaviour model lies."""
INFO_FILE = "behaviour.json"
HALF_LIVES = (5.0, 15.0, 30.0, 90.0)
"""Days."""
NUMBERS = ("last_sold", "first_sold", "log_buyers", "repeat", "log_price")
"""Days before the data ends; buyers as log(1 + n); share of buyers who bought again; log price."""
FEATURES = (
    "orders", "last_days", "orders_15", "orders_45", "orders_120", "orders_since", "orders_later",
    "rate", "share", "log_quantity",
    "sold_5", "sold_15", "sold_30", "sold_90", "trend", "trend_late", "last_sold", "first_sold",
    "log_buyers", "repeat",
    "near_shopper", "near_last", "near_basket", "near_basket_last", "near_mean",
    "text_best", "text_mean", "price_gap",
    "shopper_orders", "shopper_last", "shopper_basket", "shopper_items", "shopper_variety",
)  # fmt: skip
"""What the trees read of an item, in their order: `engine.guide.taste` computes it."""
_CURE = "Train it again: daogou train recommend"


class BehaviourInfo(BaseModel):
    """What a behaviour model says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["behaviour"] = "behaviour"
    schema_version: Literal[1] = 1
    name: str
    items: int
    shoppers: int
    orders: int
    fewest_shoppers: int
    """Two products are called alike only where at least so many shoppers share them."""
    until: str
    """When the purchases end, ISO 8601."""
    durable: float
    """A product whose share of repeat buyers is lower is not offered to who has it."""
    features: tuple[str, ...]
    provenance: dict[str, str] = {}


class Neighbours:
    """For each item its nearest: two arrays (items, k), -1 and 0 where there are fewer."""

    def __init__(self, items: NDArray[np.int32], likeness: NDArray[np.float16]) -> None:
        self.items = items
        self.likeness = likeness

    def spread(self, items: Rows, weights: NDArray[np.float64]) -> tuple[Rows, NDArray[np.float64]]:
        """What lies near these items: (found items ascending, summed weight × likeness of each)."""
        near = self.items[items]  # (n, k)
        worth = self.likeness[items].astype(np.float64) * weights[:, None]
        there = near >= 0
        found, place = np.unique(near[there], return_inverse=True)
        total: NDArray[np.float64] = np.bincount(place, worth[there], len(found)).astype(np.float64)
        return found.astype(np.int64), total


@dataclass(frozen=True)
class Behaviour:
    """What all shoppers together did. Items are numbers: places in `ids`."""

    info: BehaviourInfo
    ids: tuple[str, ...]
    popularity: NDArray[np.float32]
    """(items, half-lives)."""
    numbers: NDArray[np.float32]
    """(items, NUMBERS)."""
    by_shopper: Neighbours
    by_basket: Neighbours
    forest: Forest | None = None
    """None while it is being trained."""

    @cached_property
    def items(self) -> Mapping[str, int]:
        """Number by product id."""
        return {product_id: number for number, product_id in enumerate(self.ids)}

    def number(self, name: str) -> NDArray[np.float32]:
        """One of `NUMBERS`, (items,)."""
        column: NDArray[np.float32] = self.numbers[:, NUMBERS.index(name)]
        return column

    def sold(self, half_life: float = 30.0) -> NDArray[np.float64]:
        """Orders of each item, decayed, (items,)."""
        return self.popularity[:, HALF_LIVES.index(half_life)].astype(np.float64)

    def best_sold(self, depth: int, half_life: float = 30.0) -> Rows:
        """The items bought most of late, ties by number."""
        return np.argsort(-self.sold(half_life), kind="stable")[:depth].astype(np.int64)

    def save(self, folder: Path) -> None:
        """Write it into an existing folder; `open_behaviour` reads it back."""
        if self.forest is None:
            raise ValueError("a behaviour model is saved once its ranking is trained")
        (folder / "items.json").write_text(json.dumps(list(self.ids)), encoding="utf-8")
        np.save(folder / "popularity.npy", self.popularity.astype(np.float32))
        np.save(folder / "numbers.npy", self.numbers.astype(np.float32))
        for name, near in (("shoppers", self.by_shopper), ("baskets", self.by_basket)):
            np.save(folder / f"{name}.npy", near.items.astype(np.int32))
            np.save(folder / f"{name}_likeness.npy", near.likeness.astype(np.float16))
        self.forest.save(folder)
        (folder / INFO_FILE).write_text(self.info.model_dump_json(indent=1), encoding="utf-8")


def read_behaviour_info(folder: Path) -> BehaviourInfo:
    """What the behaviour model in the folder says of itself.

    Raises:
        ModelError: the folder holds none, or one that is damaged or of another version.
    """
    path = folder / INFO_FILE
    try:
        info = BehaviourInfo.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{folder} is no behaviour model: {INFO_FILE} cannot be read. {_CURE}"
        ) from error
    except ValidationError as error:
        raise ModelError(
            f"{path} is damaged or of another version: {error.errors()[0]['msg']}. {_CURE}"
        ) from error
    if info.features != FEATURES:
        raise ModelError(f"{path} reads other features than this daogou computes. {_CURE}")
    return info


def open_behaviour(folder: Path) -> Behaviour:
    """The behaviour model in a folder, its arrays memory-mapped.

    Raises:
        ModelError: missing, damaged, or of another version.
        SnapshotDamagedError: an array cannot be read.
    """
    info = read_behaviour_info(folder)
    try:
        ids: list[Any] = json.loads((folder / "items.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / 'items.json'} cannot be read: {error}. {_CURE}") from error
    found = Behaviour(
        info=info,
        ids=tuple(map(str, ids)),
        popularity=open_array(folder / "popularity.npy", np.float32, dimensions=2),
        numbers=open_array(folder / "numbers.npy", np.float32, dimensions=2),
        by_shopper=_neighbours(folder, "shoppers"),
        by_basket=_neighbours(folder, "baskets"),
        forest=Forest.open(folder),
    )
    rows = {len(found.popularity), len(found.numbers)}
    for part in (found.by_shopper, found.by_basket):
        rows |= {len(part.items), len(part.likeness)}
    near = (found.by_shopper.items, found.by_basket.items)
    asked = -1 if found.forest is None else int(found.forest.feature.max(initial=-1))
    outside = any(len(ids) <= part.max(initial=-1) for part in near)
    if rows != {len(ids)} or outside or asked >= len(FEATURES):
        raise ModelError(f"the arrays in {folder} do not fit together. {_CURE}")
    return found


def _neighbours(folder: Path, name: str) -> Neighbours:
    return Neighbours(
        open_array(folder / f"{name}.npy", np.int32, dimensions=2),
        open_array(folder / f"{name}_likeness.npy", np.float16, dimensions=2),
    )
