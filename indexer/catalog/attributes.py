"""Attributes: whatever a catalog says of a product beyond the known fields, with its type."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache

from engine.types import AttributeValue
from indexer.catalog.fields import (
    MAX_ITEMS,
    MAX_LINE_CHARS,
    MAX_TEXT_CHARS,
    is_absent,
    scalar_text,
    within,
)
from indexer.catalog.markup import clean_line
from indexer.catalog.rejects import Reason, RowFault

MAX_ATTRIBUTES = 500
MAX_NAME_CHARS = 200
_MAX_DEPTH = 8

# `007`, `1e5`, `+1`, `12in` and numbers too long to be quantities are names, not numbers.
_INTEGER = re.compile(r"-?[1-9]\d{0,14}|0")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,14})\.\d{1,15}")


def infer(text: str) -> AttributeValue:
    """The value that a cell of a text file stands for: int, float, bool, or the text itself."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return float(text)
    word = text.casefold()
    return word == "true" if word in {"true", "false"} else text


def parse_attributes(value: object) -> dict[str, AttributeValue]:
    """The attributes of a JSON object, or of the text of one; nested names are joined by dots.

    Raises:
        RowFault: no object, or one nested too deep.
    """
    if isinstance(value, str):
        try:
            value = json.loads(within("attributes", value, MAX_TEXT_CHARS * 10))
        except (ValueError, RecursionError) as error:
            raise _unparsable(f"not JSON: {error}") from error
    if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
        value = dict(value)  # a Parquet map
    if not isinstance(value, dict):
        raise _unparsable(f"a JSON {type(value).__name__}, not an object")
    return dict(flatten("", value))


def flatten(name: str, value: object, depth: int = 0) -> Iterator[tuple[str, AttributeValue]]:
    """(name, typed value) of a column; of an object, one for each of its leaves.

    Raises:
        RowFault: a name or value is over-long or no Unicode text, or objects are nested too deep.
    """
    if not depth:
        name = _clean_name(name)
    if isinstance(value, dict):
        if depth == _MAX_DEPTH:
            raise _unparsable(f"{name} is nested deeper than {_MAX_DEPTH} levels")
        for key, item in value.items():
            part = _clean_name(str(key))
            yield from flatten(f"{name}.{part}" if name else part, item, depth + 1)
    elif not is_absent(value):
        typed = _typed(name, value)
        if name and typed not in ("", []):
            yield within("attributes", name, MAX_NAME_CHARS), typed


@lru_cache(maxsize=4_096)
def _clean_name(name: str) -> str:
    return clean_line(name, "attributes")


def _typed(name: str, value: object) -> AttributeValue:  # noqa: PLR0911 - one a type
    """A leaf with its type; what JSON cannot hold becomes text."""
    match value:
        case str():
            return clean_line(within(name, value, MAX_TEXT_CHARS), name)
        case bool():
            return value
        case int() if abs(value) < 1 << 63:
            return value
        case float() if math.isfinite(value):
            return value
        case float():
            return str(value)
        case Decimal() if value.is_finite():
            return float(value)
        case list() | tuple():
            return _texts(name, value)
        case _:
            return clean_line(within(name, scalar_text(name, value), MAX_TEXT_CHARS), name)


def _texts(name: str, values: list[object] | tuple[object, ...]) -> list[str]:
    """A list as texts; objects within it as JSON."""
    if len(values) > MAX_ITEMS:
        detail = f"{len(values):,} values; {MAX_ITEMS} are allowed"
        raise RowFault(Reason.OVER_LONG, detail, name)
    return [
        text
        for value in values
        if not is_absent(value) and (text := clean_line(_item(name, value), name))
    ]


def _item(name: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case dict() | list() | tuple():
            try:
                text = json.dumps(value, ensure_ascii=False, default=str)
            except (ValueError, RecursionError) as error:
                raise _unparsable(f"{name}: {error}") from error
            return within(name, text, MAX_LINE_CHARS)
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return within(name, scalar_text(name, value), MAX_TEXT_CHARS)


def _unparsable(detail: str) -> RowFault:
    return RowFault(Reason.UNPARSABLE_ATTRIBUTES, detail, "attributes")
