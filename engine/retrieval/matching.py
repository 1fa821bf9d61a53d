"""Which products a query matches: what is counted, listed and faceted.

A product matches where keyword search gives it at least half of its best score, or its cosine is
at least half of the mean of the ten best. The rule knows the query and the whole catalog, neither
filters nor the page: so a total is the same on every page, and what a facet counts is what choosing
it returns. How it was calibrated: docs/log.md.
"""

from __future__ import annotations

from threading import Lock
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from engine.arrays import union
from engine.protocols import DenseRetriever, LexicalRetriever
from engine.types import Above, Ranking, Rows, Scores

MOST = 10_000
"""Products that are counted; of more it is said that there are at least so many."""
KEYWORD_SHARE = 0.5
COSINE_SHARE = 0.5
_NEAREST = 10
_KEPT_ROWS = 2_000_000  # of the queries asked last: 24 MB


class Matches(NamedTuple):
    """What a query matches."""

    rows: Rows
    """Ascending."""
    scores: Scores
    """How well: keyword score and cosine as shares of their best, added; (n,)."""
    complete: bool
    """False where there are more, or may be: an approximate index sees a part of what is near."""
    said_best: float = 1.0
    """The best keyword score."""
    level: float = 0.0
    """The mean of the ten best cosines; 0 where none is positive."""

    def widened(self, said: Ranking, meant: Ranking) -> Matches:
        """These, and what else matches of the best under a filter.

        Where not all that matches is known, what a filter leaves of it may be nothing. Where it is,
        they stay as they are.

        Args:
            said: the best by keyword score that the filter allows.
            meant: by cosine.
        """
        if self.complete:
            return self
        said = _at_least(said, KEYWORD_SHARE * self.said_best)
        meant = _at_least(meant, COSINE_SHARE * self.level) if self.level else Ranking.empty()
        rows, scores = _joined(said, self.said_best, meant, self.level)
        new = ~np.isin(rows, self.rows, assume_unique=True)
        every = np.concatenate([self.rows, rows[new]])
        order = np.argsort(every)
        worth = np.concatenate([self.scores, scores[new]])[order]
        return self._replace(rows=every[order], scores=worth)


class Matcher:
    """Finds what queries match in one snapshot. Safe to use from many threads."""

    def __init__(
        self,
        lexical: LexicalRetriever,
        dense: DenseRetriever,
        *,
        depth: int = _NEAREST,
        keep: bool = True,
    ) -> None:
        """Prepare; nothing is looked for yet.

        Args:
            lexical: finds words.
            dense: finds neighbours.
            depth: how many of them are looked for where none are given: an approximate index may
                find others of the nearest ten for another number.
            keep: whether what a query matches is remembered.
        """
        self._lexical = lexical
        self._dense = dense
        self._depth = max(depth, _NEAREST)
        self._keep = keep
        self._known: LRUCache[str, Matches] = LRUCache(_KEPT_ROWS, getsizeof=_size)
        self._lock = Lock()

    def knows(self, text: str) -> bool:
        """Whether what a query matches was found already."""
        with self._lock:
            return text in self._known

    def of(
        self,
        text: str,
        vector: NDArray[np.float32],
        keyword: Ranking | None = None,
        nearest: Ranking | None = None,
    ) -> Matches:
        """What a query matches.

        Args:
            text: cleaned.
            vector: its own, (dim,).
            keyword: products by keyword score, best first, without filters: all that have the
                share of the best, or more than `MOST` of them. Looked for if left out.
            nearest: the nearest without filters, where they are known.
        """
        with self._lock:
            known = self._known.get(text)
        if known is None:
            if keyword is None:
                collected = self._lexical.search_and_collect(
                    text, 0, None, most=MOST + 1, share=KEYWORD_SHARE
                )
                keyword = collected.products
            known = self._find(_said(keyword), vector, nearest or Ranking.empty())
            if self._keep:
                with self._lock:
                    self._known[text] = known
        return known

    def _find(self, said: Ranking, vector: NDArray[np.float32], nearest: Ranking) -> Matches:
        best = float(said.scores[0]) if len(said) else 1.0
        if len(nearest) < _NEAREST:
            (nearest,) = self._dense.search(vector[None, :], self._depth, then_above=True)
        nearest = nearest.top(_NEAREST)
        level = float(nearest.scores.mean()) if len(nearest) else 0.0
        meant, complete = (
            self._dense.above(vector, COSINE_SHARE * level, MOST + 1)
            if level > 0
            else Above(nearest, complete=True)
        )
        rows, scores = _joined(said, best, meant, level)
        if len(rows) > MOST:
            complete = False
            kept = np.sort(np.argsort(-scores, kind="stable")[:MOST])
            rows, scores = rows[kept], scores[kept]
        return Matches(rows, scores, complete, best, max(level, 0.0))


def _joined(said: Ranking, best: float, meant: Ranking, level: float) -> tuple[Rows, Scores]:
    """Rows of either, ascending, and how well they match."""
    rows = union(said.rows, meant.rows)
    scores = np.zeros(len(rows), dtype=np.float32)
    scores[np.searchsorted(rows, said.rows)] += said.scores / best
    if level > 0:
        scores[np.searchsorted(rows, meant.rows)] += meant.scores / np.float32(level)
    return rows, scores


def _at_least(ranking: Ranking, least: float) -> Ranking:
    return ranking.top(int((ranking.scores >= np.float32(least)).sum()))


def _said(keyword: Ranking) -> Ranking:
    """What has at least the share of the best keyword score; one more than `MOST` tell enough."""
    least = np.float32(KEYWORD_SHARE) * keyword.scores[:1]
    return keyword.top(min(MOST + 1, int((keyword.scores >= least).sum())))


def _size(found: Matches) -> int:
    return len(found.rows) + 1
