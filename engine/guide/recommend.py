"""Recommendations: from what a shopper did to products, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from engine.errors import FilterError, StageUnavailableError
from engine.guide.behaviour import FEATURES
from engine.guide.explain import Explanation, Part
from engine.guide.fresh import rank_fresh
from engine.guide.history import Event, History, make_history
from engine.guide.reasons import Reason, find_reason, liked_rows
from engine.guide.stored import StoredBehaviour
from engine.guide.taste import Taste
from engine.snapshot import Snapshot
from engine.types import Product, Ranking, Rows, RowSet

_FRESH_EVERY = 10  # every tenth place goes to what nobody bought yet
_FRESH_POOL = 200
_EVERYBODY = 4_096  # best sold products that stand for what everybody buys
_VARIETY = 0.1
"""What likeness to what is already listed costs, in spreads of the scores. Set, not measured."""
_NOT_YET = 1.0  # days in which nobody needs the same again
_HEAD = 100  # put into a varied order; the rest follows as ranked
_KEPT_BYTES = 64_000_000  # of the products in stock that the filters asked for last allow


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One product, and why."""

    product: Product
    rank: int
    score: float
    """Higher is better, comparable within one answer only; 0 for what is new."""
    reason: Reason
    because: Product | None = None
    """What the shopper did something with that speaks for it."""
    features: Mapping[str, Part] = field(default_factory=dict)
    """What makes the score, where that was asked for: against the middle candidate, whose score is
    "base"."""
    explanation: Explanation | None = None
    """How it is like what it is recommended because of, where that was asked for."""


class _Ranked(NamedTuple):
    """Rows that may be recommended, best first."""

    rows: Rows
    scores: NDArray[np.float64]
    features: NDArray[np.float32] | None = None
    """What a learned ranking read of each, (n, features)."""


class _Open(NamedTuple):
    """What may be recommended to one shopper."""

    mask: NDArray[np.bool_]  # (products,)
    allowed: RowSet | None
    """What the filter alone allows."""


