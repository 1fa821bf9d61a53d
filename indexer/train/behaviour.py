"""Purchases → behaviour model: what shoppers did, summed up, and a ranking learned on it.

The ranking is trained on the past as it was: for each of the last windows of the records, what was
bought before is summed up, and the order that each known shopper placed first within the window is
what had to be recommended. LambdaMART (Burges 2010) on the features of `engine.guide.taste`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import MissingExtraError, TrainingError
from engine.guide.behaviour import (
    FEATURES,
    HALF_LIVES,
    Behaviour,
    BehaviourInfo,
    Neighbours,
)
from engine.guide.forest import Forest
from engine.guide.history import History
from engine.guide.taste import Taste, Texts
from engine.types import Rows, Vectors

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

FEWEST_SHOPPERS = 2
"""Who bought both, at least (or orders that hold both), for two products to be called alike."""
SHOPPER_NEIGHBOURS, BASKET_NEIGHBOURS = 100, 50
WINDOW_DAYS = 30
MOST_WINDOWS = 6
FIRST_HISTORY_DAYS = 60
"""A window is learnt from only where the records go back so far before it."""
MOST_SHOPPERS = 20_000
"""Drawn of each window's."""
DURABLE = 0.02
ROUNDS = 120
PARAMETERS = {
    "objective": "lambdarank",
    "learning_rate": 0.1,
    "num_leaves": 15,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "lambdarank_truncation_level": 30,
    "verbosity": -1,
    "deterministic": True,
}
_BLOCK = 1_024  # items whose neighbours are searched at a time


class TextsOf(Protocol):
    """Gives the vectors of products by their ids."""

    def __call__(self, ids: Sequence[str]) -> Vectors:
        """Unit vectors, (len(ids), dim)."""


class ArrayTexts:
    """Vectors that lie in memory, compared one by one."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def vectors(self, items: Rows) -> Vectors:
        """The items' vectors, (n, dim)."""
        return self._vectors[items]

    def nearest(self, vector: NDArray[np.float32], depth: int) -> Rows:
        """The nearest items, nearest first."""
        found: Rows = np.argsort(-(self._vectors @ vector), kind="stable")[:depth]
        return found


@dataclass(frozen=True, slots=True)
class Case:
    """One shopper of a window: what was done before it, and what was bought first in it."""

    user: str
    history: History
    truth: Rows


def train_behaviour(
    purchases: pd.DataFrame, texts_of: TextsOf, *, name: str, seed: int = 0, threads: int = 0
) -> Behaviour:
    """A behaviour model of these purchases, as `read_purchases` gives them.

    Raises:
        TrainingError: the records are too short, or too few, to learn a ranking from.
        MissingExtraError: LightGBM is not installed.
    """
    tables, labels, sizes = [], [], []
    for start in _windows(purchases):
        before = purchases[purchases["at"] < start]
        window = purchases[purchases["at"] >= start]
        window = window[window["at"] < start + _days(WINDOW_DAYS)]
        behaviour = sum_up(before, until=start, name=name)
        texts = ArrayTexts(texts_of(behaviour.ids))
        for case in _drawn(list(cases(before, window, behaviour, start)), seed):
            taste = Taste(case.history, behaviour)
            items = taste.candidates(texts)
            bought = np.isin(items, case.truth)
            if bought.any():
                tables.append(taste.features(items, texts))
                labels.append(bought)
                sizes.append(len(items))
    if len(sizes) < 50:
        raise TrainingError(
            f"only {len(sizes)} shoppers came back within the last windows of {WINDOW_DAYS} days: "
            "too few to learn what is bought next. Give records of a longer time"
        )
    forest = _fit(np.concatenate(tables), np.concatenate(labels), sizes, seed, threads)
    last = purchases["at"].max() + _days(1e-5)
    return replace(sum_up(purchases, until=last, name=name), forest=forest)


