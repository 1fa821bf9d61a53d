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
_MANY = {
    "$": (
        "USD ARS AUD BBD BMD BND BRL BSD BZD CAD CLP COP CUP CVE DOP FJD GYD HKD JMD KYD LRD MOP "
        "MXN NAD NIO NZD SBD SGD SRD SVC TOP TTD TWD UYU WST XCD ZWG"
    ),
    "C$": "CAD NIO",
    "£": "GBP EGP FKP GIP LBP SDG SHP SSP SYP",
    "¥": "JPY CNY",
    "￥": "JPY CNY",
    "元": "CNY HKD JPY MOP SGD TWD",
    "₩": "KRW KPW",
    "kr": "SEK NOK DKK ISK",
    "kr.": "SEK NOK DKK ISK",
}
"""Signs that several currencies are written with."""
_THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
_ISO_4217 = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN "
    "BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL "
    "GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF "
    "KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN "
    "MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD "
    "SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH "
    "UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG"
)
_CODES = frozenset(_ISO_4217.split())
"""Of other words in capitals (RMB, YEN) it is not known which currency they are."""

_UNIT = "|".join(map(re.escape, sorted(_SYMBOLS, key=len, reverse=True))) + "|[A-Z]{3}"
_PRICE = re.compile(rf"(?P<before>{_UNIT})?\s*(?P<number>[-+]?[\d.,' ]*\d)\s*(?P<after>{_UNIT})?")
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_FIRST = r"(?!0)\d{1,3}"  # of the groups of a number
_COMMA_GROUPS = re.compile(rf"[-+]?{_FIRST}(?:,\d{{3}})+(?:\.\d+)?")
_COMMA_DECIMAL = re.compile(r"[-+]?(?:\d+,\d{1,2}|0,\d+)")
_DOT_GROUPS = re.compile(rf"[-+]?{_FIRST}(?:(?:\.\d{{3}})+,\d+|(?:\.\d{{3}}){{2,}})")
_TWO_PRICES = re.compile(rf"\+?({_FIRST}\.\d{{3}})")  # of which a dot parts thousands or decimals
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


def parse_price(value: object, column: str = "") -> tuple[float, str]:
    """(amount, ISO 4217 code of its currency or "").

    `12.50`, `$1,299.00`, `1.299,00 €`, `EUR 12,99`. `$` is read as US dollar, `¥` as yen, unless
    the column says which.

    Args:
        value: the price as it stands in the row.
        column: what the row says of its currency elsewhere, as it stands there.

    Raises:
        RowFault: no number, a negative one, or a text that may be either of two prices (`1.299 €`,
            `1.299` beside EUR) or has another currency than the column.
    """
    number, unit = value, ""
    text = " ".join(value.replace("’", "'").split()) if isinstance(value, str) else ""
    if text and not _PLAIN.fullmatch(text):
        written = _PRICE.fullmatch(text)
        if written is None or (written["before"] and written["after"]):
            raise RowFault(Reason.UNPARSABLE_PRICE, f"{value!r} is no price", "price")
        unit = written["before"] or written["after"] or ""
        number = written["number"]
    currency = _agreed(value, unit, column)
    if (
        isinstance(number, str)
        and (unit or column)
        and currency not in _THREE_DECIMALS
        and (two := _TWO_PRICES.fullmatch(number.strip()))
    ):
        detail = f"{value!r} may mean {two[1]} or {two[1].replace('.', '')}: write it plainly"
        raise RowFault(Reason.UNPARSABLE_PRICE, detail, "price")
    amount = parse_number(number)
    if amount is None or amount < 0:
        raise RowFault(Reason.UNPARSABLE_PRICE, f"{value!r} is no price", "price")
    return amount, currency


def _agreed(price: object, unit: str, column: str) -> str:
    """The currency of a price's unit and of the row's column: of the two the one that says more.

    Raises:
        RowFault: they cannot be the same.
    """
    if not (unit and column):
        return currency_code(unit or column)
    here, there = _meant(unit), _meant(column)
    if here and there and not here & there:
        detail = f"{price!r} is not in {column}, the row's currency: correct one of them"
        raise RowFault(Reason.UNPARSABLE_PRICE, detail, "price")
    return currency_code(unit if here and here < there else column)


def _meant(unit: str) -> frozenset[str]:
    """The currencies that a sign or code may stand for; none where that is not known."""
    codes = _MANY[unit].split() if unit in _MANY else [currency_code(unit)]
    return _CODES.intersection(codes)
