"""A server goes over to each snapshot that is published: no restart, no request lost."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from structlog.typing import EventDict

from api.app import create_app
from engine.guide.guide import ShoppingGuide
from engine.settings import Settings, load_settings
from engine.store import SnapshotStore
from indexer.apply import apply_changes
from tests.api.conftest import wait_until_ready

NEW = {"id": "NEW-1", "title": "Zanzibar clove grinder", "brand": "Brandnew", "price": 12.0}
SECONDS = 0.05


@pytest.fixture
def store(shop_store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shop_store, tmp_path / "store")


@pytest.fixture
def settings(store: Path) -> Settings:
    return load_settings(store=store, follow_seconds=SECONDS, timeout_ms=20_000)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with serving(settings) as opened:
        yield opened


def serving(settings: Settings) -> TestClient:
    return TestClient(create_app(lambda: ShoppingGuide.open(settings.store, settings), settings))


def change(store: Path, folder: Path, **changes: object) -> str:
    """Apply one change to what the store serves; the new snapshot's id."""
    path = folder / "changes.jsonl"
    path.write_text(json.dumps(NEW | changes) + "\n", encoding="utf-8")
    return apply_changes(path, store).snapshot_id


def searched(client: TestClient) -> str:
    response = client.get("/v1/search", params={"q": "zanzibar clove grinder"})
    assert response.status_code == 200, response.text
    return str(response.json()["snapshot_id"])


def wait_for(client: TestClient, snapshot_id: str) -> None:
    deadline = time.monotonic() + 30
    while searched(client) != snapshot_id:
        assert time.monotonic() < deadline, "the server did not follow"
        time.sleep(SECONDS)


def test_a_new_snapshot_is_served_and_no_search_fails(
    client: TestClient, store: Path, tmp_path: Path
) -> None:
    wait_until_ready(client)
    done = threading.Event()

    def search() -> list[str]:
        found = []
        while not done.is_set():
            found.append(searched(client))
        return found

    with ThreadPoolExecutor(2) as pool:
        searches = [pool.submit(search) for _ in range(2)]
        published = [SnapshotStore(store).current_id()]
        for price in (12.0, 11.0):
            published.append(change(store, tmp_path, price=price))
            wait_for(client, str(published[-1]))
        done.set()
        answered = [one.result() for one in searches]
    for seen in answered:
        assert seen[0] == published[0]
        order = [published.index(one) for one in seen]
        assert order == sorted(order)  # never back to the old one
    found = client.get("/v1/search", params={"q": "zanzibar clove grinder"}).json()
    assert found["hits"][0]["product"]["price"] == 11.0
    assert client.get("/readyz").json()["snapshot_id"] == published[-1]


def test_it_follows_a_rollback_and_models_are_shared(
    store: Path, settings: Settings, tmp_path: Path
) -> None:
    guide = ShoppingGuide.open(store, settings)
    assert guide.newer() is None
    guide.ask("is it light?", products=[guide.search("shoes").hits[0].product.id])
    before = guide.snapshot.id
    change(store, tmp_path)
    newer = guide.newer()
    assert newer is not None
    assert newer.snapshot.encoder is guide.snapshot.encoder
    assert newer.consultant.encoder is guide.consultant.encoder
    assert newer.search("zanzibar").hits[0].product.id == "NEW-1"
    assert "NEW-1" not in {hit.product.id for hit in guide.search("zanzibar").hits}
    SnapshotStore(store).rollback()
    again = newer.newer()
    assert again is not None
    assert again.snapshot.id == before


def test_a_damaged_snapshot_is_not_gone_over_to(
    client: TestClient, store: Path, tmp_path: Path, logged: list[EventDict]
) -> None:
    wait_until_ready(client)
    snapshots = SnapshotStore(store)
    before, damaged = snapshots.current_id(), change(store, tmp_path)
    manifest = snapshots.path(damaged) / "manifest.json"
    wait_for(client, damaged)
    good = manifest.read_bytes()
    snapshots.rollback()
    wait_for(client, str(before))
    manifest.write_bytes(good[:-20])
    (store / "CURRENT").write_text(damaged + "\n", encoding="utf-8")
    deadline = time.monotonic() + 30
    while not any(one["event"] == "snapshot not opened" for one in logged):
        assert time.monotonic() < deadline
        time.sleep(SECONDS)
    assert searched(client) == before
    manifest.write_bytes(good)
    wait_for(client, damaged)


def test_several_servers_follow_one_store(store: Path, settings: Settings, tmp_path: Path) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(serving(settings)) for _ in range(2)]
        for client in clients:
            wait_until_ready(client)
        published = change(store, tmp_path)
        for client in clients:
            wait_for(client, published)