def _windows(purchases: pd.DataFrame) -> Iterator[pd.Timestamp]:
    """When each window to learn from begins, the latest first."""
    first, end = purchases["at"].min(), purchases["at"].max()
    for number in range(1, MOST_WINDOWS + 1):
        start = end - _days(WINDOW_DAYS * number)
        if start - first < _days(FIRST_HISTORY_DAYS):
            return
        yield start


def _days(count: float) -> pd.Timedelta:
    import pandas as pd  # noqa: PLC0415 - optional

    return pd.Timedelta(days=count)


def _drawn(found: list[Case], seed: int) -> list[Case]:
    if len(found) <= MOST_SHOPPERS:
        return found
    chosen = np.random.default_rng(seed).choice(len(found), MOST_SHOPPERS, replace=False)
    return [found[place] for place in sorted(chosen.tolist())]


def _fit(
    table: NDArray[np.float32],
    bought: NDArray[np.bool_],
    sizes: list[int],
    seed: int,
    threads: int,
) -> Forest:
    """Trees that rank each shopper's candidates, (n, features), what was bought first."""
    try:
        import lightgbm  # noqa: PLC0415 - optional: serving reads the trees without it
    except ImportError as error:
        raise MissingExtraError("training recommendations", "train") from error
    given = lightgbm.Dataset(
        table, bought.astype(np.int8), group=sizes, feature_name=list(FEATURES)
    )
    parameters = {**PARAMETERS, "seed": seed, "num_threads": threads}
    return Forest.of_lightgbm(lightgbm.train(parameters, given, ROUNDS).dump_model())


def sum_up(purchases: pd.DataFrame, *, until: pd.Timestamp, name: str) -> Behaviour:
    """What all shoppers did before `until`, without a ranking yet."""
    import pandas as pd  # noqa: PLC0415 - optional

    codes, ids = pd.factorize(purchases["item"], sort=True)
    shoppers, known = pd.factorize(purchases["user"])
    # Shops may number the orders of each shopper from 1 on.
    orders = purchases.groupby(["user", "order"], sort=False).ngroup().to_numpy()
    lines = pd.DataFrame({"item": codes, "shopper": shoppers, "order": orders})
    lines["age"] = (until - purchases["at"]).dt.total_seconds().to_numpy() / 86_400
    lines["price"] = np.log(purchases["price"].to_numpy())
    once = lines.drop_duplicates(["item", "order"])
    item, age = once["item"].to_numpy(), once["age"].to_numpy()
    n = len(ids)
    sold = np.column_stack([np.bincount(item, 0.5 ** (age / half), n) for half in HALF_LIVES])
    by_item = lines.groupby("item")
    times = once.groupby(["item", "shopper"]).size()
    buyers = times.groupby("item").size().to_numpy()
    again = (times > 1).groupby("item").sum().to_numpy()
    usual = (again.sum() + 1) / (buyers.sum() + 2)
    numbers = np.column_stack(
        [by_item["age"].min(), by_item["age"].max(), np.log1p(buyers),
         (again + 2 * usual) / (buyers + 2), by_item["price"].median()]
    )  # fmt: skip
    return Behaviour(
        info=BehaviourInfo(
            name=name, items=n, shoppers=len(known), orders=int(orders.max()) + 1,
            fewest_shoppers=FEWEST_SHOPPERS, until=until.isoformat(), durable=DURABLE,
            features=FEATURES,
        ),
        ids=tuple(map(str, ids)),
        popularity=sold.astype(np.float32),
        numbers=numbers.astype(np.float32),
        by_shopper=neighbours(once["shopper"].to_numpy(), item, n, SHOPPER_NEIGHBOURS),
        by_basket=neighbours(once["order"].to_numpy(), item, n, BASKET_NEIGHBOURS),
    )  # fmt: skip


