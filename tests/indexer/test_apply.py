"""Changes without the whole catalog: what they make of the store, and what they leave alone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daogou import app
from engine import checksums, manifest
from engine.checksums import sha256_of
from engine.errors import (
    CatalogError,
    RejectedRowError,
    SnapshotDamagedError,
    SnapshotNotFoundError,
)
from engine.manifest import read_manifest
from engine.search import SearchEngine
from engine.store import SnapshotStore
from engine.types import Product
from indexer.apply import REJECTS, apply_changes
from indexer.build import IndexOptions, index_catalog
from indexer.plan import plan_index
from indexer.reuse import Changes
from tests.shop import PRODUCTS, write_catalog

FIRST, SECOND, THIRD, *_ = PRODUCTS
NEW = Product("new-1", "Cast iron teapot, black", brand="Emberly", price=35.0)


@pytest.fixture
def store(shop_store: Path, tmp_path: Path) -> Path:
    """A copy of the shop's store, to write to."""
    return shutil.copytree(shop_store, tmp_path / "store")


def written(path: Path, *rows: Product | dict[str, Any]) -> Path:
    values = [row.to_dict() if isinstance(row, Product) else row for row in rows]
    path.write_text("".join(json.dumps(each) + "\n" for each in values), encoding="utf-8")
    return path


def served(store: Path) -> list[Product]:
    return list(SearchEngine.open(store).snapshot.products)


def test_products_are_added_replaced_and_removed(store: Path, tmp_path: Path) -> None:
    cheaper, renamed = replace(SECOND, price=1.0), replace(THIRD, title="A new name")
    gone = PRODUCTS[-1]
    changes = written(
        tmp_path / "changes.jsonl",
        NEW, cheaper, {"id": gone.id, "deleted": True}, renamed, {"id": "unknown", "deleted": True},
    )  # fmt: skip
    report = apply_changes(changes, store)
    kept = len(PRODUCTS) - 3
    assert report.changes == Changes(added=1, changed=1, updated=1, kept=kept, removed=1, encoded=2)
    expected = [FIRST, cheaper, renamed, *PRODUCTS[3:-1], NEW]
    assert served(store) == expected
    engine = SearchEngine.open(store)
    assert engine.search("cast iron teapot").hits[0].product == NEW
    assert gone.id not in {hit.product.id for hit in engine.search(gone.title, k=100).hits}

    # As if the whole catalog had been indexed.
    index_catalog(
        write_catalog(tmp_path / "whole.jsonl", expected), tmp_path / "whole",
        IndexOptions(reranker=None, ranking=None),
    )  # fmt: skip
    whole = SearchEngine.open(tmp_path / "whole")
    for query in ("kettle", "travel mug", "tent", "保温杯"):
        ours, theirs = engine.search(query, k=100), whole.search(query, k=100)
        assert [(hit.product, hit.score) for hit in ours.hits] == [
            (hit.product, hit.score) for hit in theirs.hits
        ]


def test_applied_again_nothing_is_published(store: Path, tmp_path: Path) -> None:
    changes = written(tmp_path / "c.jsonl", NEW, {"id": FIRST.id, "deleted": "true"}, THIRD)
    first = apply_changes(changes, store)
    ids = SnapshotStore(store).ids()
    again = apply_changes(changes, store)
    assert again.snapshot_id == first.snapshot_id
    assert again.changes == Changes(kept=len(PRODUCTS))
    assert SnapshotStore(store).ids() == ids


