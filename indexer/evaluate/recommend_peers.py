"""What recommendations are measured against: popularity, a shopper's own items, `implicit`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.analysis import analyze
from engine.guide.behaviour import Behaviour
from engine.types import Rows
from indexer.train.behaviour import Case

Recommend = Callable[[Case], Rows]
"""The items for a shopper, best first, twenty of them."""

DEPTH = 20
_K1, _B = 1.2, 0.75


def popularity(behaviour: Behaviour) -> Recommend:
    """What sells, with a half-life of 30 days, the same for everybody."""
    best = behaviour.best_sold(DEPTH)
    return lambda _case: best


def own_items(behaviour: Behaviour, *, recent: bool) -> Recommend:
    """The shopper's own items by the number of orders, then what sells.

    With `recent`, ties among the own ones by what sells too; else by item.
    """
    sold = behaviour.sold()
    order = behaviour.best_sold(len(behaviour.ids))

    def recommend(case: Case) -> Rows:
        pairs = np.unique(np.stack([case.history.items, case.history.order]), axis=1)
        items, count = np.unique(pairs[0], return_counts=True)
        ties = -sold[items] if recent else items
        own = items[np.lexsort((ties, -count))][:DEPTH]
        others = order[: 2 * DEPTH]
        return np.concatenate([own, others[~np.isin(others, own)]])[:DEPTH]

    return recommend


def implicit_peers(
    histories: Sequence[Case], items: int, valid: Sequence[Case], known: Sequence[Case]
) -> Iterator[tuple[str, Recommend]]:
    """Item-item neighbours and ALS as the library `implicit` has them, where it is installed.

    Args:
        histories: every shopper's history up to the test, to be fitted on.
        items: how many there are.
        valid: the last window of the training time, with what was bought in it.
        known: the histories before that window: settings are chosen on these two.
    """
    try:
        import implicit  # noqa: PLC0415 - a peer; nobody needs it to use daogou
    except ImportError:
        return
    from implicit.als import AlternatingLeastSquares  # noqa: PLC0415
    from implicit.nearest_neighbours import (  # noqa: PLC0415
        BM25Recommender,
        CosineRecommender,
        TFIDFRecommender,
    )

    del implicit
    neighbours = {"cosine": CosineRecommender, "TF-IDF": TFIDFRecommender, "BM25": BM25Recommender}
    makers: dict[str, list[Callable[[], Any]]] = {
        f"item-item {name}": [partial(maker, K=k) for k in (20, 100, 200)]
        for name, maker in neighbours.items()
    }
    makers["ALS"] = [
        partial(
            AlternatingLeastSquares,
            factors=factors, regularization=0.05, alpha=weight, iterations=15, random_state=0,
        )
        for factors in (32, 64, 128)
        for weight in (1.0, 10.0)
    ]  # fmt: skip
    for name, settings in makers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to itself on formats and threads
            scored = [_mean_ndcg(_fitted(maker(), known, items), valid) for maker in settings]
            yield name, _fitted(settings[int(np.argmax(scored))](), histories, items)


def _mean_ndcg(recommend: Recommend, cases: Sequence[Case]) -> float:
    return float(np.mean([ndcg(recommend(case), case.truth) for case in cases]))


def _fitted(model: Any, histories: Sequence[Case], items: int) -> Recommend:  # noqa: ANN401 - untyped
    """The model fitted on these histories, as a recommender of any shopper among them."""
    from scipy.sparse import csr_matrix  # noqa: PLC0415

    rows = np.concatenate(
        [np.full(len(case.history), number) for number, case in enumerate(histories)]
    )
    bought = np.concatenate([case.history.items for case in histories])
    matrix = csr_matrix(
        (np.ones(len(rows), dtype=np.float32), (rows, bought)), shape=(len(histories), items)
    )
    matrix.sum_duplicates()
    model.fit(matrix, show_progress=False)
    place = {case.user: number for number, case in enumerate(histories)}

    def recommend(case: Case) -> Rows:
        number = place[case.user]
        found, _ = model.recommend(
            number, matrix[number], N=DEPTH, filter_already_liked_items=False
        )
        return np.asarray(found, dtype=np.int64)

    return recommend


def ndcg(recommended: Rows, truth: Rows, depth: int = DEPTH) -> float:
    """Binary nDCG at a depth."""
    discount = 1 / np.log2(np.arange(depth) + 2)
    gains = np.isin(recommended[:depth], truth)
    ideal = discount[: min(depth, len(truth))].sum()
    return float(discount[: len(gains)][gains].sum() / ideal)


def fresh_by_bm25(
    fresh: Sequence[str], titles: Sequence[str], sold: NDArray[np.float64], nearest: int = 10
) -> NDArray[np.float64]:
    """For each new title the mean popularity of its nearest known titles by BM25; (fresh,)."""
    known = [analyze(title) for title in titles]
    postings: dict[str, list[tuple[int, int]]] = {}
    for number, terms in enumerate(known):
        for term in set(terms):
            postings.setdefault(term, []).append((number, terms.count(term)))
    length = np.array([len(terms) for terms in known], dtype=np.float64)
    norm = _K1 * (1 - _B + _B * length / length.mean())
    scores = np.zeros((len(fresh), len(known)))
    for row, title in enumerate(fresh):
        for term in set(analyze(title)):
            found = postings.get(term, [])
            rarity = np.log(1 + (len(known) - len(found) + 0.5) / (len(found) + 0.5))
            for number, times in found:
                scores[row, number] += rarity * times * (_K1 + 1) / (times + norm[number])
    near = np.argsort(-scores, axis=1, kind="stable")[:, :nearest]
    return np.asarray(sold[near].mean(axis=1), dtype=np.float64)
