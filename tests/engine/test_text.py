"""The passage: what the models read of a product."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.text import passage, whole_text
from engine.types import AttributeValue, Product

KETTLE = Product(
    id="k1",
    title="Gooseneck Electric Kettle",
    brand="Emberly",
    color="black",
    category=("Kitchen", "Kettles"),
    bullet_points=("Heats in four minutes.", "Cordless"),
    description="For slow pour-over coffee.",
    attributes={"capacity_l": 1.0, "watts": 1200, "cordless": True, "smart": False},
)


def test_fields_come_in_order_of_what_tells_products_apart() -> None:
    assert passage(KETTLE) == (
        "Gooseneck Electric Kettle Emberly black. Kitchen > Kettles. Heats in four minutes. "
        "Cordless. For slow pour-over coffee"
    )


def test_all_texts_of_a_product_end_with_its_attributes() -> None:
    assert whole_text(KETTLE) == f"{passage(KETTLE)}. capacity_l: 1. watts: 1200. cordless"


@pytest.mark.parametrize(
    ("bullet_points", "description", "read"),
    [
        ((), "", True),
        (("", "…"), " . ", True),
        ((), "N/A", True),
        (("gooseneck electric kettle.",), "-", True),
        ((), "Of steel.", False),
        (("Of steel",), "", False),
        (("n/a", "Steel"), "null", False),
        ((), "Gooseneck electric kettles", False),
        ((), "不锈钢", False),
    ],
)
def test_attributes_are_read_where_nothing_else_describes(
    bullet_points: tuple[str, ...], description: str, *, read: bool
) -> None:
    product = replace(KETTLE, bullet_points=bullet_points, description=description)
    assert ("watts: 1200" in passage(product)) is read


def test_an_altered_product_is_read_as_the_one_it_is_made_of() -> None:
    bare = replace(KETTLE, bullet_points=(), description="")
    assert (
        passage(bare, fields_of=KETTLE)
        == "Gooseneck Electric Kettle Emberly black. Kitchen > Kettles"
    )
    assert passage(KETTLE, fields_of=bare) == whole_text(KETTLE)


def test_what_the_title_names_is_not_repeated() -> None:
    product = Product(id="1", title="EMBERLY Kettle, Black", brand="Emberly", color="black")
    assert passage(product) == "EMBERLY Kettle, Black"


def test_values_read_as_a_shopper_would_write_them() -> None:
    attributes: dict[str, AttributeValue] = {
        "size": 0.5,
        "ports": ["USB-C", "HDMI"],
        "none": "",
        "height": 12.0,
        "no": [],
    }
    text = passage(Product(id="1", title="Dock", attributes=attributes))
    assert text == "Dock. size: 0.5. ports: USB-C, HDMI. height: 12"


def test_line_breaks_become_spaces() -> None:
    product = Product(id="1", title="Two\nlines", description="a\t b \r\n c")
    assert passage(product) == "Two lines. a b c"


@given(title=st.text(min_size=1), description=st.text(), value=st.text())
def test_any_product_has_a_passage_on_one_line(title: str, description: str, value: str) -> None:
    product = Product(id="1", title=title, description=description, attributes={"a": value})
    assert len(passage(product).splitlines()) <= 1
    assert len(whole_text(product).splitlines()) <= 1