def test_bad_rows_are_listed_and_the_rest_is_applied(store: Path, tmp_path: Path) -> None:
    changes = written(
        tmp_path / "c.jsonl",
        {"id": "x1", "price": 3}, {"deleted": True}, NEW, replace(NEW, price=9.0),
        {"id": SECOND.id, "deleted": "perhaps"},
    )  # fmt: skip
    report = apply_changes(changes, store)
    assert report.rejects_by_reason == {"missing title": 1, "missing id": 1, "ill-typed field": 1}
    assert report.rejects_file == store / REJECTS
    listed = [json.loads(line) for line in report.rejects_file.read_text().splitlines()]
    assert [(each["row"], each["field"]) for each in listed] == [
        (1, "title"), (2, "id"), (5, "deleted"),
    ]  # fmt: skip
    assert served(store) == [*PRODUCTS, replace(NEW, price=9.0)]
    assert SnapshotStore(store).manifest(report.snapshot_id).rejected == 3
    before = SnapshotStore(store).current_id()
    with pytest.raises(RejectedRowError):
        apply_changes(
            written(tmp_path / "c.jsonl", {"id": FIRST.id, "deleted": True}, {"id": "x"}),
            store,
            IndexOptions(strict=True),
        )
    assert SnapshotStore(store).current_id() == before


def test_the_manifest_counts_the_rows_that_its_own_run_rejected(
    store: Path, tmp_path: Path
) -> None:
    for price in (1.0, 2.0):
        changes = written(tmp_path / "c.jsonl", {"id": "x1"}, replace(NEW, price=price))
        report = apply_changes(changes, store)
        assert SnapshotStore(store).manifest(report.snapshot_id).rejected == 1
    apply_changes(written(tmp_path / "c.jsonl", replace(NEW, price=3.0)), store)
    assert read_manifest(SnapshotStore(store).current()).rejected == 0


@pytest.mark.parametrize("title", ["product_title", "product_name,category hierarchy"])
def test_changes_in_the_layout_of_a_published_set_are_told_what_to_name(
    store: Path, tmp_path: Path, title: str
) -> None:
    table = tmp_path / "changes.csv"
    table.write_text(f"product_id,{title}\n")
    name = title.partition(",")[0]
    with pytest.raises(CatalogError, match=f"--map id=product_id --map title={name}") as caught:
        apply_changes(table, store)
    assert "--format" not in str(caught.value)
    table.write_text(f"product_id,product_title\n{NEW.id},Teapot\n")
    apply_changes(
        table, store, IndexOptions(mapping={"id": "product_id", "title": "product_title"})
    )
    assert served(store)[-1] == Product(NEW.id, "Teapot")


def test_every_byte_of_what_is_served_is_read_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_now, read = SnapshotStore(store).current(), Counter[Path]()

    def counted(path: Path) -> str:
        read[path] += 1
        return sha256_of(path)

    monkeypatch.setattr(checksums, "sha256_of", counted)
    monkeypatch.setattr(manifest, "sha256_of", counted)
    apply_changes(written(tmp_path / "c.jsonl", NEW), store)
    for name in ("products.sqlite", "offers.sqlite", "vectors.npy", "models/encoder/model.bin"):
        assert read[served_now / name] == 1, name
    # Once more where what was written is compared with it, to be shared if it came out the same.
    assert max(read[served_now / name] for name in read_manifest(served_now).files) == 2


def test_a_table_says_what_goes_by_any_name_of_its_columns(store: Path, tmp_path: Path) -> None:
    table = tmp_path / "changes.csv"
    table.write_text(f"ID,Title,Deleted\n{FIRST.id},,yes\nnew-2,Paper straws,no\n")
    apply_changes(table, store)
    ids = [product.id for product in served(store)]
    assert ids == [*(product.id for product in PRODUCTS[1:]), "new-2"]
    table.write_text(f"article,name,deleted\n {SECOND.id} ,x,1\n")
    mapping = {"id": "article", "title": "name"}
    report = apply_changes(table, store, IndexOptions(mapping=mapping))
    assert report.changes.removed == 1
    assert SECOND.id not in [product.id for product in served(store)]
    assert all("deleted" not in product.attributes for product in served(store))


def test_of_several_rows_for_one_id_the_last_counts(store: Path, tmp_path: Path) -> None:
    gone = {"id": NEW.id, "deleted": True}
    later = replace(NEW, price=1.0)
    changes = written(tmp_path / "c.jsonl", NEW, gone, later, {"id": FIRST.id, "deleted": 1}, FIRST)
    apply_changes(changes, store)
    assert served(store) == [*PRODUCTS, later]
    apply_changes(written(tmp_path / "c.jsonl", NEW, gone), store)
    assert served(store) == list(PRODUCTS)


