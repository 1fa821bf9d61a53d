"""Killed at any moment, `daogou index` leaves the store serving what it served before."""

from __future__ import annotations

import multiprocessing
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from indexer.build import index_catalog
from tests.shop import PRODUCTS, write_catalog

KILLS = 30

# Every child starts with the libraries loaded, so that kills land in the indexing itself.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["indexer.build"])


def start(catalog: Path, store: Path) -> multiprocessing.context.ForkServerProcess:
    process = context.Process(target=index_catalog, args=(catalog, store))
    process.start()
    return process


def first_title(store: Path) -> str:
    """The title of the first product served, by opening the snapshot as a server does."""
    snapshot = Snapshot.open(SnapshotStore(store).current())
    (row,) = snapshot.products.rows_of(["k1"])
    assert row is not None
    return snapshot.products.fetch([row])[0].title


@pytest.mark.slow
def test_a_killed_index_run_changes_nothing(tmp_path: Path) -> None:
    rng = random.Random(17)
    store = tmp_path / "store"
    snapshots = SnapshotStore(store)
    catalogs = []
    for version in range(2):
        changed = [replace(product, title=f"{product.title} v{version}") for product in PRODUCTS]
        catalogs.append(write_catalog(tmp_path / f"v{version}.jsonl", changed))
    index_catalog(catalogs[0], store)

    for _ in range(2):  # the first run also waits for the libraries to load
        started = time.monotonic()
        whole = start(catalogs[0], store)
        whole.join()
        duration = time.monotonic() - started
        assert whole.exitcode == 0

    served, stopped_early = snapshots.current_id(), 0
    for _ in range(KILLS):
        process = start(catalogs[1], store)
        time.sleep(rng.uniform(0, duration))
        process.kill()
        process.join()
        now = snapshots.current_id()
        assert snapshots.verify(now) == []
        if now == served:
            stopped_early += 1
        else:  # it was done just before the kill: then all of it counts
            assert first_title(store).endswith("v1")
            snapshots.rollback(served)
        assert first_title(store).endswith("v0")
    assert stopped_early >= KILLS // 3, "the kills came too late to show anything"

    index_catalog(catalogs[1], store)
    assert first_title(store).endswith("v1")
    assert not (store / "staging").exists()
