"""Rejected rows are counted and listed, or stop the run when it is strict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import CatalogError, RejectedRowError
from indexer.catalog import Reason, RejectLog, read_catalog
from indexer.catalog.rejects import RowFault
from tests.indexer.catalog.catalogs import read, write_jsonl

FAULT = RowFault(Reason.UNPARSABLE_PRICE, "'free' is no price", "price")


def test_each_reject_is_one_line(tmp_path: Path) -> None:
    with RejectLog(tmp_path / "deep" / "rejects.jsonl") as log:
        log.add(Path("shop.csv"), 7, FAULT, "k1")
        log.add(Path("shop.csv"), 8, FAULT, "k2")
    lines = (tmp_path / "deep" / "rejects.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "file": "shop.csv", "row": 7, "id": "k1", "field": "price", "reason": "unparsable price",
        "detail": "'free' is no price",
    }  # fmt: skip
    assert (log.total, log.by_reason) == (2, {"unparsable price": 2})
    assert len(lines) == 2


def test_without_rejects_no_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    path.write_text("of an earlier run")
    with RejectLog(path) as log:
        pass
    assert not path.exists()
    assert log.total == 0


def test_a_log_without_a_file_counts(tmp_path: Path) -> None:
    with RejectLog(None) as log:
        log.add(tmp_path, None, FAULT)
    assert log.total == 1


def test_strict_stops_at_the_first_and_names_the_place(tmp_path: Path) -> None:
    catalog = write_jsonl(
        tmp_path / "shop.jsonl",
        {"id": "a", "title": "Kettle"},
        {"id": "b", "title": "Mug", "price": "free"},
    )
    with RejectLog(tmp_path / "rejects.jsonl", strict=True) as log:
        products = read_catalog(catalog, rejects=log)
        assert next(products).id == "a"
        with pytest.raises(RejectedRowError, match=r"shop\.jsonl, row 2, field price: unparsable"):
            next(products)
    assert (tmp_path / "rejects.jsonl").exists()


def test_a_rejects_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "rejects.jsonl", tmp_path):
        with pytest.raises(CatalogError, match="--rejects"), RejectLog(place):
            pass


def test_an_earlier_log_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    path.write_text("of an earlier run")
    with pytest.raises(CatalogError, match="no_such"), RejectLog(path) as log:
        read_catalog(tmp_path / "no_such.csv", rejects=log)
    assert path.read_text() == "of an earlier run"
    flawed = write_jsonl(tmp_path / "shop.jsonl", {"id": "b", "title": "Mug", "price": "free"})
    with pytest.raises(RejectedRowError), RejectLog(path, strict=True) as log:
        list(read_catalog(flawed, rejects=log))
    assert json.loads(path.read_text())["reason"] == "unparsable price"
    assert sorted(tmp_path.iterdir()) == [path, flawed]


def test_rejects_are_not_listed_over_the_catalog(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    catalog = write_jsonl(folder / "shop.jsonl", {"id": "a"})
    (tmp_path / "link.jsonl").symlink_to(catalog)
    before = catalog.read_bytes()
    for source, place in (
        (catalog, catalog),
        (catalog, tmp_path / "link.jsonl"),
        (folder, catalog),
        (folder, folder / "new.jsonl"),
    ):
        with (
            pytest.raises(CatalogError, match="part of the catalog"),
            RejectLog(place) as log,
        ):
            read_catalog(source, rejects=log)
        assert catalog.read_bytes() == before
        assert sorted(path.name for path in folder.iterdir()) == ["shop.jsonl"]


def test_the_first_good_row_of_an_id_wins(tmp_path: Path) -> None:
    catalog = write_jsonl(
        tmp_path / "shop.jsonl",
        {"id": "a", "title": "Unpriced", "price": "free"},
        {"id": "a", "title": "First"},
        {"id": "a", "title": "Second"},
    )
    outcome = read(catalog)
    assert [product.title for product in outcome.products] == ["First"]
    assert outcome.by_reason == {"unparsable price": 1, "duplicate id": 1}
    assert outcome.rejects[1]["detail"] == f"first in {catalog}, row 2"
