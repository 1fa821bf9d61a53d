"""Values of a row → the typed fields of a `Product`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from engine.retrieval.facet_builder import moment
from indexer.catalog.markup import clean_line, clean_text
from indexer.catalog.money import currency_code, parse_number
from indexer.catalog.rejects import Reason, RowFault

DELETED = "deleted"
"""The field of a row that says whether its product goes; only changes have it."""

MAX_ID_CHARS = 512
MAX_LINE_CHARS = 2_000
"""Of the title, and of every other field of one line."""
MAX_TEXT_CHARS = 100_000
"""Of the description, as the file holds it; and of each bullet point and attribute."""
MAX_ITEMS = 500
"""Bullet points, levels of the category, values of one attribute."""

_IN_STOCK = frozenset({"true", "t", "yes", "y", "1", "1.0", "instock", "available"})
_OUT_OF_STOCK = frozenset(
    {"false", "f", "no", "n", "0", "0.0", "outofstock", "unavailable", "notavailable", "soldout"}
    | {"discontinued", "preorder", "backorder"}
)
_GOES = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_STAYS = frozenset({"false", "f", "no", "n", "0", "0.0"})
_ONE_COMMA = re.compile(r"^(\s*[-+]?\d+),(\d+\s*)$")
# A list as Python or numpy prints it, and pandas writes it to CSV: ['a', "b's"] or ['a' 'b'].
_PRINTED_ITEM = re.compile(r"""'((?:[^'\\]|\\.)*+)'|"((?:[^"\\]|\\.)*+)\"""")


def is_absent(value: object) -> bool:
    """Whether a cell holds nothing: null, NaN or empty text."""
    return value is None or value == "" or value != value  # noqa: PLR0124 - NaN alone differs


def scalar_text(name: str, value: object) -> str:  # noqa: PLR0911 - one a type
    """One value as text: 12.0 is `12`, a date or a time of day is ISO 8601.

    Raises:
        RowFault: the value is a list, an object, a boolean or infinite.
    """
    match value:
        case str():
            return value
        case bool():
            pass
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
        case Decimal() if value.is_finite():
            return f"{value.normalize():f}"
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case date() | time():
            return value.isoformat()
        case UUID() | timedelta():
            return str(value)
    raise RowFault(Reason.ILL_TYPED, f"{_shown(value)} is no text", name)


def cell_text(row: Mapping[str, object], name: str) -> str:
    """A cell that must hold text, or a number that stands for it, as `scalar_text` has it.

    Raises:
        RowFault: it is empty or no text; the message says what to do.
    """
    value = row.get(name)
    if is_absent(value):
        raise RowFault(Reason.ILL_TYPED, "empty. Fill it or take the row out", name)
    try:
        return scalar_text(name, value)
    except RowFault as fault:
        raise RowFault(fault.reason, f"{fault}. Write it as text", name) from fault


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def within(name: str, text: str, limit: int) -> str:
    """The text, where it is no longer than `limit` characters.

    Raises:
        RowFault: it is longer.
    """
    if len(text) > limit:
        detail = f"{len(text):,} characters; {limit:,} are allowed"
        raise RowFault(Reason.OVER_LONG, detail, name)
    return text


def to_line(name: str, value: object, *, limit: int = MAX_LINE_CHARS) -> str:
    """A field of one line. Several values are joined by commas."""
    if isinstance(value, str) and len(value) <= limit:  # nearly always
        return clean_line(value, name)
    if isinstance(value, list):
        value = ", ".join(scalar_text(name, item) for item in value if not is_absent(item))
    text = within(name, scalar_text(name, value), MAX_TEXT_CHARS)
    return within(name, clean_line(text, name), limit)


def to_single(name: str, value: object, *, limit: int = MAX_LINE_CHARS) -> str:
    """A field that takes one value (a link, a GTIN): of several, the first."""
    if isinstance(value, list):
        value = next((item for item in value if not is_absent(item)), "")
    return to_line(name, value, limit=limit)


def to_id(value: object) -> str:
    """The product id. Lists are refused: which of them is the product's?"""
    text = within("id", scalar_text("id", value), MAX_ID_CHARS)
    return clean_line(text, "id")


def to_text(name: str, value: object) -> str:
    """Prose, without HTML; lines are kept."""
    if isinstance(value, list):
        value = "\n".join(scalar_text(name, item) for item in value if not is_absent(item))
    return clean_text(within(name, scalar_text(name, value), MAX_TEXT_CHARS), name)


def to_bullet_points(value: object) -> tuple[str, ...]:
    """Bullet points: a list, a list written as text, or lines."""
    name = "bullet_points"
    items = _items(name, value)
    if items is None:
        points = to_text(name, value).split("\n")
    else:
        points = [clean_text(item, name).replace("\n", " ") for item in items]
    return _few(name, tuple(filter(None, points)))


