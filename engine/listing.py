"""From a ranking to the page that is shown: what matches, in which order, and what is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.arrays import places_in, union
from engine.errors import FilterError
from engine.retrieval.counts import count
from engine.retrieval.facets import Facets
from engine.retrieval.matching import Matches
from engine.retrieval.telling import telling_fields
from engine.types import Facet, Product, Ranking, Rows, RowSet, Scores, Sort

TELLING = "*"
_READ = 100  # of the best products, to choose the fields by

_COLUMNS = {
    Sort.PRICE: ("price", 1),
    Sort.PRICE_DOWN: ("price", -1),
    Sort.RATING: ("rating", -1),
    Sort.NEWEST: ("created_at", -1),
}
"""By order the numeric field, and what it is multiplied by to ascend."""
_LAST = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class View:
    """How a result is to be shown."""

    sort: Sort = Sort.RELEVANCE
    collapse: bool = False
    """Show variants that share a `group_id` as one: the best of them."""
    facets: tuple[str, ...] = ()
    """Fields whose values are counted; `TELLING` stands for those that part the result best."""
    ranked: bool = False
    """List all that was ranked, whether it matches or not, and nothing else: for training."""


AS_RANKED = View()
"""By relevance, every variant, nothing counted."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All results of a query, in order."""

    ranking: Ranking
    total: int | None = None
    """None where what matches was not asked for."""
    total_is_least: bool = False
    facets: tuple[Facet, ...] = ()


class Lister:
    """Lists the results of one snapshot's searches. Safe to use from many threads."""

    def __init__(
        self,
        facets: Facets,
        id_rank: NDArray[np.int32],
        fetch: Callable[[Rows], Sequence[Product]],
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            facets: of the snapshot.
            id_rank: for each row its product id's place in ascending order, (products,).
            fetch: products by row.
        """
        self._facets = facets
        self._id_rank = id_rank
        self._fetch = fetch

    def list(
        self, ranking: Ranking, leaders: Rows, matches: Matches, allowed: RowSet | None, view: View
    ) -> Listing:
        """What matches and is allowed: as ranked, then the rest by how well it matches.

        Args:
            ranking: of the last stage; what does not match is left out.
            leaders: what was asked for by its id: it matches, and is ranked first.
            matches: what the query matches without filters.
            allowed: what the filters allow; None without any.
            view: how to show it.

        Raises:
            FilterError: no product has a field to be counted.
        """
        rows = union(matches.rows, leaders)
        if allowed is not None:
            rows = rows[allowed.mask[rows]]
        ordered = self._ordered(ranking, rows, matches)
        fields = self._fields(view.facets, ordered.rows)
        if view.sort is not Sort.RELEVANCE:
            ordered = self._sorted(ordered, view.sort)
        keys = self._facets.groups(rows) if view.collapse else rows
        if view.collapse:
            ordered = _first_of_each(ordered, keys[np.searchsorted(rows, ordered.rows)])
        return Listing(
            ranking=ordered,
            total=len(ordered),
            total_is_least=not matches.complete,
            facets=tuple(count(self._facets, name, rows, keys) for name in fields),
        )

    def _fields(self, asked: Sequence[str], ranked: Rows) -> Sequence[str]:
        """The fields to be counted, by the best products where they are not named.

        Raises:
            FilterError: no product has one.
        """
        named = [name for name in asked if name != TELLING]
        try:
            known = {self._facets.field(name) for name in named}
        except FilterError as error:
            raise FilterError(str(error), part="facets") from error
        if TELLING not in asked:
            return named
        telling = telling_fields(self._fetch(ranked[:_READ]))
        return [*named, *(name for name in telling if self._facets.field(name) not in known)]

    def _ordered(self, ranking: Ranking, rows: Rows, matches: Matches) -> Ranking:
        """The rows as ranked, those that were not ranked behind."""
        places, kept = places_in(rows, ranking.rows)
        ranked = Ranking(ranking.rows[kept], ranking.scores[kept])
        left = np.ones(len(rows), dtype=np.bool_)
        left[places[kept]] = False
        others = rows[left]
        rest = Ranking.sort(others, _worth(others, matches), self._id_rank)
        floor = np.float32(min(float(ranked.scores[-1]), 0.0) if len(ranked) else 0.0)
        below = floor - 1 + _descending(len(rest))
        return Ranking(
            np.concatenate([ranked.rows, rest.rows]), np.concatenate([ranked.scores, below])
        )

    def _sorted(self, ranking: Ranking, sort: Sort) -> Ranking:
        """By the number of a field, what has none last; as ranked where it is the same."""
        field, sign = _COLUMNS[sort]
        places = self._facets.places(field)[ranking.rows]
        order = np.argsort(np.where(places < 0, _LAST, sign * places), kind="stable")
        return Ranking(ranking.rows[order], _descending(len(order)))


def _worth(rows: Rows, matches: Matches) -> Scores:
    worth = np.zeros(len(rows), dtype=np.float32)
    places, there = places_in(matches.rows, rows)
    worth[there] = matches.scores[places[there]]
    return worth


def _descending(count: int) -> Scores:
    """Scores that say nothing but the order."""
    return np.arange(0, -count, -1, dtype=np.float32)


def _first_of_each(ranking: Ranking, keys: NDArray[np.int64]) -> Ranking:
    """The first row of each key, in their order."""
    first = np.sort(np.unique(keys, return_index=True)[1])
    return Ranking(ranking.rows[first], ranking.scores[first])
