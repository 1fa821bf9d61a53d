"""Dates from the catalog to the order of an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.listing import View
from engine.search import SearchEngine
from engine.types import Sort
from indexer.apply import apply_changes
from indexer.build import IndexOptions, index_catalog
from indexer.catalog.fields import CONVERTERS

BARE = IndexOptions(reranker=None, ranking=None)


def written(path: Path, **dates: str) -> Path:
    rows = [{"id": name, "title": "Mug", "created_at": date} for name, date in dates.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def newest(store: Path) -> list[str]:
    hits = SearchEngine.open(store).search("mug", view=View(sort=Sort.NEWEST)).hits
    return [hit.product.id for hit in hits]


def test_dates_of_any_length_are_indexed_and_what_is_none_costs_its_row(tmp_path: Path) -> None:
    catalog = written(
        tmp_path / "shop.jsonl",
        year="2026", month="2026-03", old="2025-12-31T23:30Z", bad="2026-02-31", zone="2026-02 UTC",
    )  # fmt: skip
    report = index_catalog(catalog, tmp_path / "store", BARE)
    assert report.rejects_by_reason == {"unparsable created_at": 2}
    assert newest(tmp_path / "store") == ["month", "year", "old"]


def test_what_an_older_daogou_took_for_a_date_stops_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    with monkeypatch.context() as older:
        older.setitem(CONVERTERS, "created_at", str)
        index_catalog(written(tmp_path / "shop.jsonl", a="2026-02-31", b="2026"), store, BARE)
    apply_changes(written(tmp_path / "new.jsonl", c="2026-05", d="2026-02-31"), store)
    assert newest(store) == ["c", "b", "a"]
