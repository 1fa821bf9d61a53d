"""Which rows of changes say that their product goes, and in what words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import CatalogError
from indexer.catalog import RejectLog, Removal, read_changes
from indexer.catalog.entries import Fresh
from tests.indexer.catalog.catalogs import read_row, write_jsonl


def outcome_of(
    source: Path, mapping: dict[str, str] | None = None
) -> tuple[list[str], list[Fresh], list[tuple[str, str]]]:
    """(ids that go, products that stay, id and field of each rejected row)."""
    log = source.parent / "rejects.jsonl"
    with RejectLog(log) as rejects:
        records = list(read_changes(source, mapping=mapping or {}, rejects=rejects))
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    return (
        [record.id for record in records if isinstance(record, Removal)],
        [record for record in records if isinstance(record, Fresh)],
        [(entry["id"], entry["field"]) for entry in map(json.loads, lines)],
    )


@pytest.mark.parametrize("said", [True, 1, 1.0, "true", "TRUE", " Yes ", "1", "t"])
def test_a_product_goes_where_deleted_is_true(tmp_path: Path, said: object) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", {"id": "a", "deleted": said})
    assert outcome_of(path) == (["a"], [], [])


@pytest.mark.parametrize("said", [False, 0, 0.0, "false", "No", "0", "f", "", None])
def test_a_product_stays_where_deleted_is_false(tmp_path: Path, said: object) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", {"id": "a", "title": "Mug", "deleted": said})
    gone, (stays,), rejected = outcome_of(path)
    assert (gone, rejected, stays.product.attributes) == ([], [], {})


@pytest.mark.parametrize(
    "said",
    ["available", "in stock", "discontinued", "sold out", "schema.org/InStock", "2026-01-01",
     2, [True]],
)  # fmt: skip
def test_words_of_stock_do_not_say_whether_a_product_goes(tmp_path: Path, said: object) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", {"id": "a", "title": "Mug", "deleted": said})
    assert outcome_of(path) == ([], [], [("a", "deleted")])


def test_is_deleted_counts_where_there_is_no_deleted(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,title,Is Deleted\na,Mug,yes\nb,Pan,no\n")
    gone, (stays,), rejected = outcome_of(path)
    assert (gone, rejected) == (["a"], [])
    assert (stays.product.id, stays.product.attributes) == ("b", {})
    path.write_text("id,title,is_deleted,deleted\na,Mug,yes,no\nb,Pan,no,yes\n")
    gone, (stays,), rejected = outcome_of(path)
    assert (gone, stays.product.id, rejected) == (["b"], "a", [])


def test_the_column_that_says_what_goes_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("id,title,gone,deleted\na,Mug,1,no\nb,Pan,0,yes\n")
    gone, (stays,), rejected = outcome_of(path, {"deleted": "gone"})
    assert (gone, rejected) == (["a"], [])
    assert (stays.product.id, stays.product.attributes) == ("b", {"deleted": "yes"})
    with pytest.raises(CatalogError, match="no column 'went', which --map deleted=went"):
        outcome_of(path, {"deleted": "went"})


def test_in_a_whole_catalog_deleted_is_an_attribute(tmp_path: Path) -> None:
    assert read_row(tmp_path, deleted=True).attributes == {"deleted": True}
    assert read_row(tmp_path, is_deleted="in stock").attributes == {"is_deleted": "in stock"}