class Recommender:
    """Recommends from one snapshot. Safe to use from many threads.

    Without a behaviour model it goes by texts and by how often products were rated.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._kept: LRUCache[tuple[int, bool], tuple[NDArray[np.bool_] | None, RowSet]] = LRUCache(
            _KEPT_BYTES, getsizeof=lambda kept: 2 * len(kept[1].mask) + 1
        )
        self._lock = Lock()

    @cached_property
    def stored(self) -> StoredBehaviour | None:
        """What shoppers did, where the snapshot holds it.

        Raises:
            ModelError: it is damaged.
        """
        return StoredBehaviour.open(self._snapshot)

    @cached_property
    def _sold_out(self) -> NDArray[np.bool_]:
        """Products that are known to be out of stock, (products,)."""
        mask = np.zeros(len(self._snapshot), dtype=np.bool_)
        mask[self._snapshot.facets.holding("in_stock", "false")] = True
        return mask

    @cached_property
    def _by_rating(self) -> Rows:
        """All rows, those rated most often first, (products,)."""
        counts = np.nan_to_num(self._snapshot.facets.numbers("rating_count"))
        return np.lexsort((self._snapshot.id_rank, -counts))

    def recommend(
        self,
        events: Sequence[Event],
        *,
        k: int = 10,
        allowed: RowSet | None = None,
        now: datetime | None = None,
        explain: bool = False,
    ) -> list[Recommendation]:
        """The `k` products that suit best what one shopper did; fewer where the catalog ends.

        Left out: what the filter excludes or is out of stock, what was last returned, dismissed or
        rated below 3, what was bought within a day, and what the shopper has and that hardly anyone
        buys twice; variants of those too.

        Args:
            events: what the shopper did, in any order; products the catalog lacks are passed over.
            k: how many.
            allowed: the products that pass a filter.
            now: when; ages are counted from it.
            explain: say what makes each score.

        Raises:
            QueryError: the history is too long.
        """
        known = self._snapshot.products.rows_of([event.product_id for event in events])
        pairs = [(event, row) for event, row in zip(events, known, strict=True) if row is not None]
        by_row = make_history(
            [event for event, _ in pairs], [row for _, row in pairs], now or datetime.now(UTC)
        )
        unwanted = self._unwanted(by_row)
        opened = self._open(allowed, unwanted)
        ranked = self._ranked(by_row, opened, k)
        chosen = self._one_a_group(self._varied(ranked.rows, ranked.scores), unwanted)[:k]
        share = max(k // _FRESH_EVERY, k - len(chosen))
        fresh = self._fresh(by_row, opened, share + len(chosen))  # variants of those among it
        fresh = self._one_a_group(fresh, np.concatenate([unwanted, chosen]))[:share]
        rows = _mixed(chosen, fresh, k)
        features = self._features(rows, ranked) if explain else {}
        return self._explained(rows, by_row, ranked, set(fresh.tolist()), features)

    def _features(self, rows: Rows, ranked: _Ranked) -> Mapping[int, Mapping[str, Part]]:
        """What makes the scores of rows that were ranked."""
        place = {row: at for at, row in enumerate(ranked.rows.tolist())}
        found = [row for row in rows.tolist() if row in place]
        if not found:
            return {}
        if ranked.features is None or self.stored is None or self.stored.model.forest is None:
            scores = {row: float(ranked.scores[place[row]]) for row in found}
            return {row: {"text": Part(score, score)} for row, score in scores.items()}
        table = ranked.features[[place[row] for row in found]]
        middle = ranked.features[len(ranked.features) // 2]
        adds, base = self.stored.model.forest.parts(table, middle)
        return {
            row: {
                name: Part(float(value), float(add))
                for name, value, add in zip(FEATURES, values, own, strict=True)
                if add
            }
            | {"base": Part(base, base)}
            for row, values, own in zip(found, table, adds, strict=True)
        }

    def _open(self, allowed: RowSet | None, unwanted: Rows) -> _Open:
        """What is allowed and in stock, without what is unwanted and its variants."""
        mask = self._in_stock(allowed).mask.copy()
        mask[unwanted] = False
        groups = {product.group_id for product in self._snapshot.products.fetch(unwanted)} - {""}
        for group in groups:
            with suppress(FilterError):  # what is too long for a filter groups nothing
                mask[self._snapshot.facets.holding("group_id", group)] = False
        return _Open(mask, allowed)

    def _in_stock(self, allowed: RowSet | None, *, new: bool = False) -> RowSet:
        """What a filter allows and is not sold out; with `new`, of that what nobody bought yet.

        Kept for the filters asked for last: a vector index counts where a set lies once.
        """
        source = None if allowed is None else allowed.mask
        with self._lock:
            known = self._kept.get((id(source), new))
        if known is not None and known[0] is source:
            return known[1]
        mask = ~self._sold_out if source is None else source & ~self._sold_out
        if new and self.stored is not None:
            mask &= self.stored.item_of < 0
        found = RowSet(mask)
        if source is None or not source.flags.writeable:
            mask.flags.writeable = False
            with self._lock, suppress(ValueError):  # too large to be kept
                self._kept[id(source), new] = source, found
        return found

    def similar(self, row: int, k: int, allowed: RowSet | None = None) -> Rows:
        """The products whose descriptions are nearest to one's.

        Its own variants are left out, and what is out of stock.
        """
        vector = self._snapshot.vectors[row].astype(np.float32)
        opened = self._open(allowed, np.array([row]))
        near = self._nearest(vector, 2 * k + 50, opened, least=k)
        return self._one_a_group(near.rows, np.array([row]))[:k]

    def complements(self, row: int, k: int, allowed: RowSet | None = None) -> Rows:
        """The products most often bought in one order with this one, best first; no variants.

        Raises:
            StageUnavailableError: the snapshot holds no behaviour model.
        """
        stored = self.stored
        if stored is None:
            raise StageUnavailableError(
                f"snapshot {self._snapshot.id} knows no purchases. Give it some: "
                "daogou train recommend --store STORE --purchases FILE --out DIR; "
                "daogou publish --store STORE --behaviour DIR"
            )
        item = stored.item_of[row]
        if item < 0:
            return np.empty(0, dtype=np.int64)
        near = stored.model.by_basket.items[item]
        rows = stored.row_of[near[near >= 0]]
        rows = rows[rows >= 0]
        return self._one_a_group(rows[self._in_stock(allowed).mask[rows]], np.array([row]))[:k]

    def _unwanted(self, history: History) -> Rows:
        """Rows that the shopper does not want, or has and needs no second of, or not yet."""
        newest = np.lexsort((history.liking, history.age))  # the worse first of one moment
        rows, first = np.unique(history.items[newest], return_index=True)
        just_bought = history.items[history.bought & (history.age < _NOT_YET)]
        unwanted = np.union1d(rows[history.liking[newest][first] < 0], just_bought)
        owned = np.unique(history.items[history.bought])
        if self.stored is None:
            return np.union1d(unwanted, owned)
        items = self.stored.item_of[owned]
        repeat = np.where(items >= 0, self.stored.model.number("repeat")[items], 0.0)
        return np.union1d(unwanted, owned[repeat < self.stored.model.info.durable])

    def _ranked(self, history: History, opened: _Open, least: int) -> _Ranked:
        """Rows that may be recommended, best first, of `least` products if there are so many."""
        stored = self.stored
        if stored is None or stored.model.forest is None:
            return self._by_text(history, opened, least)
        items = stored.item_of[history.items].astype(np.int64)
        known = replace(history, items=items).take(items >= 0)
        taste = Taste(known, stored.model)
        found = taste.candidates(stored)
        rows = stored.row_of[found]
        kept = (rows >= 0) & opened.mask[np.maximum(rows, 0)]
        found, rows = found[kept], rows[kept]
        if len(found) < _HEAD or self._products_of(rows) < least:  # a filter keeps few of them
            found = np.union1d(found, self._best_open(stored, opened.mask, max(_HEAD, least)))
            rows = stored.row_of[found]
        features = taste.features(found, stored)
        scores = stored.model.forest.predict(features)
        order = np.lexsort((self._snapshot.id_rank[rows], -scores))
        return _Ranked(rows[order], scores[order], features[order])

    def _best_open(
        self, stored: StoredBehaviour, open_rows: NDArray[np.bool_], many: int
    ) -> NDArray[np.int64]:
        """The items bought most of late that may be recommended, one variant of each product."""
        sold = stored.model.best_sold(len(stored.row_of))
        rows = stored.row_of[sold]
        sold = sold[(rows >= 0) & open_rows[np.maximum(rows, 0)]]
        return sold[self._first_variants(stored.row_of[sold], many)]

    def _first_variants(self, rows: Rows, many: int) -> NDArray[np.int64]:
        """Places of the first variant of each of the first `many` products among rows in order."""
        read = many
        while True:
            groups = self._snapshot.facets.groups(rows[:read])
            first = np.unique(groups, return_index=True)[1]
            if len(first) >= many or read >= len(rows):
                return np.sort(first)[:many]
            read *= 4

    def _products_of(self, rows: Rows) -> int:
        """How many products they are, variants of one counted once."""
        return len(np.unique(self._snapshot.facets.groups(rows)))

    def _nearest(
        self,
        profile: NDArray[np.float32],
        many: int,
        opened: _Open,
        *,
        least: int,
        new: bool = False,
    ) -> Ranking:
        """The rows nearest to a vector: `many`, or more until they are of `least` products.

        Looked for among what everybody may be recommended, and so many more that the shopper may
        not.
        """
        shared = self._in_stock(opened.allowed, new=new)
        closed = int(np.count_nonzero(shared.mask & ~opened.mask))
        while True:
            (found,) = self._snapshot.dense.search(profile[None, :], many + closed, shared)
            kept = opened.mask[found.rows]
            ranking = Ranking(found.rows[kept], found.scores[kept]).top(many)
            if len(ranking) < many or self._products_of(ranking.rows) >= least:
                return ranking
            many *= 4

    def _best_rated(self, open_rows: NDArray[np.bool_], many: int) -> _Ranked:
        """The products rated most often, one variant of each; by how often."""
        rows = self._by_rating[open_rows[self._by_rating]]
        rows = rows[self._first_variants(rows, many)]
        counts = self._snapshot.facets.numbers("rating_count")[rows]
        return _Ranked(rows, np.log1p(np.nan_to_num(counts)).astype(np.float64))

    def _by_text(self, history: History, opened: _Open, least: int) -> _Ranked:
        """Where no purchases are known: what is like what the shopper liked, else what is rated."""
        liked, worth = liked_rows(history)
        if not len(liked):
            return self._best_rated(opened.mask, max(2 * _HEAD, least))
        vectors = self._snapshot.vectors[liked].astype(np.float32)
        profile = (worth.astype(np.float32) @ vectors).astype(np.float32)
        profile /= max(float(np.linalg.norm(profile)), 1e-9)
        ranking = self._nearest(profile, 2 * _HEAD, opened, least=least)
        return _Ranked(ranking.rows, ranking.scores.astype(np.float64))

    def _varied(self, rows: Rows, scores: NDArray[np.float64]) -> Rows:
        """The head in an order in which neighbours differ (Carbonell and Goldstein 1998)."""
        head = rows[:_HEAD]
        if len(head) < 3:
            return rows
        vectors = self._snapshot.vectors[head].astype(np.float32)
        cosines = vectors @ vectors.T
        left = (scores[: len(head)] - scores[0]) / (float(scores[: len(head)].std()) or 1.0)
        nearest = np.zeros(len(head))
        order: list[int] = []
        for _ in range(len(head)):
            best = int(np.argmax(left - _VARIETY * nearest))
            order.append(best)
            left[best] = -np.inf
            nearest = np.maximum(nearest, np.maximum(cosines[best], 0.0))
        return np.concatenate([head[order], rows[_HEAD:]])

    def _fresh(self, history: History, opened: _Open, least: int) -> Rows:
        """What nobody bought yet, best first, of `least` products where there are so many."""
        stored = self.stored
        if stored is None:
            return np.empty(0, dtype=np.int64)
        open_rows = opened.mask & (stored.item_of < 0)
        new = np.flatnonzero(open_rows).astype(np.int64)
        liked, worth = liked_rows(history)
        if len(new) > _FRESH_POOL and len(liked):
            profile = worth.astype(np.float32) @ self._snapshot.vectors[liked].astype(np.float32)
            new = self._nearest(profile, _FRESH_POOL, opened, least=least, new=True).rows
        elif len(new) > _FRESH_POOL:
            new = self._best_rated(open_rows, max(_FRESH_POOL, least)).rows
        sold = stored.model.best_sold(_EVERYBODY)
        sold = sold[stored.row_of[sold] >= 0]
        vectors = self._snapshot.vectors
        scores = rank_fresh(
            vectors[new].astype(np.float32),
            vectors[liked].astype(np.float32),
            stored.vectors(sold),
            stored.model.sold()[sold],
        )
        return new[np.lexsort((self._snapshot.id_rank[new], -scores))]

    def _one_a_group(self, rows: Rows, before: Rows) -> Rows:
        """Rows in order, of variants of one product the first alone; none of those `before`."""
        groups = self._snapshot.facets.groups
        seen = set(groups(before).tolist())
        kept = []
        for row, group in zip(rows.tolist(), groups(rows).tolist(), strict=True):
            if group not in seen:
                kept.append(row)
                seen.add(group)
        return np.array(kept, dtype=np.int64)

    def _explained(
        self,
        rows: Rows,
        history: History,
        ranked: _Ranked,
        fresh: set[int],
        features: Mapping[int, Mapping[str, Part]],
    ) -> list[Recommendation]:
        """The products at these rows, each with what speaks for it."""
        popular = self._popular(rows).tolist()
        reasons = [
            find_reason(
                row, history, self._snapshot.vectors, self.stored, new=row in fresh, popular=many
            )
            for row, many in zip(rows.tolist(), popular, strict=True)
        ]
        scores = dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
        causes = sorted({cause for _, cause in reasons if cause is not None})
        named = dict(zip(causes, self._snapshot.products.fetch(causes), strict=True))
        return [
            Recommendation(
                product=product,
                rank=rank,
                score=float(scores.get(row, 0.0)),
                reason=reason,
                because=None if cause is None else named[cause],
                features=features.get(row, {}),
            )
            for rank, (row, product, (reason, cause)) in enumerate(
                zip(rows.tolist(), self._snapshot.products.fetch(rows), reasons, strict=True),
                start=1,
            )
        ]

    def _popular(self, rows: Rows) -> NDArray[np.bool_]:
        """Which of these were bought or rated by anyone; (rows,)."""
        rated = self._snapshot.facets.numbers("rating_count")[rows] > 0
        return rated if self.stored is None else rated | (self.stored.item_of[rows] >= 0)


def _mixed(ranked: Rows, fresh: Rows, k: int) -> Rows:
    """The `k` best, with every tenth place given to something new."""
    mixed: list[int] = ranked.tolist()
    for number, row in enumerate(fresh.tolist(), start=1):
        mixed.insert(number * _FRESH_EVERY - 1, row)
    return np.array(mixed[:k], dtype=np.int64)
