from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.guide.spans import Span, SpanTagger, shipped_tagger
from engine.guide.understanding import QueryReader, Statement
from engine.snapshot import Snapshot
from engine.store import SnapshotStore


@pytest.fixture(scope="module")
def shop(shop_store: Path) -> Snapshot:
    return Snapshot.open(SnapshotStore(shop_store).current())


class Saying(SpanTagger):
    """A tagger that says what it is told of words: type and confidence."""

    def __init__(self, **says: tuple[str, float]) -> None:
        self._says = says

    def tag(self, query: str) -> list[Span]:
        return [
            Span(word, start := query.index(word), start + len(word), *self._says[word])
            for word in query.split()
            if word in self._says
        ]


def of(statements: Sequence[Statement], field: str) -> Statement | None:
    return next((one for one in statements if one.field == field), None)


def read(snapshot: Snapshot, text: str, **says: tuple[str, float]) -> list[Statement]:
    return QueryReader(snapshot, Saying(**says)).read(text)


def test_a_brand_in_small_letters_is_understood(shop: Snapshot) -> None:
    brand = of(QueryReader(shop, shipped_tagger()).read("aurio headphones"), "brand")

    assert brand is not None
    assert (brand.value, brand.words, brand.start, brand.negated) == ("Aurio", "aurio", 0, False)


def test_a_brand_that_the_catalog_lacks_is_not(shop: Snapshot) -> None:
    assert of(read(shop, "nike headphones", nike=("creator", 0.99)), "brand") is None


def test_endings_do_not_hide_a_shelf(shop: Snapshot) -> None:
    shelf = of(read(shop, "small kettle", kettle=("core_product_type", 0.9)), "category")

    assert shelf is not None
    assert (shelf.value, shelf.confidence) == ("Kettles", 0.9)


def test_a_field_that_the_catalog_lacks_is_passed_over(shop: Snapshot) -> None:
    assert read(shop, "denim kettle", denim=("material", 0.9)) == []


def test_a_colour_is_doubted_where_its_word_names_something_else(shop: Snapshot) -> None:
    alone = of(read(shop, "black headphones"), "color")
    assert alone is not None

    other = of(read(shop, "black headphones", black=("product_name", 0.9)), "color")
    same = of(read(shop, "black headphones", black=("color", 0.9)), "color")

    assert other is None
    assert same is not None
    assert same.confidence >= max(alone.confidence, 0.9)


@pytest.mark.parametrize("text", ["headphones not aurio", "headphones without aurio"])
def test_what_is_refused_is_no_wish(shop: Snapshot, text: str) -> None:
    assert of(read(shop, text, aurio=("creator", 0.9)), "brand") is None


def test_a_refusal_is_read_as_before(shop: Snapshot) -> None:
    colour = of(read(shop, "headphones not black", black=("product_name", 0.9)), "color")

    assert colour is not None
    assert colour.negated
