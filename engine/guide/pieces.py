"""A product's texts, cut into pieces that can be cited: each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.normal import comparable
from engine.numbers import plain_number
from engine.types import AttributeValue, Product

MOST_CHARS = 600
"""Of a piece: longer sentences and bullet points are cut, and cited as far as they are shown."""

_NO = {"no", "n", "none", "false", "not included", "not supported"}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？；])|\n+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement of the catalog and where it stands."""

    text: str
    """As a reader would be shown it: letter for letter, or `name: value` where it is no prose."""
    field: str
    """`title`, `description`, `bullet_points`, another field, or `attributes.NAME`."""
    index: int | None = None
    """Which bullet point, from 0."""
    start: int | None = None
    """Of prose: its characters are those of the field from here …"""
    end: int | None = None
    """… up to here."""
    denied: str = ""
    """Where the statement is no more than a name and "no": what the product does not have or do."""


def pieces_of(product: Product) -> list[Piece]:
    """Everything the catalog says of a product: title, fields, attributes, bullets, sentences."""
    return [
        _prose(product.title, "title"),
        *_fields(product),
        *(_attribute(name, value) for name, value in product.attributes.items()),
        *(
            _prose(text, "bullet_points", index=place)
            for place, text in enumerate(product.bullet_points)
        ),
        *_sentences(product.description),
    ]


def _prose(text: str, field: str, index: int | None = None, start: int = 0) -> Piece:
    shown = text[:MOST_CHARS]
    label, _, value = shown.partition(":")
    denied = label.strip() if _denies(value.rstrip(" .")) else ""
    return Piece(shown, field, index, start, start + len(shown), denied)


def _fields(product: Product) -> Iterator[Piece]:
    """The fields that are no prose."""
    if product.brand:
        yield Piece(f"brand: {product.brand}", "brand")
    if product.color:
        yield Piece(f"color: {product.color}", "color")
    if product.category:
        yield Piece(f"category: {' > '.join(product.category)}", "category")
    if product.price is not None:
        yield Piece(f"price: {plain_number(product.price)} {product.currency}".strip(), "price")
    if product.rating is not None:
        yield Piece(f"rating: {plain_number(product.rating)}", "rating")
    if product.in_stock is not None:
        yield Piece(f"in stock: {'yes' if product.in_stock else 'no'}", "in_stock")


def _attribute(name: str, value: AttributeValue) -> Piece:
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    else:
        shown = ", ".join(value) if isinstance(value, list) else f"{value}"
    label = name.replace("_", " ")
    denied = label if value is False or _denies(value) else ""
    return Piece(f"{label}: {shown}"[:MOST_CHARS], f"attributes.{name}", denied=denied)


def _denies(value: AttributeValue) -> bool:
    """Whether a text says no."""
    return isinstance(value, str) and comparable(value) in _NO


def _sentences(text: str) -> Iterator[Piece]:
    """The sentences of a description."""
    start = 0
    ends = [(match.start(), match.end()) for match in _SENTENCE_END.finditer(text)]
    for stop, following in [*ends, (len(text), len(text))]:
        sentence = text[start:stop]
        if stripped := sentence.strip():
            yield _prose(stripped, "description", start=start + sentence.index(stripped))
        start = following
