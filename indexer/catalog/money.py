"""Numbers and prices as people and programs write them."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from indexer.catalog.rejects import Reason, RowFault

_SYMBOLS = {
    "US$": "USD", "CA$": "CAD", "C$": "CAD", "AU$": "AUD", "A$": "AUD", "NZ$": "NZD",
    "HK$": "HKD", "R$": "BRL", "$": "USD", "€": "EUR", "£": "GBP", "CN¥": "CNY", "JP¥": "JPY",
    "¥": "JPY", "￥": "JPY", "円": "JPY", "元": "CNY", "₹": "INR", "₩": "KRW", "₽": "RUB",
    "₺": "TRY", "₫": "VND", "₴": "UAH", "฿": "THB", "zł": "PLN", "Kč": "CZK", "kr": "", "kr.": "",
}  # fmt: skip
_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})

_UNIT = "|".join(map(re.escape, sorted(_SYMBOLS, key=len, reverse=True))) + "|[A-Z]{3}"
_PRICE = re.compile(rf"(?P<before>{_UNIT})?\s*(?P<number>[-+]?[\d.,' ]*\d)\s*(?P<after>{_UNIT})?")
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_FIRST = r"(?!0)\d{1,3}"  # of the groups of a number
_COMMA_GROUPS = re.compile(rf"[-+]?{_FIRST}(?:,\d{{3}})+(?:\.\d+)?")
_COMMA_DECIMAL = re.compile(r"[-+]?(?:\d+,\d{1,2}|0,\d+)")
_DOT_GROUPS = re.compile(rf"[-+]?{_FIRST}(?:(?:\.\d{{3}})+,\d+|(?:\.\d{{3}}){{2,}})")
_SPACE_GROUPS = re.compile(rf"([-+]?{_FIRST}(?:[ ']\d{{3}})+)([.,]\d{{1,2}})?")


def parse_number(value: object) -> float | None:
    """The finite number that a value is or writes; None where it does not.

    A comma is a decimal comma before one or two digits, and behind a 0, and parts thousands before
    three; a dot is a decimal point unless it comes more than once or stands before a comma:
    `1,299.00`, `1.299,00` and `1 299,00` are the same. `1.299` is a little over one, `0,999` less.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        try:
            number = float(value)
        except (OverflowError, ValueError):
            return None
    elif isinstance(value, str):
        number = _from_text(value.strip())
    else:
        return None
    return number if math.isfinite(number) else None


def _from_text(text: str) -> float:
    """The number a text writes; NaN where it writes none."""
    if _PLAIN.fullmatch(text):
        return float(text)
    if _COMMA_GROUPS.fullmatch(text):
        return float(text.replace(",", ""))
    if _COMMA_DECIMAL.fullmatch(text):
        return float(text.replace(",", "."))
    if _DOT_GROUPS.fullmatch(text):
        return float(text.replace(".", "").replace(",", "."))
    if spaced := _SPACE_GROUPS.fullmatch(text):
        whole = spaced[1].replace(" ", "").replace("'", "")
        return float(whole + (spaced[2] or "").replace(",", "."))
    return math.nan


def currency_code(unit: str) -> str:
    """The ISO 4217 code of a currency's sign; other texts in capitals."""
    return _SYMBOLS.get(unit, unit.upper())


def parse_price(value: object) -> tuple[float, str]:
    """(amount, ISO 4217 code of the currency written with it or "").

    `12.50`, `$1,299.00`, `1.299,00 €`, `EUR 12,99`. `$` is read as US dollar, `¥` as yen.

    Raises:
        RowFault: no number, a negative one, or `1.299 €`, which may be either of two prices.
    """
    number, currency = value, ""
    text = " ".join(value.replace("’", "'").split()) if isinstance(value, str) else ""
    if text and not _PLAIN.fullmatch(text):
        written = _PRICE.fullmatch(text)
        if written is None or (written["before"] and written["after"]):
            raise RowFault(Reason.UNPARSABLE_PRICE, f"{value!r} is no price", "price")
        unit = written["before"] or written["after"] or ""
        number, currency = written["number"], currency_code(unit)
        if unit and currency not in _THREE_DECIMALS and re.fullmatch(rf"{_FIRST}\.\d{{3}}", number):
            detail = f"{value!r} may mean {number} or {number.replace('.', '')}: write it plainly"
            raise RowFault(Reason.UNPARSABLE_PRICE, detail, "price")
    amount = parse_number(number)
    if amount is None or amount < 0:
        raise RowFault(Reason.UNPARSABLE_PRICE, f"{value!r} is no price", "price")
    return amount, currency
