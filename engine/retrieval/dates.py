"""Dates in filters and facets: they are compared as seconds since 1970 began, in UTC."""

from __future__ import annotations

import math
from calendar import isleap, monthrange
from datetime import UTC, datetime, timedelta

from engine.normal import comparable
from engine.numbers import plain_number
from engine.retrieval.facet_builder import moment

DAY = 86_400.0
_FIELD = "created_at"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_CHARS = 40  # of a date; longer texts are not read


def dated(name: str) -> bool:
    """Whether a field of this name holds dates."""
    return comparable(name) == _FIELD


def span(written: str) -> tuple[float, float] | None:
    """The first and the last moment of the year, month or day that a text names.

    A time of day is one moment. None of what is no date as the catalog writes them.
    """
    text = written.strip()
    begins = moment(text) if len(text) <= _MOST_CHARS else None
    if begins is None:
        return None
    first = begins.timestamp()
    match len(text.replace("-", "")):
        case 4:
            days = 365 + isleap(begins.year)
        case 6:
            days = monthrange(begins.year, begins.month)[1]
        case 8:
            days = 1
        case _:
            return first, first
    return first, math.nextafter(first + days * DAY, -math.inf)


def day_of(seconds: float) -> str:
    """The day of a moment, as a filter reads it."""
    return _written(math.floor(seconds / DAY) * DAY)


def date_range(low: float | None, high: float | None) -> str:
    """`2026-01-01..2026-01-31`, which a filter reads as these very bounds; None leaves one open."""
    first = "" if low is None else _written(low)
    if high is None:
        return f"{first}.."
    begins = math.nextafter(high, math.inf) - DAY  # of the day, where the bound is the end of one
    last = _written(begins if begins % DAY == 0 else high, day=begins % DAY == 0)
    return first if first == last else f"{first}..{last}"


def _written(seconds: float, *, day: bool = True) -> str:
    """A moment in ISO 8601: the day alone where it begins then, unless `day` forbids."""
    try:
        at = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:  # no calendar has it
        return plain_number(seconds)
    if day and seconds % DAY == 0:
        return at.date().isoformat()
    return at.isoformat().replace("+00:00", "Z")
