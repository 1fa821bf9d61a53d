from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from engine.errors import QueryError
from engine.guide.guide import ShoppingGuide
from engine.guide.relax import relax_filter, wording, wordings
from engine.retrieval.filters import parse_filters
from engine.settings import load_settings
from engine.types import And, AnyOf, Between, Filter, Not, Product
from indexer.build import IndexOptions, index_catalog
from tests.shop import PRODUCTS, write_catalog

MORE = tuple(
    replace(product, id=f"{product.id}-{n}", sku="", gtin="")
    for n in range(3)
    for product in PRODUCTS
)


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> ShoppingGuide:
    """Four of each product of the small shop."""
    folder: Path = tmp_path_factory.mktemp("navigate")
    catalog = write_catalog(folder / "catalog.jsonl", (*PRODUCTS, *MORE))
    index_catalog(catalog, folder / "store", IndexOptions(reranker=None, ranking=None))
    return ShoppingGuide.open(folder / "store")


def shown(guide: ShoppingGuide, text: str) -> list[Product]:
    return [hit.product for hit in guide.navigate(text, k=50).result.hits]


def test_a_word_the_catalog_lacks_is_spelt_as_it_spells_it(guide: ShoppingGuide) -> None:
    found = guide.navigate("whistling kettel")

    assert found.navigation.did_you_mean == "whistling kettle"
    assert found.navigation.corrected
    assert found.result.query.text == "whistling kettle"


def test_words_written_as_one_are_parted(guide: ShoppingGuide) -> None:
    assert guide.navigate("tentpegs").navigation.did_you_mean == "tent pegs"


@pytest.mark.parametrize(
    "text",
    ["cant sleep", "wont leak", "kettle", "stretch belt", "grill", "WH-900", "77001", "保温杯"],
)
def test_what_is_known_a_word_of_the_language_or_a_number_stays(
    guide: ShoppingGuide, text: str
) -> None:
    found = guide.navigate(text)

    assert found.navigation.did_you_mean is None
    assert found.result.query.text == text


def test_nothing_is_read_where_that_is_not_wanted(guide: ShoppingGuide) -> None:
    found = guide.navigate("kettel under $40", read=False)

    assert found.result.query.text == "kettel under $40"
    assert found.navigation.did_you_mean is None
    assert found.navigation.understood == ()


def test_a_price_becomes_a_filter_and_says_so(guide: ShoppingGuide) -> None:
    found = guide.navigate("kettle under $40", k=50)

    (price,) = (one for one in found.navigation.understood if one.field == "price")
    assert price.applied
    assert found.navigation.read == "kettle under $40"
    assert found.navigation.read[price.start : price.stop] == "under $40"
    assert all(hit.product.price and hit.product.price <= 40 for hit in found.result.hits)
    assert found.result.query.text == "kettle"


def test_a_refused_brand_is_not_shown(guide: ShoppingGuide) -> None:
    assert {product.brand for product in shown(guide, "kettle coffee not Emberly")} >= {"清泉"}
    assert "Emberly" not in {product.brand for product in shown(guide, "kettle not Emberly")}


def test_where_a_refusal_leaves_nothing_that_is_said(guide: ShoppingGuide) -> None:
    found = guide.navigate("headphones not Aurio")

    assert found.result.count == 0
    (way,) = found.navigation.relaxations
    assert way.given_up == ("brand!=Aurio",)
    assert way.products == guide.navigate("headphones", k=50).result.count


def test_no_more_than_a_price_is_up_to_it(guide: ShoppingGuide) -> None:
    found = guide.navigate("kettle no more than $40")

    (price,) = (one for one in found.navigation.understood if one.field == "price")
    assert (price.value, price.words, price.applied) == ("..40", "no more than $40", True)
    assert all(hit.product.price and hit.product.price <= 40 for hit in found.result.hits)


@pytest.mark.parametrize("text", ["kettle for up to 4", "kettle for women over 30"])
def test_a_number_that_may_be_no_price_is_said_and_not_applied(
    guide: ShoppingGuide, text: str
) -> None:
    found = guide.navigate(text)

    (price,) = (one for one in found.navigation.understood if one.field == "price")
    assert not price.applied
    assert price.confidence <= 0.5
    assert found.result.total == guide.navigate(text, read=False).result.total


def test_a_refused_word_is_no_part_of_another(guide: ShoppingGuide) -> None:
    colors = [
        (one.words, one.start)
        for one in guide.navigate("blackout kettle not black").navigation.understood
        if one.field == "color" and one.negated
    ]

    assert colors == [("not black", 16)]


def test_a_price_that_leaves_nothing_is_said_and_not_applied(guide: ShoppingGuide) -> None:
    found = guide.navigate("kettle under $1")

    assert [one.applied for one in found.navigation.understood if one.field == "price"] == [False]
    assert found.result.hits


