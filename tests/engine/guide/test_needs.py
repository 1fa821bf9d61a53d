from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.guide.needs import Constraint, Needs, Wish, read_needs
from engine.retrieval.facets import Facets
from engine.types import Between, Not, Product
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
        ("lamp no more than $30", (None, 30)),
        ("headphones not over $50", (None, 50)),
        ("gifts, nothing over $30", (None, 30)),
        ("never above 30 dollars", (None, 30)),
        ("lamp no less than $40", (40, None)),
        ("not under 40 euros", (40, None)),
        ("laptop under $1,000", (None, 1_000)),
        ("laptop under $1,234,567.89", (None, 1_234_567.89)),
        ("lamp between 1,000 and 2,000 dollars", (1_000, 2_000)),
        ("laptop under 1,00", None),
        ("lamp, max. $50", (None, 50)),
        ("lamp $50 or less", (None, 50)),
        ("lamp 50 dollars and under", (None, 50)),
        ("rug €100 or more", (100, None)),
        ("headphones $20-$30", (20, 30)),
        ("headphones 20 to 30 euros", (20, 30)),
        ("size 5 or less", None),
        ("shelf 20-30 cm", None),
        ("toys 3-5", None),
        ("box over 50 cm under $20", (None, 20)),
        ("tv under 50 inch under 400", (None, 400)),
    ],
)
def test_prices(facets: Facets, text: str, bounds: tuple[float, float] | None) -> None:
    assert price_of(read_needs([text], facets)) == bounds


@pytest.mark.parametrize("text", ["piano black mug", "volcano black mug", "knot black mug"])
def test_the_end_of_a_word_refuses_nothing(facets: Facets, text: str) -> None:
    assert [one.negated for one in read_needs([text], facets).constraints] == [False]


@pytest.mark.parametrize(
    "refusing",
    [
        "not", "not from", "not in", "no", "except", "except for", "other than", "that isn't",
        "which is not made by", "by anyone but", "anything but", "i don't want", "I do not like",
        "I hate", "rather than", "instead of a", "excluding", "avoid", "don’t want any",
    ],
)  # fmt: skip
def test_what_a_shopper_refuses_is_refused_however_it_is_said(
    facets: Facets, refusing: str
) -> None:
    for named, field in (("Simple", "brand"), ("white", "color")):
        text = f"a kettle {refusing} {named}, quiet"
        needs = read_needs([text], facets)
        (one,) = needs.constraints
        assert (one.field, one.name, one.negated) == (field, named, True)
        assert named in text[one.start : one.stop]
        assert needs.wishes == (Wish("kettle"), Wish("quiet"))
    wishes = read_needs([f"a kettle {refusing} plastic, quiet"], facets).wishes
    assert wishes == (Wish("kettle"), Wish("plastic", negated=True), Wish("quiet"))


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("mug in white or black", [("white or black", ["White", "Matte Black", "black"])]),
        (
            "rose gold, white, or black mug",
            [("rose gold, white, or black", ["Rose Gold", "White", "Matte Black", "black"])],
        ),
        ("white, rose gold mug", [("white", ["White"]), ("rose gold", ["Rose Gold"])]),
        ("fan by Tarrowby or Simple", [("Tarrowby or Simple", ["Tarrowby", "Simple"])]),
        ("fan, no Tarrowby or Simple", [("not Tarrowby or Simple", ["Tarrowby", "Simple"])]),
        ("not Tarrowby or by Simple", [("not Tarrowby or by Simple", ["Simple", "Tarrowby"])]),
        ("white mug and fan by Simple", [("white", ["White"]), ("Simple", ["Simple"])]),
        ("fan in white or by Simple", [("white", ["White"]), ("Simple", ["Simple"])]),
        ("white or not black", [("white", ["White"]), ("not black", ["Matte Black", "black"])]),
    ],
)  # fmt: skip
def test_or_joins_brands_and_colors(
    facets: Facets, text: str, stated: list[tuple[str, list[str]]]
) -> None:
    constraints = read_needs([text], facets).constraints
    assert [(one.words, sorted(one.values)) for one in constraints] == [
        (words, sorted(values)) for words, values in stated
    ]
    for one in constraints:
        assert text[one.start : one.stop].endswith(one.name.split()[-1])


def test_two_bounds_both_hold(facets: Facets) -> None:
    low, high = sorted(
        read_needs(["lamp over $20 but under $40"], facets).constraints, key=lambda one: one.start
    )
    assert (low.low, low.high, high.low, high.high) == (20, None, None, 40)


def test_a_range_that_is_denied_is_left_out(facets: Facets) -> None:
    (price,) = read_needs(["lamp not between $20 and $40"], facets).constraints
    assert price.to_filter() == Not(Between("price", 20, 40))


@pytest.mark.parametrize(
    ("text", "explicit"),
    [
        ("toys for kids under 5", False),
        ("tent for up to 4", False),
        ("toys under $5", True),
        ("toys priced under 5", True),
        ("shoes that cost no more than 50", True),
        ("budget of at most 50", True),
    ],
)
def test_a_currency_or_a_word_says_that_a_number_is_a_price(
    facets: Facets, text: str, *, explicit: bool
) -> None:
    (price,) = read_needs([text], facets).constraints
    assert (price.field, price.explicit) == ("price", explicit)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("weiße Tasse under $20, not black", ["under $20", "not black"]),
        ("blackout curtain not black", ["not black"]),
        ("a lamp no more than $1,000 in black", ["no more than $1,000", "black"]),
    ],
)
def test_what_is_stated_stands_where_it_says(facets: Facets, text: str, places: list[str]) -> None:
    constraints = read_needs([text], facets).constraints
    assert [text[one.start : one.stop] for one in constraints] == places


def test_a_later_price_holds_instead_of_all_before(facets: Facets) -> None:
    needs = read_needs(["lamp not between $20 and $40", "rather under $15"], facets)
    assert [(one.high, one.negated) for one in needs.constraints] == [(15, False)]


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
