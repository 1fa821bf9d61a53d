"""What a result holds of a field: how many of its products have each value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.retrieval.dates import DAY, dated, day_of
from engine.retrieval.facets import Facets
from engine.types import Facet, FacetValue, Rows

MOST_VALUES = 20
"""Values of a field that are listed."""
_MOST_PATHS = 1_000  # category terms looked at
RANGES = 6
"""Ranges that numbers are parted into, of about as many results each."""
SINGLE = 10
"""So many distinct numbers are listed by themselves."""

Keys = NDArray[np.int64]
"""For each row of a result the product it counts as: variants that are shown as one share it."""


def count(facets: Facets, name: str, rows: Rows, keys: Keys) -> Facet:
    """The values that the rows of a result have in a field.

    Args:
        facets: of the snapshot.
        name: of the field; attributes may be named bare.
        rows: of the result, ascending.
        keys: what each counts as, shape (len(rows),).

    Raises:
        FilterError: no product has such a field.
    """
    column = facets.field(name)
    terms, more = _terms(facets, column, rows, keys)
    return Facet(name, (*terms, *_ranges(facets, column, rows, keys)), more)


def _terms(facets: Facets, column: str, rows: Rows, keys: Keys) -> tuple[list[FacetValue], int]:
    """The terms of most results, by name where they are as many, and how many more there are."""
    places, starts = facets.entries(column, rows)
    counted = np.unique(np.stack([starts.astype(np.int64), keys[places]]), axis=1)
    values, counts = np.unique(counted[0], return_counts=True)
    order = np.lexsort((values, -counts))  # postings begin in the order of their terms' names
    if column == "category":
        order = order[:_MOST_PATHS]
        order = order[_from_the_top(facets, values[order])]
    listed = [
        FacetValue(int(counts[place]), facets.display(column, int(values[place])))
        for place in order[:MOST_VALUES]
    ]
    return listed, max(0, len(order) - MOST_VALUES)


def _from_the_top(facets: Facets, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the category terms that are paths from the top, and no inner level's name alone.

    A path of two levels or more says so itself; a bare name is a first level where some path
    begins with it.
    """
    names = [facets.display("category", int(start)) for start in starts]
    tops = {name.partition(" > ")[0].casefold() for name in names if " > " in name}
    inner = {level.casefold() for name in names for level in name.split(" > ")[1:]}
    kept = [
        place
        for place, name in enumerate(names)
        if " > " in name or name.casefold() in tops or name.casefold() not in inner
    ]
    return np.array(kept, dtype=np.int64)


def _ranges(facets: Facets, column: str, rows: Rows, keys: Keys) -> list[FacetValue]:
    """Ranges of the field's numbers that hold about as many results each, ascending.

    Dates are parted by days, both of which belong to a range whole.
    """
    numbers, places = facets.numbers_of(column, rows)
    if not len(numbers):
        return []
    if dated(column):
        numbers = np.floor(numbers / DAY) * DAY
    bound = day_of if dated(column) else float
    owners = keys[places]
    distinct, first = np.unique(numbers, return_index=True)
    if len(distinct) > SINGLE:  # equal numbers stay together
        wanted = np.linspace(0, len(numbers), RANGES + 1)[:-1]
        first = np.unique(
            first[np.searchsorted(first, wanted, side="left").clip(max=len(first) - 1)]
        )
    stops = np.append(first[1:], len(numbers))
    return [
        FacetValue(
            len(np.unique(owners[start:stop])),
            low=bound(numbers[start]),
            high=bound(numbers[stop - 1]),
        )
        for start, stop in zip(first.tolist(), stops.tolist(), strict=True)
    ]