def neighbours(
    groups: NDArray[np.int64], items: NDArray[np.int64], n: int, depth: int
) -> Neighbours:
    """For each of n items the nearest by the groups (shoppers, orders) they share.

    Cosines of rows whose groups are weighed down by their size: one that holds everything says
    little of any pair. Pairs that fewer than `FEWEST_SHOPPERS` groups share are left out.
    """
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - comes with the extra

    pairs = np.unique(np.stack([items, groups], axis=1), axis=0)
    total = int(groups.max(initial=-1)) + 1
    held = csr_matrix(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, total)
    )  # (items, groups)
    size = np.asarray(held.sum(axis=0)).ravel()
    weighed = held.multiply(1 / np.sqrt(np.log(np.e + size))[None, :]).tocsr()
    length = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
    weighed = weighed.multiply(1 / np.maximum(length, 1e-12)[:, None]).tocsr()
    near = np.full((n, depth), -1, dtype=np.int32)
    likeness = np.zeros((n, depth), dtype=np.float16)
    for start in range(0, n, _BLOCK):
        block = slice(start, min(start + _BLOCK, n))
        cosines = (weighed[block] @ weighed.T).tocsr()
        shared = (held[block] @ held.T).tocsr()
        for row in range(cosines.shape[0]):
            _nearest_of(start + row, cosines[row], shared[row], near, likeness)
    return Neighbours(near, likeness)


def _nearest_of(
    item: int,
    cosines: csr_matrix,
    shared: csr_matrix,
    near: NDArray[np.int32],
    likeness: NDArray[np.float16],
) -> None:
    """Fill in one item's row."""
    enough = set(shared.indices[shared.data >= FEWEST_SHOPPERS].tolist()) - {item}
    kept = np.array([other in enough for other in cosines.indices.tolist()], dtype=np.bool_)
    others, values = cosines.indices[kept], cosines.data[kept]
    best = np.lexsort((others, -values))[: near.shape[1]]
    near[item, : len(best)] = others[best]
    likeness[item, : len(best)] = values[best]


def cases(
    before: pd.DataFrame, window: pd.DataFrame, behaviour: Behaviour, start: pd.Timestamp
) -> Iterator[Case]:
    """The shoppers known before a window who bought something known in it.

    What they bought is their first order of the window, repeats included.
    """
    known = window[window["user"].isin(set(before["user"]))]
    first = known.groupby("user")["order"].first()
    known = known[known["order"] == known["user"].map(first)]
    truths = {
        user: np.unique([behaviour.items[item] for item in items if item in behaviour.items])
        for user, items in known.groupby("user")["item"]
    }
    wanted = before[before["user"].isin([user for user, truth in truths.items() if len(truth)])]
    for user, lines in wanted.groupby("user"):
        yield Case(
            str(user), history_of(lines, behaviour, start), truths[str(user)].astype(np.int64)
        )


def history_of(lines: pd.DataFrame, behaviour: Behaviour, now: pd.Timestamp) -> History:
    """One shopper's purchases, oldest first, as a history; products not known are left out."""
    lines = lines[lines["item"].isin(behaviour.items.keys())]
    _, order = np.unique(lines["order"].to_numpy(), return_index=True)
    rank = {
        lines["order"].iloc[place]: number for number, place in enumerate(sorted(order.tolist()))
    }
    n = len(lines)
    return History(
        items=np.array([behaviour.items[item] for item in lines["item"]], dtype=np.int64),
        age=(now - lines["at"]).dt.total_seconds().to_numpy() / 86_400,
        order=np.array([rank[order] for order in lines["order"]], dtype=np.int64),
        quantity=lines["quantity"].to_numpy(dtype=np.float64),
        liking=np.ones(n),
        bought=np.ones(n, dtype=np.bool_),
    )


def recommended(behaviour: Behaviour, history: History, texts: Texts, depth: int) -> Rows:
    """The items to recommend by the learned ranking alone, best first."""
    if behaviour.forest is None:
        raise ValueError("this behaviour model has no ranking yet")
    taste = Taste(history, behaviour)
    items = taste.candidates(texts)
    scores = behaviour.forest.predict(taste.features(items, texts))
    return items[np.lexsort((items, -scores))][:depth]
