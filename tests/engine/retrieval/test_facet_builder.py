"""Dates as numbers: what sorting by newest and filters compare."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.retrieval.facet_builder import moment
from engine.types import Product
from tests.parts import facets_of


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    moment.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("written", "begins"),
    [
        ("2026", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-03", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-04", datetime(2026, 3, 4, tzinfo=UTC)),
        ("20260304T0506", datetime(2026, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-03-04 05:06:07.5", datetime(2026, 3, 4, 5, 6, 7, 500_000, tzinfo=UTC)),
        ("2026-03-04T05:06Z", datetime(2026, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-03-04T05:06 UTC", datetime(2026, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-03-04 05:06 -0500", datetime(2026, 3, 4, 10, 6, tzinfo=UTC)),
    ],
)
def test_a_date_is_the_same_moment_on_every_machine(written: str, begins: datetime) -> None:
    found = moment(written)
    assert found is not None
    assert found.timestamp() == begins.timestamp()


@pytest.mark.parametrize(
    "written", ["", "2026-02-31", "202603", "2026-03-04T25", "soon", "２０２６"]
)
def test_what_is_no_date_is_no_moment(written: str) -> None:
    assert moment(written) is None


def test_filters_and_sorting_read_the_same_and_pass_over_what_is_no_date(tmp_path: Path) -> None:
    written = ["2026", "2026-02-31", "2025-12-31T23:00-02:00", "", "2026-01-01 12:00"]
    facets = facets_of(
        tmp_path, [Product(str(row), "Mug", created_at=date) for row, date in enumerate(written)]
    )
    assert facets.places("created_at").tolist() == [0, -1, 1, -1, 2]
    bound = datetime(2026, 1, 1, 1, tzinfo=UTC).timestamp()
    assert facets.within("created_at", None, bound).tolist() == [0, 2]
    assert facets.within("created_at", bound + 1, None).tolist() == [4]
