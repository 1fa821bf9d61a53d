"""Prices in the ways people and programs write them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from indexer.catalog.money import parse_number, parse_price
from indexer.catalog.rejects import Reason, RowFault


@pytest.mark.parametrize(
    ("written", "amount", "currency"),
    [
        (12, 12.0, ""),
        (12.5, 12.5, ""),
        (Decimal("12.50"), 12.5, ""),
        ("12.50", 12.5, ""),
        (" 1299 ", 1299.0, ""),
        ("$1,299.00", 1299.0, "USD"),
        ("1,299", 1299.0, ""),
        ("1.299,00 €", 1299.0, "EUR"),
        ("1.299.000,50 €", 1299000.5, "EUR"),
        ("12,99 EUR", 12.99, "EUR"),
        ("EUR 12,9", 12.9, "EUR"),
        ("£1 299.50", 1299.5, "GBP"),
        ("1'299.50 CHF", 1299.5, "CHF"),
        ("1’299 CHF", 1299.0, "CHF"),
        ("US$ 5", 5.0, "USD"),
        ("¥1,200", 1200.0, "JPY"),
        ("99\u00a0kr", 99.0, ""),
        ("49,90 zł", 49.9, "PLN"),
        ("KWD 1.250", 1.25, "KWD"),
        ("1.250", 1.25, ""),
        ("0", 0.0, ""),
        ("1e3", 1000.0, ""),
        (".99", 0.99, ""),
        ("١٢", 12.0, ""),
        ("0,999", 0.999, ""),
        ("0.999 €", 0.999, "EUR"),
        ("100,000", 100000.0, ""),
    ],
)
def test_prices_are_read(written: object, amount: float, currency: str) -> None:
    assert parse_price(written) == (amount, currency)


@pytest.mark.parametrize(
    "written",
    [
        "free", "10-20", "-5", -5, float("inf"), "1e999", "$", "$5 USD", True, [5], {"amount": 5},
        "0,999.00", "012,345", "0 999", "0.999,50", "1,29,9", "12,3456",
        "1.2.3", "inf", "0x10", 10**400, "1.299 €",
    ],
)  # fmt: skip
def test_what_is_no_price_is_refused(written: object) -> None:
    with pytest.raises(RowFault) as caught:
        parse_price(written)
    assert caught.value.reason == Reason.UNPARSABLE_PRICE


def test_a_price_that_may_be_two_names_both() -> None:
    with pytest.raises(RowFault, match=r"1\.299 or 1299"):
        parse_price("€1.299")


@pytest.mark.parametrize(
    ("written", "column", "amount", "currency"),
    [
        (1.299, "EUR", 1.299, "EUR"),
        (Decimal("1.299"), "EUR", 1.299, "EUR"),
        ("1.250", "KWD", 1.25, "KWD"),
        ("1.250", "kwd", 1.25, "KWD"),
        ("0.999", "EUR", 0.999, "EUR"),
        ("1299.000", "EUR", 1299.0, "EUR"),
        ("1.299,00", "EUR", 1299.0, "EUR"),
        ("$5", "USD", 5.0, "USD"),
        ("$5", "cad", 5.0, "CAD"),
        ("$5", "US$", 5.0, "USD"),
        ("CA$5", "$", 5.0, "CAD"),
        ("5 EUR", "€", 5.0, "EUR"),
        ("99 kr", "SEK", 99.0, "SEK"),
        ("99 NOK", "kr", 99.0, "NOK"),
        ("99 kr", "kr", 99.0, ""),
        ("¥5", "CNY", 5.0, "CNY"),
        ("£5", "EGP", 5.0, "EGP"),
        ("5 RMB", "CNY", 5.0, "CNY"),
        ("$5", "dollars", 5.0, "DOLLARS"),
    ],
)
def test_a_price_is_read_with_the_currency_that_stands_beside_it(
    written: object, column: str, amount: float, currency: str
) -> None:
    assert parse_price(written, column) == (amount, currency)


@pytest.mark.parametrize(
    ("written", "column", "detail"),
    [
        ("1.299", "EUR", r"'1\.299' may mean 1\.299 or 1299"),
        (" +1.299 ", "USD", r"1\.299 or 1299"),
        ("1.299", "kr", r"1\.299 or 1299"),
        ("$1.250", "CAD", r"1\.250 or 1250"),
        ("$899", "EUR", r"'\$899' is not in EUR"),
        ("$899", "€", r"'\$899' is not in €"),
        ("12 CHF", "eur", "is not in eur"),
        ("99 kr", "EUR", "is not in EUR"),
        ("CA$5", "USD", "is not in USD"),
    ],
)
def test_a_price_that_its_currency_leaves_open_or_denies_is_refused(
    written: str, column: str, detail: str
) -> None:
    with pytest.raises(RowFault, match=detail) as caught:
        parse_price(written, column)
    assert (caught.value.reason, caught.value.field) == (Reason.UNPARSABLE_PRICE, "price")


def test_numbers_are_finite_or_nothing() -> None:
    assert parse_number("4,5") == 4.5
    assert parse_number("124969.0") == 124_969
    assert parse_number("nan") is parse_number(float("nan")) is parse_number(None) is None
