"""A product as one bag of terms: what keyword search reads of it.

A field of weight w stands w times in the bag, so a term has one posting list whatever fields hold
it (BM25F with one length normalisation; Robertson, Zaragoza and Taylor 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from engine.analysis import analyze
from engine.exclusion import absent
from engine.types import AttributeValue, Product

_WEIGHTS = {"title": 5, "brand": 2, "color": 2}  # every other text counts once
_TEXTS = "2"  # raise it with any change to which texts a product's bag holds
BAG = f"{_TEXTS}|{_WEIGHTS}"
"""Decides which terms a product has, and how often."""

_REPEATED = 80  # characters: brands, shelves and attributes that many products have alike


def _attribute_text(name: str, value: AttributeValue) -> str:
    """Name and value; a flag that is off says nothing."""
    if isinstance(value, bool):
        return name if value else ""
    words = value if isinstance(value, list) else [value]
    return " ".join([name, *map(str, words)])


def _plain_texts(product: Product) -> Iterator[str]:
    """The texts of weight 1."""
    yield from product.category
    yield from product.bullet_points
    yield product.description
    yield from (_attribute_text(name, value) for name, value in product.attributes.items())
    yield product.sku
    yield product.gtin


def bag(product: Product, read: Callable[[str], Sequence[str]]) -> list[str]:
    """The product's terms, each as often as its fields weigh; `read` gives those of a text."""
    terms = [term for text in _plain_texts(product) for term in read(text)]
    for field, weight in _WEIGHTS.items():
        terms += [*read(getattr(product, field))] * weight
    return terms


def terms_of(product: Product) -> str:
    """The product's terms as `LexicalBuilder` takes them."""
    return " ".join(bag(product, _both))


def _both(text: str) -> list[str] | tuple[str, ...]:
    """The terms of a text, and those of what it says is not there."""
    return _both_known(text) if len(text) <= _REPEATED else both_of(text)


def both_of(text: str) -> list[str]:
    """As `_both`, of any text, read anew."""
    return analyze(text) + absent(text)


@lru_cache(maxsize=65_536)
def _both_known(text: str) -> tuple[str, ...]:
    return tuple(both_of(text))
