from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.guide.needs import Constraint, Needs, Wish, read_needs
from engine.retrieval.facets import Facets
from engine.types import Product
from tests.parts import facets_of

PRODUCTS = (
    Product("1", "Fan", brand="Tarrowby", color="Matte Black", price=30.0),
    Product("2", "Kettle", brand="Black & Decker", color="White", price=20.0),
    Product("3", "Mug", brand="Simple", color="Rose Gold", price=5.0),
    Product("4", "Cup", color="black", price=6.0),
)


@pytest.fixture(scope="module")
def facets(tmp_path_factory: pytest.TempPathFactory) -> Facets:
    return facets_of(tmp_path_factory.mktemp("facets"), PRODUCTS)


def price_of(needs: Needs) -> tuple[float | None, float | None] | None:
    found = [(one.low, one.high) for one in needs.constraints if one.field == "price"]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("fan under $50", (None, 50)),
        ("fan under 50", (None, 50)),
        ("a fan for less than 49.99 dollars, quiet", (None, 49.99)),
        ("fan up to €30 for kids", (None, 30)),
        ("mug over 10 euros", (10, None)),
        ("mug at least 10", (10, None)),
        ("lamp between $20 and $40", (20, 40)),
        ("lamp from 20 to 40 euros", (20, 40)),
        ("shelf under 50 cm", None),
        ("rug under 5 x 7", None),
        ("tv over 55 inch", None),
        ("under the sea", None),
        ("drill 50", None),
        ("toys for over 3 years", None),
    ],
)
def test_prices(facets: Facets, text: str, bounds: tuple[float, float] | None) -> None:
    assert price_of(read_needs([text], facets)) == bounds


def test_a_need_is_read_whole(facets: Facets) -> None:
    needs = read_needs(["a quiet fan for a small bedroom under $50, not black"], facets)
    price, color = needs.constraints
    assert price == Constraint("price", "under $50", high=50.0)
    assert (color.words, color.negated) == ("not black", True)
    assert set(color.values) == {"black", "Matte Black"}
    assert needs.wishes == (Wish("quiet fan"), Wish("small bedroom"))
    assert needs.text == "quiet fan small bedroom"


def test_a_brand_is_meant_where_it_is_written_as_a_name(facets: Facets) -> None:
    assert [one.field for one in read_needs(["a Simple mug"], facets).constraints] == ["brand"]
    assert read_needs(["a simple mug"], facets).constraints == ()
    (brand,) = read_needs(["Black & Decker kettle"], facets).constraints
    assert brand.field == "brand"
    (refused,) = read_needs(["a fan, no Tarrowby"], facets).constraints
    assert (refused.values, refused.negated) == (("Tarrowby",), True)


def test_what_is_not_wished_for_stays_so(facets: Facets) -> None:
    needs = read_needs(["jacket without hood but with pockets"], facets)
    assert needs.wishes == (Wish("jacket"), Wish("hood", negated=True), Wish("pockets"))
    assert needs.text == "jacket pockets without hood"


def test_what_was_said_holds_until_something_else_is(facets: Facets) -> None:
    turns = ["fan in white under 50 dollars", "rather under 40", "and rose gold instead"]
    needs = read_needs(turns, facets)
    assert price_of(needs) == (None, 40)
    assert [one.values for one in needs.constraints if one.field == "color"] == [("Rose Gold",)]
    assert Wish("fan") in needs.wishes
    taken_back = read_needs(["white fan", "not white"], facets)
    assert [one.negated for one in taken_back.constraints] == [True]


@given(st.lists(st.text(max_size=200), max_size=4))
def test_anything_can_be_read(facets: Facets, turns: list[str]) -> None:
    needs = read_needs(turns, facets)
    for one in needs.constraints:
        one.to_filter()
    assert all(wish.words.strip() for wish in needs.wishes)
