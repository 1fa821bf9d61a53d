"""Dates in filters and facets are read as the catalog writes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from engine.errors import FilterError
from engine.guide.relax import wording
from engine.retrieval.counts import RANGES, count
from engine.retrieval.dates import date_range, span
from engine.retrieval.facets import Facets
from engine.retrieval.filters import allowed_rows, filter_from_json, parse_filters
from engine.types import And, Between, Filter, Or, Product
from tests.parts import facets_of

WRITTEN = (
    "2025-12-31T23:59:59.999999Z",
    "2026",
    "2026-01-31T23:30:00-01:00",
    "2026-02-28 12:00",
    "",
    "2027-01-01",
)
SECONDS = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def facets(tmp_path_factory: pytest.TempPathFactory) -> Facets:
    products = [Product(str(row), "Mug", created_at=date) for row, date in enumerate(WRITTEN)]
    return facets_of(tmp_path_factory.mktemp("facets"), products)


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("created_at=2026", [1, 2, 3]),
        ("created_at=2026-01", [1]),
        ("created_at=2026-02", [2, 3]),
        ("created_at=2026-02-28", [3]),
        ("created_at=20260228", [3]),
        ("Created_At=2026-02-28T12:00", [3]),
        ("created_at=2026-02-28T13:00+01:00", [3]),
        ("created_at=2026-02-28T12:01", []),
        ("created_at!=2026", [0, 4, 5]),
        ("created_at>=2026-02-01", [2, 3, 5]),
        ("created_at<=2025-12-31", [0]),
        ("created_at<=2026-02-28", [0, 1, 2, 3]),
        ("created_at<=2026-02-28 11:59:59 UTC", [0, 1, 2]),
        ("created_at=2025..2026-01", [0, 1]),
        ("created_at=2025..2026", [0, 1, 2, 3]),
        ("created_at=2026-02-28T12:00..2026-12-31", [3]),
        ("created_at=..2026", [0, 1, 2, 3]),
        ("created_at=2026-03-01..", [5]),
        (f"created_at>={SECONDS}", [1, 2, 3, 5]),
        (f"created_at={SECONDS:.0f}..{SECONDS + 1:.0f}", [1]),
        (f"created_at={SECONDS:.0f}", [1]),
    ],
)
def test_expressions(facets: Facets, expression: str, rows: list[int]) -> None:
    assert allowed_rows(parse_filters([expression]), facets).rows.tolist() == rows


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ("2026-01", [1]),
        (["2026-01", "2027"], [1, 5]),
        ([], []),
        (2026, [1, 2, 3]),
        (int(SECONDS), [1]),
        (SECONDS, [1]),
        ({"gte": "2026-02", "lte": "2026"}, [2, 3]),
        ({"gte": SECONDS, "lte": "2026-01"}, [1]),
        ({"gte": SECONDS + 1}, [2, 3, 5]),
    ],
)
def test_json(facets: Facets, value: object, rows: list[int]) -> None:
    assert allowed_rows(filter_from_json({"created_at": value}), facets).rows.tolist() == rows


@pytest.mark.parametrize(
    "said", ["soon", "2026-02-30", "..", "a..b", "2026-01-01..soon", "2026-13", "nan", "1" * 400]
)
def test_what_is_no_date_is_told(said: str) -> None:
    with pytest.raises(FilterError, match=r"created_at .* no date\. Write a date as 2026"):
        parse_filters([f"created_at={said}"])


@pytest.mark.parametrize("value", ["soon", None, True, [None], {"gte": "2026-1"}, {"lte": []}])
def test_json_that_is_no_date_is_told(value: object) -> None:
    with pytest.raises(FilterError, match="no date"):
        filter_from_json({"created_at": value})


def test_days_are_as_long_as_the_calendar_has_them() -> None:
    for first, after in (("2024", "2025"), ("2024-02", "2024-03-01"), ("2026-12-31", "2027")):
        named, next_to = span(first), span(after)
        assert named is not None
        assert next_to is not None
        assert math.nextafter(named[1], math.inf) == next_to[0]
    assert span("9999-12") is not None
    assert span("2026-11-24T09:30") == span("2026-11-24T10:30+01:00")


def days(count: int) -> list[Product]:
    """Three products a day, and some that nobody dated."""
    dates = [
        f"2026-{day // 28 + 1:02d}-{day % 28 + 1:02d}{time}"
        for day in range(count)
        for time in ("", "T00:00:00.000001Z", "T23:59:59.999999Z")
    ]
    return [Product(str(row), "Mug", created_at=date) for row, date in enumerate([*dates, "", ""])]


@pytest.mark.parametrize("many", [4, 100])
def test_facets_are_ranges_of_days_that_filter_to_their_counts(tmp_path: Path, many: int) -> None:
    products = days(many)
    facets = facets_of(tmp_path, products)
    rows = np.arange(len(products))
    found = count(facets, "created_at", rows, rows).values
    assert len(found) == min(RANGES, many)
    assert (found[0].low, found[-1].high) == ("2026-01-01", products[-4].created_at[:10])
    assert sum(one.count for one in found) == 3 * many
    for one in found:
        for chosen in (
            parse_filters([f"created_at={one.low}..{one.high}"]),
            filter_from_json({"created_at": {"gte": one.low, "lte": one.high}}),
        ):
            assert len(allowed_rows(chosen, facets)) == one.count


def between(expression: str) -> Filter:
    """The one condition of an expression."""
    match parse_filters([expression]):
        case And((Between() as one,)) | And((Or((Between() as one,)),)):
            return one
    raise AssertionError(expression)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("created_at=2026-02", "created_at=2026-02-01..2026-02-28"),
        ("created_at=2026-02-01", "created_at=2026-02-01"),
        ("created_at<=2026", "created_at=..2026-12-31"),
        ("created_at>=2026-02-01T10:30+01:00", "created_at=2026-02-01T09:30:00Z.."),
        ("created_at<=2026-02-01T00:00", "created_at=..2026-02-01T00:00:00Z"),
        ("created_at<=2026-02-01T09:30:00.5", "created_at=..2026-02-01T09:30:00.500000Z"),
        (f"created_at<={10**15}", f"created_at=..{10**15}"),
    ],
)
def test_conditions_are_worded_as_expressions(expression: str, said: str) -> None:
    condition = between(expression)
    assert wording(condition) == said
    assert between(said) == condition


def test_a_moment_is_worded_once() -> None:
    assert date_range(SECONDS, SECONDS) == "2026-01-01..2026-01-01T00:00:00Z"
    assert date_range(SECONDS + 1, SECONDS + 1) == "2026-01-01T00:00:01Z"