def test_true_is_not_one(store: Path, tmp_path: Path) -> None:
    for value in (1, True):
        product = replace(NEW, attributes={"waterproof": value})
        report = apply_changes(written(tmp_path / "c.jsonl", product), store)
        assert report.changes.added + report.changes.changed == 1  # its text tells too
        assert served(store)[-1].attributes["waterproof"] is value


def test_damage_is_not_carried_on(store: Path, tmp_path: Path) -> None:
    path = SnapshotStore(store).current() / "products.sqlite"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(SnapshotDamagedError, match=r"products\.sqlite was altered"):
        apply_changes(written(tmp_path / "c.jsonl", NEW), store)
    catalog = write_catalog(tmp_path / "catalog.jsonl")
    report = index_catalog(catalog, store, IndexOptions(reranker=None, ranking=None))
    assert report.changes == Changes(added=len(PRODUCTS), encoded=len(PRODUCTS))  # all anew
    assert served(store) == list(PRODUCTS)


def test_a_store_of_nothing_and_a_catalog_of_nothing_are_refused(
    store: Path, tmp_path: Path
) -> None:
    changes = written(tmp_path / "c.jsonl", NEW)
    with pytest.raises(SnapshotNotFoundError, match="Index the whole catalog first"):
        apply_changes(changes, tmp_path / "none")
    everything = [{"id": product.id, "deleted": True} for product in PRODUCTS]
    with pytest.raises(CatalogError, match="removes every product"):
        apply_changes(written(tmp_path / "all.jsonl", *everything), store)
    assert served(store) == list(PRODUCTS)


def test_the_command_says_what_it_did(store: Path, tmp_path: Path) -> None:
    changes = written(tmp_path / "c.jsonl", NEW, {"id": FIRST.id, "deleted": True})
    command = ["apply", str(changes), "--store", str(store)]
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert f"1 added, 0 with another text, 0 otherwise changed, {len(PRODUCTS) - 1} as they" in said
    assert "1 removed; 1 texts encoded." in said
    assert "Nothing to change" in CliRunner().invoke(app, command, catch_exceptions=False).stdout
    again = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False).stdout
    assert json.loads(again)["changes"]["kept"] == len(PRODUCTS)


def test_a_dry_run_tells_what_an_index_run_would_do(store: Path, tmp_path: Path) -> None:
    catalog = write_catalog(
        tmp_path / "catalog.jsonl", [replace(FIRST, price=1.0), replace(SECOND, title="New"), NEW]
    )
    before = sorted(store.rglob("*"))
    options = IndexOptions(reranker=None, ranking=None)
    plan = plan_index(catalog, store, options)
    assert sorted(store.rglob("*")) == before
    assert plan.seconds > 0
    assert plan.changes == index_catalog(catalog, store, options).changes
    assert (plan.products, plan.changes.encoded) == (3, 2)
    assert plan_index(catalog, store, options).seconds == 0.0
    assert plan_index(catalog, tmp_path / "none", options).changes == Changes(added=3, encoded=3)
    command = ["index", str(catalog), "--store", str(store), "--no-reranker", "--dry-run"]
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "Would index 3 products (0 rows rejected): 0 added" in said
    assert "0 texts to encode. Encoding takes about 0 s." in said


@pytest.mark.parametrize("harmed", ["vectors.npy", "products.sqlite", "manifest.json"])
def test_a_dry_run_says_as_the_run_does_why_every_text_is_encoded_again(
    store: Path, tmp_path: Path, harmed: str
) -> None:
    path = SnapshotStore(store).current() / harmed
    path.write_bytes(path.read_bytes()[:-3] + b"?!!")
    catalog = write_catalog(tmp_path / "catalog.jsonl")
    options = IndexOptions(reranker=None, ranking=None)
    plan = plan_index(catalog, store, options)
    command = ["index", str(catalog), "--store", str(store), "--no-reranker", "--dry-run"]
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    report = index_catalog(catalog, store, options)
    assert plan.again == report.again != ""
    assert plan.changes == report.changes
    assert f"Every text would be encoded: {report.again}." in said
