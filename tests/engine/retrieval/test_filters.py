"""Filters exclude exactly: every way to write one, against a reading of the products themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import FilterError, SnapshotDamagedError
from engine.retrieval.facets import Facets
from engine.retrieval.filters import allowed_rows, filter_from_json, parse_filters
from engine.types import And, AnyOf, AttributeValue, Between, Filter, Not, Or, Product
from tests.parts import facets_of

PRODUCTS = [
    Product(
        id="0", title="a", brand="Nike", price=10.0, category=("Shoes", "Running"), in_stock=True,
        attributes={"Size": 9, "waterproof": True},
    ),
    Product(
        id="1", title="b", brand="NIKE", price=50.0, category=("Shoes", "Hiking"), in_stock=False,
        attributes={"Size": "9 W", "material": ["leather", "wool"]},
    ),
    Product(
        id="2", title="c", brand="Puma", price=50.01, category=("Bags",), color="Red",
        attributes={"Size": 10.5, "brand": "inner"},
    ),
    Product(
        id="3", title="d",
        attributes={"waterproof": False, "note": "x" * 500, "code": 2**53 + 1, "tags": ["A", "a"]},
    ),
]  # fmt: skip


NESTED: object = {}
for _ in range(500):
    NESTED = {"not": NESTED}


@pytest.fixture(scope="module")
def facets(tmp_path_factory: pytest.TempPathFactory) -> Facets:
    return facets_of(tmp_path_factory.mktemp("facets"), PRODUCTS)


@pytest.mark.parametrize(
    ("expressions", "rows"),
    [
        ([], [0, 1, 2, 3]),
        (["brand=nike"], [0, 1]),
        (["brand=nike", "brand=Puma"], [0, 1, 2]),
        (["brand=nike", "price<=10"], [0]),
        (["price=10..50"], [0, 1]),
        (["price=..50"], [0, 1]),
        (["price>=50.01"], [2]),
        (["brand!=nike"], [2, 3]),
        (["brand=none of these"], []),
        (["in_stock=true"], [0]),
        (["category=shoes"], [0, 1]),
        (["category=Hiking"], [1]),
        (["category=Shoes > Hiking"], [1]),
        (["size=9"], [0]),
        (["size=9.0"], [0]),
        (["Size=9 w"], [1]),
        (["attributes.size=9..11"], [0, 2]),
        (["material=Wool"], [1]),
        (["waterproof=false"], [3]),
        (["attributes.brand=inner"], [2]),
        (["currency=USD"], []),
        (["price=50..10"], []),
        (["brand=nike", "Brand=puma"], [0, 1, 2]),
        (["price=5..10", "price=50.005..60"], [0, 2]),
        (["brand=Dr..Seuss"], []),
        (["in_stock=yes"], [0]),
        (["waterproof=no"], [3]),
        (["code=9007199254740993"], [3]),
        (["color=red", "price>=1"], [2]),
    ],
)
def test_expressions(facets: Facets, expressions: list[str], rows: list[int]) -> None:
    assert allowed_rows(parse_filters(expressions), facets).rows.tolist() == rows


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"brand": "nike"}, [0, 1]),
        ({"brand": ["Nike", "Puma"], "price": {"gte": 50}}, [1, 2]),
        ({"in_stock": True}, [0]),
        ({"size": 9}, [0]),
        ({"brand": []}, []),
        ({"not": {"brand": "nike"}}, [2, 3]),
        ({"or": [{"color": "red"}, {"in_stock": False}]}, [1, 2]),
        ({"and": [{"category": "Shoes"}, {"not": {"category": "Running"}}]}, [1]),
    ],
)
def test_json(facets: Facets, value: object, rows: list[int]) -> None:
    assert allowed_rows(filter_from_json(value), facets).rows.tolist() == rows


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("brand", "field=value"),
        ("=Nike", "field=value"),
        ("brand=", "field=value"),
        ("price<=cheap", "price"),
        ("price=1..many", "price"),
        ("price<=nan", "price"),
        ("price>=inf", "price"),
        ("brnad=Nike", "brand"),
        ("brand<=5", "no numbers"),
        ("price=cheap", "holds numbers"),
        ("price=1e999", "holds numbers"),
        ("price=nan", "holds numbers"),
        ("note=" + "x" * 500, "note"),
        ("brand=\udcff", "Unicode"),
        ("weird > name=a", r"! is filtered by in JSON: docs/api\.md"),
    ],
)
def test_what_cannot_be_filtered_raises(facets: Facets, expression: str, said: str) -> None:
    with pytest.raises(FilterError, match=said):
        allowed_rows(parse_filters([expression]), facets)


@pytest.mark.parametrize(
    "value",
    [
        None, 3, "brand=Nike", ["brand"], {"price": {"gt": 3}}, {"price": {}},
        {"price": {"gte": "x"}}, {"price": {"gte": True}}, {"brand": {"gte": None, "in": 3}},
        {"brand": None}, {"brand": [[]]}, {"price": {"lte": float("nan")}}, {"size": float("inf")},
        {"and": {}}, {"or": "x"}, {"not": []}, {"price": {"lte": 10**400}}, NESTED,
    ],
)  # fmt: skip
def test_json_that_is_no_filter_raises(facets: Facets, value: object) -> None:
    with pytest.raises(FilterError):
        allowed_rows(filter_from_json(value), facets)


@pytest.mark.parametrize(
    ("content", "found"), [({"gt": 3}, "gt"), ({"gte": 1, "lt": 3}, "lt"), ({}, "nothing")]
)
def test_a_range_of_other_bounds_names_the_cure(content: object, found: str) -> None:
    with pytest.raises(FilterError, match=rf'price.* not {found}\. Write {{"gte": 10, "lte": 50}}'):
        filter_from_json({"price": content})


def test_a_name_that_no_expression_can_hold_is_filtered_by_in_json(tmp_path: Path) -> None:
    facets = facets_of(tmp_path, [Product("0", "a", attributes={"weird > name": "A"})])
    assert allowed_rows(filter_from_json({"weird > name": "a"}), facets).rows.tolist() == [0]


def test_a_value_given_twice_counts_once(facets: Facets) -> None:
    assert facets.holding("tags", "a").tolist() == [3]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("brand", ("nike",)),
        ("brand", ("PUMA", "Nike", "none of these")),
        ("category", ("Shoes > Hiking", "Bags")),
        ("material", ("Wool",)),
        ("color", ()),
        ("rating", ("5 stars",)),
    ],
)
def test_rows_asked_about_have_what_filters_allow(
    facets: Facets, name: str, values: tuple[str, ...]
) -> None:
    allowed = allowed_rows(AnyOf(name, values), facets).mask
    for rows in ([0, 1, 2, 3], [3, 1], [2], []):
        asked = np.array(rows, dtype=np.int64)
        np.testing.assert_array_equal(facets.having(name, values, asked), allowed[asked])


def test_neighbours_of_a_large_number_are_other_numbers(facets: Facets) -> None:
    assert facets.holding("code", "9007199254740992").tolist() == []


MIXED: tuple[AttributeValue, ...] = (1, "1", True, "1.5", 2**53 + 1, float(2**53), 1e40, 10**40)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (1, [0, 1]),
        (1.0, [0, 1]),
        (True, [2]),
        (1.5, [3]),
        (-0.0, []),
        (2**53, [5]),
        (float(2**53), [5]),
        (2**53 + 1, [4]),
        (1e40, [6]),
        (10**40, [7]),
    ],
)
def test_numbers_are_found_beside_texts(
    tmp_path: Path, wanted: AttributeValue, rows: list[int]
) -> None:
    products = [Product(str(row), "a", attributes={"x": one}) for row, one in enumerate(MIXED)]
    facets = facets_of(tmp_path, products)
    assert allowed_rows(filter_from_json({"x": wanted}), facets).rows.tolist() == rows


@pytest.mark.parametrize("written", [1e40, 10**40, "1e40", "1" + "0" * 40, "10000e36"])
def test_a_number_of_any_size_is_compared_where_all_are_numbers(
    tmp_path: Path, written: float | str
) -> None:
    facets = facets_of(tmp_path, [Product("0", "a", price=1e40), Product("1", "b", price=9e39)])
    assert allowed_rows(filter_from_json({"price": written}), facets).rows.tolist() == [0]
    assert allowed_rows(parse_filters([f"price={written}"]), facets).rows.tolist() == [0]


def test_folder_without_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotDamagedError):
        Facets(tmp_path, 3)


# A second reading of the rules, over the products themselves.


def passes(condition: Filter, product: Product) -> bool:
    match condition:
        case AnyOf("brand", values):
            return bool(product.brand) and product.brand.lower() in {str(v).lower() for v in values}
        case AnyOf("category", values):
            return any(str(value) in product.category for value in values)
        case Between("price", low, high):
            price = product.price
            return price is not None and (low or 0.0) <= price <= (1e9 if high is None else high)
        case And(clauses):
            return all(passes(clause, product) for clause in clauses)
        case Or(clauses):
            return any(passes(clause, product) for clause in clauses)
        case Not(clause):
            return not passes(clause, product)
    raise AssertionError(condition)


products = st.builds(
    Product,
    id=st.just("x"),
    title=st.just("x"),
    brand=st.sampled_from(["", "Nike", "nike", "Puma", "Aldo"]),
    price=st.none() | st.integers(0, 5).map(float),
    category=st.sampled_from([(), ("A",), ("A", "B"), ("C", "B")]),
)
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.lists(st.sampled_from(["Nike", "PUMA", "Zara"]), max_size=2).map(
        lambda values: AnyOf("brand", tuple(values))
    ),
    st.lists(st.sampled_from(["A", "B", "C"]), max_size=2).map(
        lambda values: AnyOf("category", tuple(values))
    ),
    st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 5)).map(
        lambda bounds: Between("price", *bounds)
    ),
)


def combined(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    def join(kind: Callable[[tuple[Filter, ...]], Filter]) -> st.SearchStrategy[Filter]:
        return st.lists(inner, max_size=3).map(lambda clauses: kind(tuple(clauses)))

    return st.one_of(join(And), join(Or), inner.map(Not))


@settings(max_examples=150, deadline=None)
@given(st.lists(products, min_size=1, max_size=12), st.recursive(leaves, combined, max_leaves=6))
def test_filters_agree_with_reading_every_product(
    tmp_path_factory: pytest.TempPathFactory, catalog: list[Product], condition: Filter
) -> None:
    facets = facets_of(tmp_path_factory.mktemp("facets"), catalog)
    expected = [row for row, product in enumerate(catalog) if passes(condition, product)]
    assert allowed_rows(condition, facets).rows.tolist() == expected


def test_what_passes_is_remembered_and_not_confused(tmp_path: Path) -> None:
    facets = facets_of(tmp_path, PRODUCTS)
    cheap, dear = parse_filters(["price<=20"]), parse_filters(["price>=20"])
    first = allowed_rows(cheap, facets)
    assert allowed_rows(dear, facets).rows.tolist() == [1, 2]
    again = allowed_rows(parse_filters(["price<=20"]), facets)
    assert again.mask is first.mask
    assert again.rows.tolist() == [0]
    assert len(again) == 1
    with pytest.raises(ValueError, match="read-only"):
        again.mask[:] = True


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.retrieval.facets._MOST_KEPT", 2)
    facets = facets_of(tmp_path, PRODUCTS)
    filters = [parse_filters([f"price<={bound}"]) for bound in (1, 2, 3)]
    first, _, last = (allowed_rows(one, facets).mask for one in filters)
    assert allowed_rows(filters[2], facets).mask is last
    assert allowed_rows(filters[0], facets).mask is not first
    monkeypatch.setattr("engine.retrieval.facets._KEPT_BYTES", 1)
    facets = facets_of(tmp_path / "other", PRODUCTS)
    assert allowed_rows(filters[2], facets).rows.tolist() == []  # too large to be kept: asked anew
    assert allowed_rows(filters[2], facets).mask is not allowed_rows(filters[2], facets).mask
