"""Dates as numbers: what sorting by newest and filters compare."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from engine.retrieval.counts import MOST_VALUES, count
from engine.retrieval.facet_builder import FacetBuilder, moment, text_values
from engine.retrieval.facet_columns import OFFERS, TEXTS
from engine.retrieval.facets import Facets
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


def test_values_as_frequent_are_counted_by_name_however_the_catalog_grew(tmp_path: Path) -> None:
    brands = [f"Brand {number:02d}" for number in range(2 * MOST_VALUES)]
    made = [Product(brand, "Mug", brand=brand, category=("Mugs", brand)) for brand in brands]
    backwards = made[::-1]
    grown = FacetBuilder(tmp_path / "grown" / TEXTS)
    facets_of(tmp_path / "before", backwards[:-5])
    grown.take(tmp_path / "before" / TEXTS, np.arange(len(made) - 5, dtype=np.int32))
    for row, product in enumerate(backwards[-5:], start=len(made) - 5):
        grown.add(row, text_values(product))
    grown.finish()
    FacetBuilder(tmp_path / "grown" / OFFERS).finish()
    rows = np.arange(len(made))
    for facets in (
        facets_of(tmp_path / "forwards", made),
        facets_of(tmp_path / "backwards", backwards),
        Facets(tmp_path / "grown", len(made)),
    ):
        found = count(facets, "brand", rows, rows)
        assert [one.value for one in found.values] == brands[:MOST_VALUES]
        shelves = [one.value for one in count(facets, "category", rows, rows).values]
        assert shelves == ["Mugs", *(f"Mugs > {one}" for one in brands[: MOST_VALUES - 1])]
