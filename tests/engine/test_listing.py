"""Totals, facets, order and variants, beside a reference that looks at every product."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import FilterError
from engine.listing import TELLING, Lister, View
from engine.normal import comparable
from engine.retrieval.facet_builder import category_terms
from engine.retrieval.filters import filter_from_json, parse_filters
from engine.retrieval.matching import COSINE_SHARE, KEYWORD_SHARE, Matcher, Matches
from engine.search import SearchEngine
from engine.settings import load_settings
from engine.snapshot import Snapshot
from engine.types import (
    And,
    AnyOf,
    Between,
    Facet,
    FacetValue,
    Filter,
    Not,
    Or,
    Product,
    Ranking,
    SearchResult,
    Sort,
)
from tests.engine.lists import search_through_lists
from tests.parts import facets_of

FIELDS = ("brand", "category", "price", "in_stock", "material", "color")
QUERIES = (
    "kettle", "quiet fan for bedroom", "stainless steel", "gift for a 5 year old", "乌龙茶",
    "waterproof jacket", "rug without fringe", "usb c cable 6 ft", "something warm", "qwertz",
    "DGCB144B9", "desk lamp", "coffee",
)  # fmt: skip


class Shop:
    """The demo catalog, held in memory, and the engine over it."""

    def __init__(self, store: Path) -> None:
        self.engine = SearchEngine.open(store, load_settings(cache=0))
        count = len(self.engine.snapshot)
        self.products = self.engine.snapshot.products.fetch(np.arange(count))
        self.vectors = np.asarray(self.engine.snapshot.vectors, dtype=np.float32)

    def matching(self, text: str) -> tuple[set[str], set[str]]:
        """Ids that surely match, and those that may by rounding."""
        snapshot = self.engine.snapshot
        (keyword,) = snapshot.lexical.search([text], len(snapshot))
        cosines = self.vectors @ snapshot.encoder.encode_queries([text])[0]
        least = COSINE_SHARE * float(np.sort(cosines)[-10:].mean())
        said = keyword.rows[keyword.scores >= KEYWORD_SHARE * max(keyword.scores, default=1)]
        printed = {
            product.id
            for product in self.products
            if text.casefold() in {product.id.casefold(), product.sku.casefold(), product.gtin}
        }
        sure = {self.products[row].id for row in said} | printed
        may = sure | {self.products[row].id for row in np.flatnonzero(cosines >= least - 1e-5)}
        return sure | {
            self.products[row].id for row in np.flatnonzero(cosines >= least + 1e-5)
        }, may

    def passing(self, condition: Filter | None, ids: Iterable[str]) -> list[Product]:
        known = {product.id: product for product in self.products}
        return [known[one] for one in ids if condition is None or passes(condition, known[one])]


@pytest.fixture(scope="module")
def shop(demo_store: Path) -> Shop:
    return Shop(demo_store)


def values(product: Product, field: str) -> list[object]:
    """What a product holds of a field, as a filter sees it."""
    match field:
        case "category":
            return list(category_terms(product.category))
        case "price":
            return [] if product.price is None else [product.price]
        case "in_stock":
            return [] if product.in_stock is None else [str(product.in_stock).lower()]
        case "brand" | "color":
            return [getattr(product, field)] if getattr(product, field) else []
    value = product.attributes.get(field)
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def passes(condition: Filter, product: Product) -> bool:
    match condition:
        case And(clauses):
            return all(passes(one, product) for one in clauses)
        case Or(clauses):
            return any(passes(one, product) for one in clauses)
        case Not(clause):
            return not passes(clause, product)
        case Between(field, low, high):
            numbers = [one for one in values(product, field) if isinstance(one, float | int)]
            return any((low or -math.inf) <= one <= (high or math.inf) for one in numbers)
        case AnyOf(field, wanted):
            held = {comparable(str(one)) for one in values(product, field)}
            return bool(held & {comparable(str(one).lower()) for one in wanted})


def key_of(product: Product, view: View) -> str:
    return f"group {product.group_id}" if view.collapse and product.group_id else product.id


def listed(shop: Shop, text: str, condition: Filter | None, view: View) -> list[Product]:
    """Every product of the result, page by page."""
    found: list[Product] = []
    while True:
        page = shop.engine.search(text, k=100, offset=len(found), filters=condition, view=view)
        assert page.total is not None
        assert [hit.rank for hit in page.hits] == list(
            range(len(found) + 1, len(found) + len(page.hits) + 1)
        )
        found += [hit.product for hit in page.hits]
        if len(page.hits) < 100:
            assert page.total == len(found)
            return found


CONDITIONS = st.one_of(
    st.none(),
    st.sampled_from(["Bramwick", "Tarrowby", "pellucca"]).map(lambda one: AnyOf("brand", (one,))),
    st.sampled_from(["Kitchen", "Kettles & Coffee", "Heating & Cooling"]).map(
        lambda one: AnyOf("category", (one,))
    ),
    st.tuples(st.integers(5, 40), st.integers(20, 200)).map(
        lambda pair: Between("price", float(pair[0]), float(pair[1]))
    ),
    st.booleans().map(lambda one: AnyOf("in_stock", (one,))),
    st.sampled_from(["stainless steel", "cotton", "wood"]).map(
        lambda one: Not(AnyOf("material", (one,)))
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.sampled_from(QUERIES), first=CONDITIONS, second=CONDITIONS,
    collapse=st.booleans(), sort=st.sampled_from(Sort), either=st.booleans(),
)  # fmt: skip
def test_nothing_differs_from_looking_at_every_product(  # noqa: PLR0917 - hypothesis names them
    shop: Shop,
    text: str,
    first: Filter | None,
    second: Filter | None,
    collapse: bool,
    sort: Sort,
    either: bool,
) -> None:
    clauses = tuple(one for one in (first, second) if one is not None)
    condition = None if not clauses else Or(clauses) if either else And(clauses)
    view = View(sort=sort, collapse=collapse, facets=FIELDS)
    result = shop.engine.search(text, k=5, filters=condition, view=view)
    everything = listed(shop, text, condition, View(sort=sort))
    sure, may = (shop.passing(condition, ids) for ids in shop.matching(text))
    assert {one.id for one in sure} <= {one.id for one in everything} <= {one.id for one in may}
    assert len({one.id for one in everything}) == len(everything)

    shown = listed(shop, text, condition, view)
    assert [one.id for one in shown[:5]] == [hit.product.id for hit in result.hits]
    keys = [key_of(one, view) for one in everything]
    assert [key_of(one, view) for one in shown] == list(dict.fromkeys(keys))
    assert result.total == len(shown)
    check_facets(result, everything, view)
    check_order(shown, sort)


def check_facets(result: SearchResult, everything: list[Product], view: View) -> None:
    """Every count is what a look at every product gives."""
    for facet in result.facets:
        held = Counter(
            value
            for value, _ in {
                (comparable(str(value)), key_of(product, view))
                for product in everything
                for value in values(product, facet.field)
                if not isinstance(value, float | int) or isinstance(value, bool)
            }
        )
        for one in facet.values:
            if one.value is not None:
                assert one.count == held[comparable(one.value)], (facet.field, one)
        ranges = [one for one in facet.values if one.low is not None]
        for one in ranges:
            between = choosing(facet.field, one)
            inside = {key_of(product, view) for product in everything if passes(between, product)}
            assert one.count == len(inside)
        counts = [one.count for one in facet.values if one.value is not None]
        assert counts == sorted(counts, reverse=True)
        if facet.field == "brand":
            assert len(held) == len(counts) + facet.more


def check_order(shown: list[Product], sort: Sort) -> None:
    numbers: dict[Sort, Callable[[Product], float | None]] = {
        Sort.PRICE: lambda one: one.price,
        Sort.PRICE_DOWN: lambda one: None if one.price is None else -one.price,
        Sort.RATING: lambda one: None if one.rating is None else -one.rating,
        Sort.NEWEST: lambda one: (
            -datetime.fromisoformat(one.created_at).timestamp() if one.created_at else None
        ),
    }
    if sort in numbers:
        found = [numbers[sort](one) for one in shown]
        known = [one for one in found if one is not None]
        assert known == sorted(known)
        assert found == known + [None] * (len(found) - len(known))


def in_order(folder: Path, products: list[Product], sort: Sort) -> list[str]:
    """Ids of the products, which match a query equally well, as they are sorted."""
    rows = np.arange(len(products))
    lister = Lister(
        facets_of(folder, products),
        rows.astype(np.int32),
        lambda rows: [products[row] for row in rows],
    )
    matches = Matches(rows, np.ones(len(rows), dtype=np.float32), complete=True)
    listing = lister.list(Ranking.empty(), rows[:0], matches, None, View(sort=sort))
    return [products[row].id for row in listing.ranking.rows]


def test_the_newest_is_first_to_the_microsecond(tmp_path: Path) -> None:
    created = {
        "noon": "2026-07-01T12:00:00Z",
        "never": "",
        "second": "2026-07-01T12:00:01.000001Z",
        "last": "2026-07-01T12:00:01.000002Z",
        "same": "2026-07-01T14:00:00+02:00",
    }
    products = [Product(name, "Mug", created_at=date) for name, date in created.items()]
    found = in_order(tmp_path, products, Sort.NEWEST)
    assert found == ["last", "second", "noon", "same", "never"]


@pytest.mark.filterwarnings("error")
def test_prices_of_any_size_are_sorted(tmp_path: Path) -> None:
    prices = (16_777_217.0, 1e40, None, 16_777_216.0, 0.1, 9e39)
    products = [Product(str(price), "Ring", price=price) for price in prices]
    known = [str(price) for price in sorted(price for price in prices if price is not None)]
    assert in_order(tmp_path / "up", products, Sort.PRICE) == [*known, "None"]
    assert in_order(tmp_path / "down", products, Sort.PRICE_DOWN) == [*known[::-1], "None"]
    assert np.isfinite(facets_of(tmp_path / "read", products).numbers("price")).sum() == 5


def choosing(field: str, one: FacetValue) -> Filter:
    if one.value is not None:
        return AnyOf(field, (one.value,))
    return filter_from_json({field: {"gte": one.low, "lte": one.high}})


@pytest.mark.parametrize("collapse", [False, True])
@pytest.mark.parametrize("text", QUERIES[:6])
def test_a_count_is_what_choosing_it_returns(shop: Shop, text: str, collapse: bool) -> None:
    fields = (*FIELDS, "created_at")
    view = View(collapse=collapse, facets=fields)
    result = shop.engine.search(text, view=view)
    facets: dict[str, Facet] = {facet.field: facet for facet in result.facets}
    assert list(facets) == list(fields)
    for facet in result.facets:
        for one in facet.values[:4]:
            chosen = choosing(facet.field, one)
            assert shop.engine.search(text, filters=chosen, view=view).total == one.count


def test_categories_are_paths_from_the_top(shop: Shop) -> None:
    result = shop.engine.search("kettle", view=View(facets=("category",)))
    names = {one.value for one in result.facets[0].values}
    assert "Kitchen" in names
    assert "Kitchen > Kettles & Coffee" in names
    assert "Kettles & Coffee" not in names


def test_a_field_that_no_product_has_is_named(shop: Shop) -> None:
    with pytest.raises(FilterError, match="sails"):
        shop.engine.search("kettle", view=View(facets=("sails",)))


def test_more_than_can_be_counted_is_said(monkeypatch: pytest.MonkeyPatch, shop: Shop) -> None:
    monkeypatch.setattr("engine.retrieval.matching.MOST", 20)
    engine = SearchEngine(shop.engine.snapshot, load_settings(cache=0))
    result = engine.search("kettle", k=100, view=View(facets=("brand",)))
    assert (result.total, result.total_is_least) == (20, True)
    assert len(result.hits) == 20
    narrow = engine.search("kettle", k=100, filters=parse_filters(["brand=Bramwick"]))
    counted = {one.value: one.count for one in result.facets[0].values}
    assert narrow.total is not None
    assert narrow.total >= counted["Bramwick"]
    assert narrow.total_is_least
    far = engine.search("kettle", k=100, filters=parse_filters(["category=Garden"]))
    within, _ = shop.matching("kettle")
    assert {hit.product.category[0] for hit in result.hits}.isdisjoint({"Garden"})
    assert far.total == len(shop.passing(AnyOf("category", ("Garden",)), within)) == 1


@pytest.fixture(scope="module")
def large(demo_store: Path) -> Shop:
    """The same searched through lists, as a catalog of more than 30,000 products is."""
    shop = Shop(demo_store)
    snapshot = Snapshot.open(shop.engine.snapshot.folder)
    search_through_lists(snapshot)
    shop.engine = SearchEngine(snapshot, load_settings(cache=0))
    return shop


@pytest.mark.parametrize("collapse", [False, True])
@pytest.mark.parametrize("text", QUERIES[:6])
def test_of_a_large_catalog_totals_are_the_least_and_the_same_everywhere(
    shop: Shop, large: Shop, text: str, collapse: bool
) -> None:
    view = View(collapse=collapse, facets=FIELDS)
    result, right = (one.engine.search(text, view=view) for one in (large, shop))
    assert result.total is not None
    assert right.total is not None
    assert result.total_is_least
    assert not right.total_is_least
    assert 0 < result.total <= right.total + 5  # codes may put a few too many within reach
    assert len(listed(large, text, None, view)) == result.total
    everything = listed(large, text, None, View())
    _, may = large.matching(text)
    assert len({one.id for one in everything} - may) <= 5
    check_facets(result, everything, view)
    for facet in result.facets:
        for one in facet.values[:4]:
            chosen = choosing(facet.field, one)
            narrow = large.engine.search(text, filters=chosen, view=view)
            assert narrow.total == len(listed(large, text, chosen, view))
            assert narrow.total >= one.count
            assert narrow.total_is_least


def test_a_filter_far_from_what_was_seen_still_lists_what_matches(shop: Shop) -> None:
    snapshot = Snapshot.open(shop.engine.snapshot.folder)
    search_through_lists(snapshot, probes=4)
    far = copy(shop)
    far.engine = SearchEngine(snapshot, load_settings(cache=0))
    lost = found = 0
    for text in QUERIES:
        surely, _ = shop.matching(text)
        unfiltered = {one.id for one in listed(far, text, None, View())}
        for product in [one for one in shop.products if one.id in surely - unfiltered][:20]:
            narrow = parse_filters([f"brand={product.brand}"])
            ids = {one.id for one in listed(far, text, narrow, View())}
            found += product.id in ids
            lost += product.id not in ids
            assert {one.brand for one in shop.passing(None, ids)} == {product.brand}
    assert found > 20
    assert lost == 0


def test_what_a_filter_finds_matches_by_words_or_by_meaning() -> None:
    known = Matches(
        np.array([5]), np.array([1.5], np.float32), complete=False, said_best=10.0, level=0.8
    )
    said = Ranking(np.array([5, 7, 2]), np.array([9, 6, 4.9], np.float32))
    meant = Ranking(np.array([3, 7, 4]), np.array([0.6, 0.4, 0.39], np.float32))
    found = known.widened(said, meant)
    assert found.rows.tolist() == [3, 5, 7]
    assert found.scores.tolist() == pytest.approx([0.75, 1.5, 1.1])
    assert not found.complete
    whole = known._replace(complete=True)
    assert whole.widened(said, meant) is whole


@pytest.mark.usefixtures("sparing")
def test_what_matches_is_the_same_whoever_looked_for_it(shop: Shop) -> None:
    snapshot = shop.engine.snapshot
    given = Matcher(snapshot.lexical, snapshot.dense)
    alone = Matcher(snapshot.lexical, snapshot.dense)
    for text in QUERIES:
        (vector,) = snapshot.encoder.encode_queries([text])
        (whole,) = snapshot.lexical.search([text], len(snapshot))
        expected = given.of(text, vector, whole)
        found = alone.of(text, vector)
        np.testing.assert_array_equal(found.rows, expected.rows)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_what_matches_does_not_depend_on_which_search_came_first(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.retrieval.ivf.DEPTH", 10)
    monkeypatch.setattr("engine.retrieval.ivf._MARGIN_ROWS", 2)
    snapshot = Snapshot.open(shop.engine.snapshot.folder)
    index = search_through_lists(snapshot, probes=8)
    vars(snapshot)["dense"] = index.set_to(replace(index.info, fetched=1))
    cheap = parse_filters(["price<=20"])
    for text in (*QUERIES, "gift for a cook", "travel mug", "yoga", "cable", "black jeans"):
        first, second = (SearchEngine(snapshot, load_settings()) for _ in range(2))
        plain = first.search(text).total
        narrow = second.search(text, filters=cheap).total
        assert first.search(text, filters=cheap).total == narrow
        assert second.search(text).total == plain


def test_what_a_query_matches_is_kept(shop: Shop) -> None:
    snapshot = shop.engine.snapshot
    matcher = Matcher(snapshot.lexical, snapshot.dense)
    (vector,) = snapshot.encoder.encode_queries(["kettle"])
    assert matcher.of("kettle", vector) is matcher.of("kettle", vector)


def test_fields_are_chosen_by_the_result_and_the_same_on_every_page(shop: Shop) -> None:
    asked = View(facets=("brand", TELLING))
    jackets = shop.engine.search("waterproof jacket", view=asked)
    names = [facet.field for facet in jackets.facets]
    assert names[0] == "brand"
    assert "size" in names
    assert len(names) == len(set(names))
    later = shop.engine.search("waterproof jacket", k=5, offset=10, view=asked)
    by_price = shop.engine.search("waterproof jacket", view=replace(asked, sort=Sort.PRICE))
    assert later.facets == by_price.facets == jackets.facets
    for name in names:
        named = shop.engine.search("waterproof jacket", view=View(facets=(name,)))
        assert named.facets[0] in jackets.facets
    drinks = shop.engine.search("coffee", view=View(facets=(TELLING,)))
    assert "size" not in [facet.field for facet in drinks.facets]


def test_nothing_found_has_no_field_to_choose(shop: Shop) -> None:
    result = shop.engine.search(
        "kettle", filters=parse_filters(["brand=nobody"]), view=View(facets=(TELLING,))
    )
    assert (result.total, result.facets) == (0, ())
