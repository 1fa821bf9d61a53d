"""Snapshots are published whole, found damaged when damaged, and rolled back."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.errors import (
    SnapshotDamagedError,
    SnapshotError,
    SnapshotNotFoundError,
    SnapshotSchemaError,
    StoreLockedError,
)
from engine.manifest import Manifest, check_files, describe_files, read_manifest, write_manifest
from engine.store import SnapshotStore, Staging


def manifest_of(staging: Staging) -> Manifest:
    return Manifest(
        id=staging.id,
        parent=staging.parent,
        created_at=datetime.now(UTC),
        daogou_version="0",
        source="test",
        products=1,
        rejected=0,
        dim=4,
        lexical_fingerprint="l",
        models={},
        files=describe_files(staging.folder),
    )


def publish(store: SnapshotStore, **contents: str) -> str:
    with store.writing():
        staging = store.stage()
        for name, content in contents.items():
            (staging.folder / name).write_text(content)
        store.publish(staging, manifest_of(staging))
    return staging.id


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "store")


def test_the_last_published_is_served(store: SnapshotStore) -> None:
    first, second = publish(store, a="1"), publish(store, a="2")
    assert store.ids() == [first, second]
    assert (store.current() / "a").read_text() == "2"
    assert store.manifest(second).parent == first
    assert store.manifest(first).parent is None
    assert not (store.folder / "staging").exists()


def test_an_empty_store_names_the_cure(store: SnapshotStore) -> None:
    with pytest.raises(SnapshotNotFoundError, match="daogou index CATALOG"):
        store.current()


def test_unchanged_files_are_shared_with_the_parent(store: SnapshotStore) -> None:
    first = publish(store, same="x" * 1000, other="1")
    second = publish(store, same="x" * 1000, other="2")
    assert (store.path(first) / "same").samefile(store.path(second) / "same")
    assert not (store.path(first) / "other").samefile(store.path(second) / "other")
    assert store.prune(keep=1) == [first]
    assert store.verify(second) == []


def test_rollback_moves_the_pointer_and_publishing_goes_on(store: SnapshotStore) -> None:
    first = publish(store, a="1")
    with pytest.raises(SnapshotNotFoundError, match=f"before {first}.*daogou index CATALOG"):
        store.rollback()
    second = publish(store, a="2")
    assert store.rollback() == first
    assert (store.current() / "a").read_text() == "1"
    with pytest.raises(SnapshotNotFoundError, match=f"before {first}.*rollback {second}"):
        store.rollback()
    third = publish(store, a="3")
    assert store.ids() == [first, second, third]
    assert store.rollback() == first  # what was served before the third, not the rejected second
    assert store.rollback(second) == second


def test_rollback_refuses_a_damaged_snapshot(store: SnapshotStore) -> None:
    first, second = publish(store, a="1"), publish(store, a="2")
    (store.path(first) / "a").write_text("9")
    with pytest.raises(SnapshotDamagedError, match="a was altered"):
        store.rollback()
    assert store.current_id() == second


def test_a_publish_that_cannot_move_the_pointer_publishes_nothing(store: SnapshotStore) -> None:
    first = publish(store, a="1")
    (store.folder / "CURRENT.next").mkdir()  # stands for a disk that is full just then
    with pytest.raises(OSError, match=r"CURRENT\.next"):
        publish(store, a="2")
    assert store.ids() == [first] == [store.current_id()]


def test_a_store_whose_snapshots_are_gone_can_be_indexed_again(store: SnapshotStore) -> None:
    shutil.rmtree(store.path(publish(store, a="1")))
    with pytest.raises(SnapshotDamagedError, match="daogou index"):
        store.current()
    assert publish(store, a="2") == store.current_id()


def test_a_stray_file_is_named_but_does_not_stop_the_shop(store: SnapshotStore) -> None:
    folder = store.path(publish(store, a="1"))
    (folder / ".DS_Store").write_text("x")
    check_files(folder, read_manifest(folder), every_byte=False)
    assert store.verify() == [".DS_Store does not belong to it"]


def test_prune_keeps_the_current_one(store: SnapshotStore) -> None:
    ids = [publish(store, a=str(n)) for n in range(4)]
    store.rollback(ids[0])
    assert store.prune(keep=2) == [ids[1]]
    assert store.ids() == [ids[0], ids[2], ids[3]]


def test_what_a_crash_left_in_staging_is_swept(store: SnapshotStore) -> None:
    publish(store, a="1")
    with store.writing():
        (store.stage().folder / "half").write_text("h")
    assert publish(store, a="2") == store.current_id()
    assert not (store.folder / "staging").exists()


def test_a_crash_before_the_pointer_moved_leaves_the_old_one_served(store: SnapshotStore) -> None:
    first = publish(store, a="1")
    with store.writing():
        staging = store.stage()
        (staging.folder / "a").write_text("2")
        write_manifest(staging.folder, manifest_of(staging))
        staging.folder.rename(store.path(staging.id))
    assert store.current_id() == first
    assert publish(store, a="3") > staging.id


def _hold(folder: Path, started: multiprocessing.synchronize.Event) -> None:
    with SnapshotStore(folder).writing():
        started.set()
        multiprocessing.Event().wait(60)


def test_one_writer_at_a_time_and_a_killed_one_leaves_no_lock(store: SnapshotStore) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    writer = context.Process(target=_hold, args=(store.folder, started))
    writer.start()
    try:
        assert started.wait(30)
        with pytest.raises(StoreLockedError, match="another process"), store.writing():
            pass
    finally:
        writer.kill()
        writer.join()
    with store.writing():
        pass


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with (
        pytest.raises(SnapshotError, match="cannot write"),
        SnapshotStore(tmp_path / "file").writing(),
    ):
        pass


@pytest.mark.parametrize("content", ["", "no-such-id\n", "../../etc\n", "\udcff"])
def test_a_broken_pointer_names_the_cure(store: SnapshotStore, content: str) -> None:
    published = publish(store, a="1")
    (store.folder / "CURRENT").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SnapshotDamagedError, match=f"rollback {published}"):
        store.current()
    assert store.rollback(published) == published
    assert store.current_id() == published


def test_a_missing_pointer_is_no_empty_store(store: SnapshotStore) -> None:
    ids = [publish(store, a=str(n)) for n in range(3)]
    pointer = store.folder / "CURRENT"
    pointer.unlink()
    for asked in (store.current, store.current_id, store.rollback, store.verify):
        with pytest.raises(SnapshotDamagedError, match=f"it is missing.*rollback {ids[-1]}"):
            asked()
    with pytest.raises(SnapshotDamagedError, match="rollback"):
        store.prune(keep=1)
    assert store.ids() == ids
    assert store.rollback(ids[1]) == ids[1] == store.current_id()
    pointer.unlink()
    assert publish(store, a="3") == store.current_id()


def test_a_first_run_killed_before_the_pointer_was_written_can_be_repeated(
    store: SnapshotStore,
) -> None:
    with store.writing():
        store.stage()  # killed while it was made: no snapshot yet
    with pytest.raises(SnapshotNotFoundError, match="daogou index CATALOG"):
        store.current()
    first = publish(store, a="1")
    (store.folder / "CURRENT").unlink()
    with pytest.raises(SnapshotDamagedError, match=f"rollback {first}"):
        store.current()
    second = publish(store, a="2")
    assert store.ids() == [first, second]
    assert store.current_id() == second
    assert store.manifest(second).parent is None


def test_every_flipped_bit_is_found(store: SnapshotStore) -> None:
    name = publish(store, big="0123456789" * 3, small="x")
    folder = store.path(name)
    assert store.verify() == []
    random.seed(5)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for position in random.sample(range(len(whole)), min(len(whole), 25)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << random.randrange(8)
            path.write_bytes(damaged)
            assert store.verify(), f"bit flip at {path.name}:{position} not found by verify"
            with pytest.raises(SnapshotError):
                check_files(folder, read_manifest(folder), every_byte=False)
        path.write_bytes(whole)
    assert store.verify() == []


def test_truncated_missing_and_foreign_files_are_named(store: SnapshotStore) -> None:
    folder = store.path(publish(store, a="aaaa", b="b", c="c"))
    (folder / "a").write_text("aa")
    (folder / "b").unlink()
    (folder / "d").write_text("d")
    assert store.verify() == [
        "d does not belong to it",
        "a has 2 bytes instead of 4",
        "b cannot be read: No such file or directory",
    ]


def rewrite(folder: Path, **changes: object) -> None:
    """Alter the manifest as another version of daogou would have written it."""
    content = json.loads((folder / "manifest.json").read_bytes()) | changes
    (folder / "manifest.json").write_text(json.dumps(content))
    os.system(f"cd {folder} && sha256sum manifest.json > manifest.sha256")


@pytest.mark.parametrize(
    ("changes", "error", "cure"),
    [
        ({"schema_version": 0}, SnapshotSchemaError, "daogou index CATALOG"),
        ({"schema_version": 99}, SnapshotSchemaError, "pip install --upgrade daogou"),
        ({"format": "elastic"}, SnapshotDamagedError, "'elastic'"),
        ({"format": 5}, SnapshotDamagedError, "not a daogou manifest"),
        ({"products": "many"}, SnapshotDamagedError, "not a daogou manifest"),
        ({"surprise": 1}, SnapshotDamagedError, "not a daogou manifest"),
    ],
)
def test_foreign_manifests_are_refused(
    store: SnapshotStore, changes: dict[str, object], error: type[SnapshotError], cure: str
) -> None:
    folder = store.path(publish(store, a="1"))
    rewrite(folder, **changes)
    with pytest.raises(error, match=cure):
        read_manifest(folder)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotNotFoundError):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(SnapshotDamagedError, match="not a daogou snapshot"):
        read_manifest(tmp_path)
