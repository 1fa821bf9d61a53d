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
    log = RejectLog(tmp_path / "file" / "rejects.jsonl")
    with pytest.raises(CatalogError, match="--rejects"):
        log.add(tmp_path, 1, FAULT)


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
    assert outcome.rejects[1]["detail"] == "first in shop.jsonl, row 2"