def to_category(value: object) -> tuple[str, ...]:
    """Category levels: a list, a list written as text, or `a > b > c` with spaces around.

    An item of a list may be several levels as well, or the whole path.
    """
    name = "category"
    items = _items(name, value)
    if items is None:
        items = [within(name, scalar_text(name, value), MAX_TEXT_CHARS)]
    levels = (level for item in items for level in clean_line(item, name).split(" > "))
    cleaned = (within(name, clean_line(level, name), MAX_LINE_CHARS) for level in levels)
    return _few(name, tuple(level for level in cleaned if level))


def _few(name: str, items: tuple[str, ...]) -> tuple[str, ...]:
    if len(items) > MAX_ITEMS:
        detail = f"{len(items):,} entries; {MAX_ITEMS} are allowed"
        raise RowFault(Reason.OVER_LONG, detail, name)
    return items


def _items(name: str, value: object) -> list[str] | None:
    """The items of a list, or of a list written as text; None of any other value."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        value = _written_list(within(name, value, MAX_TEXT_CHARS))
    if not isinstance(value, list):
        return None
    texts = (scalar_text(name, item) for item in value if not is_absent(item))
    return [within(name, text, MAX_TEXT_CHARS) for text in texts]


def _written_list(text: str) -> object:
    """The list that JSON, Python or numpy wrote as text; the text itself if none did."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if _PRINTED_ITEM.sub("", text[1:-1]).strip(", \n"):
        return text
    items = (single or double for single, double in _PRINTED_ITEM.findall(text))
    return [re.sub(r"\\(.)", r"\1", item) for item in items]


def to_rating(value: object) -> float:
    """The average rating, on whatever scale the shop uses; its only comma is a decimal one."""
    number = parse_number(_ONE_COMMA.sub(r"\1.\2", value) if isinstance(value, str) else value)
    if number is None:
        raise RowFault(Reason.UNPARSABLE_RATING, f"{_shown(value)} is no number", "rating")
    return number


def to_rating_count(value: object) -> int:
    """How many ratings: a whole number, however written (`1,204`, `124969.0`)."""
    number = parse_number(value)
    if number is None or number < 0 or not number.is_integer():
        detail = f"{_shown(value)} is no count"
        raise RowFault(Reason.UNPARSABLE_RATING_COUNT, detail, "rating_count")
    return int(number)


def to_in_stock(value: object) -> bool:
    """Yes or no, in the words of feeds: `in stock`, `out_of_stock`, `https://schema.org/InStock`."""
    text = str(value) if isinstance(value, bool | int | float) else scalar_text("in_stock", value)
    word = re.sub(r"[\s_-]", "", text.rsplit("/", 1)[-1]).casefold()
    if word in _IN_STOCK:
        return True
    if word in _OUT_OF_STOCK:
        return False
    raise RowFault(Reason.UNPARSABLE_IN_STOCK, f"{_shown(value)} is not yes or no", "in_stock")


def to_deleted(value: object) -> bool:
    """Whether a product goes. No words of stock: what is sold out or discontinued may stay."""
    word = str(value).strip().casefold()
    if word not in _GOES | _STAYS:
        detail = f"{_shown(value)} is not true or false, yes or no, 1 or 0"
        raise RowFault(Reason.ILL_TYPED, detail, DELETED)
    return word in _GOES


def to_created_at(value: object) -> str:
    """A date in ISO 8601, as given; a year or a month is enough."""
    text = value.isoformat() if isinstance(value, date) else value
    text = text.strip() if isinstance(text, str) else ""
    if moment(text) is None:
        detail = f"{_shown(value)} is no ISO 8601 date: write 2026-11-24 or 2026-11-24T09:30+01:00"
        raise RowFault(Reason.UNPARSABLE_CREATED_AT, detail, "created_at")
    return text


def to_currency(value: object) -> str:
    """An ISO 4217 code; a sign such as € becomes its code."""
    return currency_code(to_single("currency", value))


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "id": to_id,
    "title": partial(to_line, "title"),
    "description": partial(to_text, "description"),
    "bullet_points": to_bullet_points,
    "brand": partial(to_line, "brand"),
    "color": partial(to_line, "color"),
    "category": to_category,
    "currency": to_currency,
    "image": partial(to_single, "image"),
    "url": partial(to_single, "url"),
    "rating": to_rating,
    "rating_count": to_rating_count,
    "in_stock": to_in_stock,
    "sku": partial(to_single, "sku"),
    "gtin": partial(to_single, "gtin"),
    "created_at": to_created_at,
    "group_id": partial(to_single, "group_id", limit=MAX_ID_CHARS),
}
"""What makes each field of a value that is there; `price` and `attributes` are made of more."""

FIELDS: tuple[str, ...] = (*CONVERTERS, "price", "attributes")
"""Every field a column can feed."""