def test_the_shelves_of_the_best_products_are_named(guide: ShoppingGuide) -> None:
    near = guide.navigate("kettle").navigation.shelves

    assert "Kitchen > Kettles" in [one.shelf.title for one in near]
    kettles = next(one.shelf for one in near if one.shelf.title == "Kitchen > Kettles")
    assert kettles.products == 8


def test_where_filters_leave_nothing_the_nearest_way_on_is_named(guide: ShoppingGuide) -> None:
    filters = parse_filters(["brand=Emberly", "price>=5000"])

    (way,) = guide.navigate("kettle", filters=filters).navigation.relaxations

    assert way.given_up == ("price=5000..",)
    assert way.products == 8


def test_two_conditions_are_given_up_where_one_is_not_enough(guide: ShoppingGuide) -> None:
    filters = parse_filters(["brand=Nobody", "price>=5000", "in_stock=true"])

    (way,) = guide.navigate("kettle", filters=filters).navigation.relaxations

    assert set(way.given_up) == {"brand=Nobody", "price=5000.."}


@pytest.mark.parametrize(
    "expression", ["brand=Nike", "price=10..50", "price=..50", "color!=red", "in_stock=true"]
)
def test_conditions_are_worded_as_expressions(expression: str) -> None:
    (clause,) = parse_filters([expression]).clauses  # type: ignore[union-attr]

    assert wording(clause) == expression


def test_the_tree_has_counts(guide: ShoppingGuide) -> None:
    top = {one.title: (one.products, one.below) for one in guide.categories()}
    kitchen = {one.title: one.products for one in guide.categories("kitchen")}

    assert top["Kitchen"] == (20, 2)
    assert kitchen == {"Kitchen > Coffee": 12, "Kitchen > Kettles": 8}
    assert guide.categories("Nowhere") == []


def test_what_is_too_long_is_refused_and_not_kept(guide: ShoppingGuide) -> None:
    kept = guide.navigator._read.cache
    assert kept is not None
    before = len(kept)
    with pytest.raises(QueryError):
        guide.navigate("kettle " * 1_000)
    assert len(kept) == before


def test_without_a_cache_no_query_is_remembered(guide: ShoppingGuide) -> None:
    def remembered(guide: ShoppingGuide, street: str) -> bool:
        guide.navigate(f"jane q doe 12 {street} street kettle")
        gc.collect()
        texts = (
            text
            for one in gc.get_objects()
            if type(one) is not FrameType  # `isinstance` would wake what is loaded lazily
            for text in gc.get_referents(one)
            if type(text) is str
        )
        return any(f"12 {street} street" in text for text in texts)

    assert not remembered(ShoppingGuide(guide.snapshot, load_settings(cache=0)), "elm")
    assert remembered(guide, "oak")


@pytest.mark.parametrize("text", ["wireless hedphones", "Wireless Hédphones", "wireless HÉDPHONES"])
@pytest.mark.parametrize("price", ["$50 or less", "$20-$30", "< $50"])
def test_what_is_respelt_keeps_what_stands_beside_it(
    guide: ShoppingGuide, text: str, price: str
) -> None:
    found = guide.navigate(f"{text} {price}")
    assert found.navigation.did_you_mean is not None
    assert found.navigation.did_you_mean.casefold() == f"wireless headphones {price}"


def test_where_only_without_the_filter_something_fits_its_conditions_are_named_one_by_one(
    guide: ShoppingGuide,
) -> None:
    filters = parse_filters(["brand=Black and Decker", "in_stock=true"])
    found = guide.navigate("kettle").result
    nothing = replace(found, nothing_fits=True)
    ways = guide.navigator._ways_on(
        "kettle", filters, nothing, lambda _, rest: found if rest is None else nothing
    )
    assert [way.given_up for way in ways] == [("brand=Black and Decker", "in_stock=true")]


def test_a_long_filter_is_given_up_by_conditions_and_counted_by_all_others() -> None:
    shelf = {"red": 3, "blue": 4}
    others: tuple[Filter, ...] = tuple(Not(AnyOf("brand", (f"b{number}",))) for number in range(9))
    clauses: tuple[Filter, ...] = (Between("price", None, 1.0), *others, AnyOf("color", ("red",)))

    def passing(rest: Filter | None) -> int:
        assert isinstance(rest, And)
        if clauses[0] in rest.clauses:
            return 0
        assert set(others) <= set(rest.clauses)
        return shelf["red"] if clauses[-1] in rest.clauses else sum(shelf.values())

    (way,) = relax_filter(And(clauses), passing, passing)
    assert way.given_up == ("price=..1",)
    assert way.products == 3
    assert way.filters == And(clauses[1:])
    assert wordings(And(clauses))[-1] == "color=red"
