"""Which fields are worth offering to narrow a result by: those that part its products best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from engine.normal import comparable
from engine.retrieval.counts import RANGES, SINGLE
from engine.types import AttributeValue, Product

MOST_TELLING = 5
"""Fields that are offered."""

_OWN = ("brand", "color", "price", "rating", "in_stock")  # the category is offered as shelves
_READ = 8  # values of a field that a shopper reads
_LEAST = 0.1  # worth from which a field is offered

Labels = tuple[frozenset[Hashable], ...]
"""What each product has of one field; empty where it has nothing."""


def telling_fields(products: Sequence[Product]) -> list[str]:
    """The fields that part these products best, the best first; at most `MOST_TELLING`.

    A field is worth the share of the products that a shopper gets rid of by choosing in it what the
    product they are after has, on average over the products: nothing where a product has no value,
    or one behind the first that are read. Fields that part the products alike are offered once.

    Args:
        products: the best of a result.

    Returns:
        Names as filters take them.
    """
    labels = _labels(products)
    worth = {name: _worth(own) for name, own in labels.items()}
    ranked = sorted(labels, key=lambda name: (-worth[name], name not in _OWN, name))
    chosen: list[str] = []
    parted: set[tuple[int, ...]] = set()
    for name in ranked:
        parts = _parts(labels[name])
        if worth[name] >= _LEAST and parts not in parted:
            chosen.append(name)
            parted.add(parts)
    return chosen[:MOST_TELLING]


def _labels(products: Sequence[Product]) -> dict[str, Labels]:
    """By field what each product has."""
    held: dict[str, list[frozenset[Hashable]]] = {}
    names: dict[str, str] = {}  # as first written, by how filters compare them
    for place, product in enumerate(products):
        for name, value in _values(product):
            key = names.setdefault(comparable(name), name)
            own = held.setdefault(key, [frozenset()] * len(products))
            own[place] |= _of_value(value)
    return {name: _in_ranges(own) for name, own in held.items()}


def _values(product: Product) -> Iterator[tuple[str, AttributeValue]]:
    for name in _OWN:
        value = getattr(product, name)
        if value not in {None, ""}:
            yield name, value
    taken = {comparable(name) for name in Product.__slots__}
    for name, value in product.attributes.items():
        if comparable(name) not in taken:
            yield name, value


def _of_value(value: AttributeValue) -> frozenset[Hashable]:
    match value:
        case bool():
            return frozenset({str(value)})
        case int() | float():
            return frozenset({float(value)})
        case str():
            return frozenset({comparable(value)})
        case _:
            return frozenset(map(comparable, value))


def _in_ranges(own: Sequence[frozenset[Hashable]]) -> Labels:
    """Many numbers as the ranges they are counted in, of about as many products each."""
    numbers = sorted(one for part in own for one in part if isinstance(one, float))
    if len(set(numbers)) <= SINGLE:
        return tuple(own)
    range_of: dict[Hashable, int] = {}
    for at, one in enumerate(numbers):  # equal numbers stay together
        range_of.setdefault(one, at * RANGES // len(numbers))
    return tuple(frozenset(range_of.get(one, one) for one in part) for part in own)


def _worth(own: Labels) -> float:
    """The share of the products that choosing in the field leaves out: see `telling_fields`."""
    counts = Counter(one for part in own for one in part)
    total = max(len(own), counts.total())
    return sum(count / total * (1 - count / len(own)) for _, count in counts.most_common(_READ))


def _parts(own: Labels) -> tuple[int, ...]:
    """Which products have the same, whatever that is called."""
    first: dict[frozenset[Hashable], int] = {}
    return tuple(first.setdefault(part, place) for place, part in enumerate(own))
