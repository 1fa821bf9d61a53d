"""What words mean in the catalog: its own brands, colours, shelves, materials, prices.

Grammar and the tagger guess what the words name; the catalog has to have it, or nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.analysis import analyze
from engine.errors import FilterError
from engine.guide.needs import Constraint
from engine.retrieval.facets import Facets
from engine.retrieval.filters import allowed_rows
from engine.snapshot import Snapshot
from engine.types import AnyOf

FIELDS = {
    "creator": "brand",
    "color": "color",
    "core_product_type": "category",
    "material": "material",
    "UoM": "size",
    "shape": "shape",
    "department": "audience",
    "origin": "origin",
}
"""Where a catalog keeps what a span of a type names, if it has such a field or attribute."""

_PROBED = 100  # products with the words beside a price
_LEAST_WITHIN = 0.05  # of them, where a bare number is one


@dataclass(frozen=True, slots=True)
class Grounded:
    """The catalog's values that some words name."""

    field: str
    """As the catalog has it; an attribute by its bare name."""
    values: tuple[str, ...]
    """As the catalog writes them, at least one."""

    @property
    def condition(self) -> AnyOf:
        """The filter that it would be."""
        return AnyOf(self.field, self.values)


def ground(kind: str, words: str, facets: Facets) -> Grounded | None:
    """What words of a type name in the catalog; None where it has no such value, or nothing but it.

    A value is meant that has these words and no other, endings aside; a colour is meant by all
    values that hold them ("black": "Black", "Matte Black").
    """
    field = FIELDS.get(kind)
    if field is None or not facets.has(field):
        return None
    try:
        values = facets.values_with(field, words)
        if field != "color":
            terms = set(analyze(words))
            values = tuple(value for value in values if set(analyze(value)) == terms)
        holding = len(facets.holding(field, values[0] if values else words))
    except FilterError:  # no name at all
        return None
    if holding in {0, facets.size}:
        return None
    return Grounded(field, values or (words,))


def is_price(bound: Constraint, words: str, snapshot: Snapshot) -> bool:
    """Whether a stated bound is one of the price, beside these words.

    "Toys for kids under 5" and "tent for up to 4" may mean no money. A number without a currency is
    a price where some of what is found for the words costs so little; a lower bound alone is none.
    """
    if bound.explicit:
        return True
    if bound.high is None:
        return False
    rows = snapshot.lexical.typical(words, _PROBED)
    allowed = allowed_rows(bound.to_filter(), snapshot.facets)
    return not len(rows) or float(allowed.mask[rows].mean()) >= _LEAST_WITHIN
