"""Fields that part a result are told from those that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.retrieval.telling import MOST_TELLING, telling_fields
from engine.types import AttributeValue, Product

Attributes = Mapping[str, AttributeValue]


def shelf(*attributes: Attributes, **own: Sequence[object]) -> list[Product]:
    """Products that have these, one each."""
    size = max(len(attributes), *map(len, own.values()), 0)
    return [
        Product(
            str(place),
            "thing",
            attributes=attributes[place] if attributes else {},
            **{name: values[place] for name, values in own.items()},  # type: ignore[arg-type]
        )
        for place in range(size)
    ]


def test_even_parts_go_before_uneven_ones_and_what_is_alike_is_not_offered() -> None:
    found = telling_fields(
        shelf(brand=["A", "B", "C", "D"] * 5, color=["Red"] * 15 + ["Blue"] * 5, rating=[4.0] * 20)
    )
    assert found == ["brand", "color"]


def test_what_few_products_have_is_worth_little() -> None:
    some = [{"voltage": "110 V"}, {"voltage": "220 V"}, *[{}] * 38]
    assert telling_fields(shelf(*some, brand=["A", "B"] * 20)) == ["brand"]


def test_what_names_each_product_parts_less_than_what_groups_them() -> None:
    named = [
        {"model": f"M{number}", "power": "low" if number % 2 else "high"} for number in range(40)
    ]
    assert telling_fields(shelf(*named)) == ["power", "model"]


def test_many_numbers_count_as_the_ranges_they_are_shown_in() -> None:
    prices: list[object] = [float(number) for number in range(60)]
    assert telling_fields(shelf(price=prices, brand=["A", "B"] * 30)) == ["price", "brand"]


def test_fields_that_part_alike_are_offered_once() -> None:
    doubled: list[Attributes] = [{"Maker": maker, "Cordless": maker == "a"} for maker in "abab"]
    assert telling_fields(shelf(*doubled, brand=["A", "B", "A", "B"])) == ["brand"]


def test_case_does_not_tell_values_or_names_apart() -> None:
    said = [{"Fit": "Slim"}, {"fit": "slim"}, {"FIT": "wide"}, {"fit": "Wide"}]
    assert telling_fields(shelf(*said)) == ["Fit"]
    assert telling_fields(shelf(*[{"Brand": "x"}, {"Brand": "y"}])) == []  # no column of its own


def test_lists_count_by_each_of_their_values() -> None:
    made: list[Attributes] = [
        {"material": ["wool", "silk"]},
        {"material": ["wool"]},
        {"material": "linen"},
    ]
    assert telling_fields(shelf(*made)) == ["material"]


def test_no_more_than_a_shopper_reads_and_none_of_nothing() -> None:
    many = [
        {f"field {name}": (number >> name) % 2 > 0 for name in range(MOST_TELLING + 2)}
        for number in range(256)
    ]
    assert len(telling_fields(shelf(*many))) == MOST_TELLING
    assert telling_fields([]) == []
