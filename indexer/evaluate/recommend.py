"""What recommendations are worth: the next order of shoppers, split by time.

Protocol: known shoppers are those of the training records; the truth is the items of a shopper's
first order of the test records that occur in training, repeats included; all training items are
candidates. Binary nDCG, recall with min(depth, truth) as its denominator, hit rate. New items,
those that training lacks, are ranked apart for the shoppers who bought one: mean reciprocal rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import EvaluationError
from engine.guide.behaviour import Behaviour
from engine.guide.fresh import rank_fresh
from engine.guide.taste import Taste
from engine.types import Rows, Vectors
from indexer.evaluate.recommend_peers import (
    DEPTH,
    Recommend,
    fresh_by_bm25,
    implicit_peers,
    ndcg,
    own_items,
    popularity,
)
from indexer.evaluate.statistics import Interval, bootstrap, holm, randomisation_test
from indexer.train.behaviour import (
    WINDOW_DAYS,
    ArrayTexts,
    Case,
    TextsOf,
    cases,
    history_of,
    recommended,
    train_behaviour,
)

if TYPE_CHECKING:
    import pandas as pd

_T = TypeVar("_T")
OURS = "daogou"


@dataclass(frozen=True, slots=True)
class Measured:
    """One method's figures over some shoppers."""

    ndcg: Interval
    recall: Interval
    hit_rate: Interval
    coverage: float
    """Share of the items that anyone was recommended."""
    novelty: float
    """Mean self-information of what was recommended, bits: -log2 of the share of shoppers who
    bought it."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """How new items were ranked."""

    items: int
    ours: Interval
    """Mean reciprocal rank."""
    peer: Interval
    p: float


@dataclass(frozen=True, slots=True)
class RecommendEvaluation:
    """What recommendations are worth on one split."""

    shoppers: int
    items: int
    methods: Mapping[str, Measured]
    once: Mapping[str, Measured]
    """The same for shoppers with one order before."""
    against: Mapping[str, float]
    """Holm-corrected p of our nDCG against each peer's."""
    fresh: Fresh | None
    """None where the purchases have no titles, or no shopper bought a new item."""

    @property
    def best_peer(self) -> str:
        """The peer with the highest nDCG."""
        peers = {name: found.ndcg.mean for name, found in self.methods.items() if name != OURS}
        return max(peers, key=peers.__getitem__)


def evaluate_recommend(
    train: pd.DataFrame, test: pd.DataFrame, texts_of: TextsOf, *, seed: int = 0, threads: int = 0
) -> RecommendEvaluation:
    """Train on the one, recommend what was bought in the other.

    Args:
        train: purchases, as `read_purchases` gives them.
        test: later ones.
        texts_of: vectors of products by id, of both.
        seed: of the training.
        threads: of the training; 0 takes every core.

    Raises:
        EvaluationError: the test begins before the training ends, or knows none of its shoppers.
        TrainingError: the training records are too short.
    """
    start = test["at"].min()
    if start <= train["at"].max():
        raise EvaluationError(
            f"the test begins at {start}, before the training ends at {train['at'].max()}. "
            "Split the records by time"
        )
    behaviour = train_behaviour(train, texts_of, name="evaluated", seed=seed, threads=threads)
    vectors = texts_of(behaviour.ids)
    texts = ArrayTexts(vectors)
    asked = list(cases(train, test, behaviour, start))
    if not asked:
        raise EvaluationError("no shopper of the test bought anything known before")
    methods: dict[str, Recommend] = {
        OURS: lambda case: recommended(behaviour, case.history, texts, DEPTH),
        "popularity": popularity(behaviour),
        "own items": own_items(behaviour, recent=False),
        "own items, what sells first": own_items(behaviour, recent=True),
        **dict(_implicit(train, behaviour, start)),
    }
    found = {name: [recommend(case) for case in asked] for name, recommend in methods.items()}
    once = [len(np.unique(case.history.order)) == 1 for case in asked]
    score = {name: _ndcgs(lists, asked) for name, lists in found.items()}
    peers = [name for name in found if name != OURS]
    p_values = [randomisation_test(score[OURS] - score[name]) for name in peers]
    return RecommendEvaluation(
        shoppers=len(asked),
        items=len(behaviour.ids),
        methods={name: _measured(lists, asked, behaviour) for name, lists in found.items()},
        once={
            name: _measured(_chosen(lists, once), _chosen(asked, once), behaviour)
            for name, lists in found.items()
            if any(once)
        },
        against=dict(zip(peers, holm(p_values), strict=True)),
        fresh=_fresh(train, test, behaviour, vectors, texts_of),
    )


