"""What no catalog holds outlives an index run, or the run says that it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daogou import app
from engine.checksums import FileEntry
from engine.manifest import MANIFEST, read_manifest, write_manifest
from engine.retrieval.suggestions import read_asked
from engine.store import SnapshotStore
from indexer.build import IndexOptions, IndexReport, index_catalog
from indexer.plan import plan_index
from tests.shop import write_catalog

BARE = IndexOptions(reranker=None, ranking=None)
KEPT = {"behaviour/numbers": b"of purchases", "evidence/weights": b"of answers"}


def hold(folder: Path, files: dict[str, bytes]) -> None:
    """Have a snapshot hold these files too, as if they had been published."""
    entries = {}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        entries[name] = FileEntry.of(folder / name)
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"files": manifest.files | entries}))


@pytest.fixture
def shop(shop_store: Path, tmp_path: Path) -> SnapshotStore:
    """A store of two snapshots, the later one with other purchases and queries."""
    store = SnapshotStore(shutil.copytree(shop_store, tmp_path / "store"))
    hold(store.current(), {**KEPT, "suggest/asked.tsv": b"leather kettle for tent\t3\n"})
    index(store)
    newer = {
        "behaviour/numbers": b"of later purchases",
        "suggest/asked.tsv": b"desk mug for tent\t5\n",
    }
    for name in newer:  # hard-linked files are of both
        (store.current() / name).unlink()
    hold(store.current(), newer)
    return store


def index(store: SnapshotStore) -> IndexReport:
    return index_catalog(write_catalog(store.folder.parent / "catalog.jsonl"), store.folder, BARE)


def held(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in KEPT if (folder / name).exists()}


def test_it_is_that_of_the_snapshot_before(shop: SnapshotStore) -> None:
    report = index(shop)
    assert held(report.folder) == KEPT | {"behaviour/numbers": b"of later purchases"}
    assert read_asked(report.folder / "suggest") == {"desk mug for tent": 5}
    assert (report.lost, report.recovered) == ((), {})


def alter_manifest(store: SnapshotStore) -> None:
    (store.current() / MANIFEST).write_text("{}", encoding="utf-8")


def drop_manifest(store: SnapshotStore) -> None:
    (store.current() / MANIFEST).unlink()


def empty(store: SnapshotStore) -> None:
    folder = store.current()
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("harm", [alter_manifest, drop_manifest, empty])
def test_where_its_manifest_is_damaged_an_older_snapshot_gives_it(
    shop: SnapshotStore, harm: Callable[[SnapshotStore], None]
) -> None:
    older, _ = shop.ids()
    harm(shop)
    report = index(shop)
    assert held(report.folder) == KEPT
    assert read_asked(report.folder / "suggest") == {"leather kettle for tent": 3}
    assert report.lost == ()
    assert report.recovered == dict.fromkeys(("past-queries", "behaviour", "evidence"), older)
    assert "the snapshot before cannot be read" in report.again
    assert shop.verify() == []


def test_a_part_alone_that_is_damaged_or_gone_is_that_of_an_older_snapshot(
    shop: SnapshotStore,
) -> None:
    older, _ = shop.ids()
    (shop.current() / "behaviour" / "numbers").unlink()
    plan = plan_index(write_catalog(shop.folder.parent / "catalog.jsonl"), shop.folder, BARE)
    assert (plan.lost, plan.recovered) == ((), {"behaviour": older})
    report = index(shop)
    assert held(report.folder) == KEPT
    assert read_asked(report.folder / "suggest") == {"desk mug for tent": 5}
    assert (report.lost, report.recovered) == ((), {"behaviour": older})


def test_where_none_has_it_whole_that_is_said(shop: SnapshotStore) -> None:
    for name in shop.ids():
        (shop.path(name) / MANIFEST).write_text("{}", encoding="utf-8")
    catalog = write_catalog(shop.folder.parent / "catalog.jsonl")
    command = ["index", str(catalog), "--store", str(shop.folder), "--no-reranker"]
    warned = CliRunner().invoke(app, [*command, "--dry-run"], catch_exceptions=False).stdout
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    for part, gives in (
        ("past-queries", "index CATALOG"), ("behaviour", "publish"), ("evidence", "publish"),
    ):  # fmt: skip
        for printed in (warned, said):
            lost = f"What the snapshot before held of {part} cannot be read and is left out."
            assert lost in printed
        assert f"daogou {gives} --store {shop.folder} --{part} PATH" in said
    assert held(shop.current()) == {}
    again = index(shop)
    assert (again.lost, again.recovered) == ((), {})  # said once


@pytest.mark.parametrize("pointer", [b"nonsense", None], ids=["damaged", "gone"])
def test_where_nothing_says_what_was_served_the_newest_gives_it_and_that_is_said(
    shop: SnapshotStore, pointer: bytes | None
) -> None:
    newest = shop.ids()[-1]
    (shop.folder / "CURRENT").unlink()
    if pointer is not None:
        (shop.folder / "CURRENT").write_bytes(pointer)
    report = index(shop)
    assert "does not point to" in report.again
    assert held(report.folder) == KEPT | {"behaviour/numbers": b"of later purchases"}
    assert report.recovered == dict.fromkeys(("past-queries", "behaviour", "evidence"), newest)
    catalog = write_catalog(shop.folder.parent / "catalog.jsonl")
    (shop.path(report.snapshot_id) / "behaviour" / "numbers").unlink()
    command = ["index", str(catalog), "--store", str(shop.folder), "--no-reranker"]
    said = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert f"held of behaviour cannot be read: it is that of {newest} again." in said


def test_what_came_after_the_snapshot_that_was_rolled_back_to_is_left(shop: SnapshotStore) -> None:
    older, _ = shop.ids()
    shop.rollback(older)
    report = index(shop)
    assert held(report.folder) == KEPT
    assert (report.lost, report.recovered) == ((), {})
