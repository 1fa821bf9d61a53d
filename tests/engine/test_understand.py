"""Words are cleaned without losing what was asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import QueryError
from engine.products import ProductStore, ProductStoreBuilder
from engine.types import Product
from engine.understand import clean, understand


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  red\t\nshoes ", "red shoes"),
        ("WH-1000XM4", "WH-1000XM4"),
        ("1/2 in 12\" 5'x7'", "1/2 in 12\" 5'x7'"),
        ("ｗｉｄｅ　ｌａｔｉｎ", "wide latin"),
        ("soft\u00adware", "software"),
        ("a\x00b\x07c", "a b c"),
        ("\u202eabc\u202c", "abc"),
        ("می\u200cخواهم", "می خواهم"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("保温杯", "保温杯"),
        ("🎁 gift", "🎁 gift"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text())
def test_clean_settles_at_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> ProductStore:
    path = tmp_path_factory.mktemp("store")
    builder = ProductStoreBuilder(path)
    builder.add(Product(id="A-1", title="one", sku="77"))
    builder.add(Product(id="A-2", title="two", gtin="77"))
    builder.finish()
    return ProductStore(path)


def test_a_whole_query_that_is_printed_on_products_names_them(products: ProductStore) -> None:
    assert understand(" a-1 ", products, max_chars=100).exact_rows == (0,)
    assert understand("77", products, max_chars=100).exact_rows == (0, 1)
    assert understand("a-1 kettle", products, max_chars=100).exact_rows == ()


@pytest.mark.parametrize("text", ["", "  \n", "\x00\x01", "\u200b\u200d"])
def test_nothing_to_search_for(text: str, products: ProductStore) -> None:
    with pytest.raises(QueryError, match="empty"):
        understand(text, products, max_chars=100)


def test_too_long_names_the_limit(products: ProductStore) -> None:
    with pytest.raises(QueryError, match=r"101 characters.*100"):
        understand("x" * 101, products, max_chars=100)