def _implicit(
    train: pd.DataFrame, behaviour: Behaviour, start: pd.Timestamp
) -> list[tuple[str, Recommend]]:
    """The peers of `implicit`, their settings chosen on the last window of the training time."""
    import pandas as pd  # noqa: PLC0415 - optional

    cut = train["at"].max() - pd.Timedelta(days=WINDOW_DAYS)
    before, last = train[train["at"] < cut], train[train["at"] >= cut]
    histories = [
        Case(str(user), history_of(lines, behaviour, start), np.empty(0, np.int64))
        for user, lines in train.groupby("user")
    ]
    known = [
        Case(str(user), history_of(lines, behaviour, cut), np.empty(0, np.int64))
        for user, lines in before.groupby("user")
    ]
    valid = list(cases(before, last, behaviour, cut))
    return list(implicit_peers(histories, len(behaviour.ids), valid, known))


def _chosen(found: Sequence[_T], wanted: Sequence[bool]) -> list[_T]:
    return [one for one, there in zip(found, wanted, strict=True) if there]


def _ndcgs(lists: Sequence[Rows], asked: Sequence[Case]) -> NDArray[np.float64]:
    return np.array([ndcg(items, case.truth) for items, case in zip(lists, asked, strict=True)])


def _measured(lists: Sequence[Rows], asked: Sequence[Case], behaviour: Behaviour) -> Measured:
    """A method's figures over these shoppers."""
    hits = [
        np.isin(items[:DEPTH], case.truth).sum() for items, case in zip(lists, asked, strict=True)
    ]
    truth = [min(DEPTH, len(case.truth)) for case in asked]
    sold = np.expm1(behaviour.number("log_buyers").astype(np.float64))
    share = (sold + 1) / (behaviour.info.shoppers + 1)
    shown = np.concatenate([items[:DEPTH] for items in lists])
    return Measured(
        ndcg=bootstrap(_ndcgs(lists, asked)),
        recall=bootstrap(np.array(hits) / np.array(truth)),
        hit_rate=bootstrap(np.array(hits) > 0),
        coverage=len(np.unique(shown)) / len(behaviour.ids),
        novelty=float(-np.log2(share[shown]).mean()),
    )


def _fresh(
    train: pd.DataFrame,
    test: pd.DataFrame,
    behaviour: Behaviour,
    vectors: Vectors,
    texts_of: TextsOf,
) -> Fresh | None:
    """How well the new items are ranked for who bought one."""
    start = test["at"].min()
    titles = test.groupby("item")["title"].first()
    new = sorted(set(test["item"]) - set(train["item"]))
    bought = test[test["item"].isin(new) & test["user"].isin(set(train["user"]))]
    if not len(bought) or not train["title"].any():
        return None
    place = {item: number for number, item in enumerate(new)}
    truth = {
        str(user): np.array([place[item] for item in set(items)])
        for user, items in bought.groupby("user")["item"]
    }
    known = train.groupby("item")["title"].agg(lambda texts: texts.value_counts().index[0])
    # Shops may number the orders of each shopper from 1 on.
    once = train.drop_duplicates(["user", "order", "item"])
    sold = once.groupby("item").size().to_numpy(np.float64)
    peer = fresh_by_bm25([titles[item] for item in new], list(known), sold)
    fresh, popular = texts_of(new), behaviour.sold()
    ours, theirs = [], []
    for user, lines in train[train["user"].isin(truth)].groupby("user"):
        liked, _ = Taste(history_of(lines, behaviour, start), behaviour).liked
        score = rank_fresh(fresh, vectors[liked], vectors, popular)
        ours.append(_reciprocal_rank(score, truth[str(user)]))
        theirs.append(_reciprocal_rank(peer, truth[str(user)]))
    difference = np.array(ours) - np.array(theirs)
    return Fresh(len(new), bootstrap(ours), bootstrap(theirs), randomisation_test(difference))


def _reciprocal_rank(scores: NDArray[np.float64], truth: Rows) -> float:
    """1 over the rank of the first true one; ties by place."""
    order = np.argsort(-scores, kind="stable")
    return float(1 / (1 + np.flatnonzero(np.isin(order, truth))[0]))
