from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daogou import app
from engine.errors import CatalogError
from engine.guide.guide import ShoppingGuide
from indexer.apply import apply_changes
from indexer.build import IndexOptions, index_catalog
from indexer.plan import plan_index
from tests.shop import write_catalog


def test_old_queries_are_suggested_and_outlive_later_runs(tmp_path: Path) -> None:
    catalog, store = write_catalog(tmp_path / "catalog.jsonl"), tmp_path / "store"
    queries = tmp_path / "queries.txt"
    queries.write_text("tent for the wireless kettle\nTent for the wireless  kettle\n")
    bare = IndexOptions(reranker=None, ranking=None, past_queries=queries)
    index_catalog(catalog, store, bare)
    changes = tmp_path / "changes.jsonl"
    changes.write_text('{"id": "z1", "deleted": true}\n')

    apply_changes(changes, store)

    (found,) = ShoppingGuide.open(store).suggest("tent for")
    assert (found.text, found.weight) == ("tent for the wireless kettle", 20)


@pytest.mark.parametrize("index", [index_catalog, plan_index], ids=["run", "dry run"])
def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, index: Callable[[Path, Path, IndexOptions], object]
) -> None:
    catalog = write_catalog(tmp_path / "catalog.jsonl")
    options = IndexOptions(past_queries=tmp_path / "none.txt")

    with pytest.raises(CatalogError, match=r"none\.txt"):
        index(catalog, tmp_path / "store", options)


@pytest.mark.parametrize("harm", [b"tent for the wireless kettlf\t1\n", b"\xff"])
def test_damaged_ones_are_left_out_and_that_is_said(tmp_path: Path, harm: bytes) -> None:
    catalog, store = write_catalog(tmp_path / "catalog.jsonl"), tmp_path / "store"
    queries = tmp_path / "queries.txt"
    queries.write_text("tent for the wireless kettle\n")
    bare = IndexOptions(reranker=None, ranking=None, past_queries=queries)
    folder = index_catalog(catalog, store, bare).folder
    (folder / "suggest" / "asked.tsv").write_bytes(harm)
    command = ["index", str(catalog), "--store", str(store), "--no-reranker"]
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "of past-queries cannot be read and is left out" in said
    assert f"daogou index CATALOG --store {store} --past-queries PATH" in said
    assert ShoppingGuide.open(store).suggest("tent for") == []
