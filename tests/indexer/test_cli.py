"""`daogou index` and `daogou snapshots`: what they print, for people and for machines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from daogou import app
from engine.errors import CatalogError, SnapshotDamagedError, SnapshotNotFoundError
from engine.store import SnapshotStore
from tests.shop import PRODUCTS, write_catalog


def run(*arguments: str | Path) -> str:
    """What a command prints; errors are raised as the front door sees them."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def run_json(*arguments: str | Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads(run(*arguments, "--json"))


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """A store whose names are full of markup, with two snapshots; what indexing printed."""
    folder = tmp_path_factory.mktemp("cli") / "shop[/b] :car:"
    folder.mkdir(parents=True)
    store = folder / "st[/b]x"
    catalog = write_catalog(folder / "cat[red].jsonl")
    printed = run_json("index", catalog, "--store", store)
    with catalog.open("a", encoding="utf-8") as file:
        file.write('{"id": "x1"}\n')
    return store, printed, run("index", catalog, "--store", store, "--threads", "1")


@pytest.fixture
def store(indexed: tuple[Path, dict[str, Any], str], tmp_path: Path) -> SnapshotStore:
    """A copy with two snapshots, to write to."""
    return SnapshotStore(shutil.copytree(indexed[0], tmp_path / "store"))


def test_an_index_run_as_json(indexed: tuple[Path, dict[str, Any], str]) -> None:
    store, printed, _ = indexed
    first, _ = SnapshotStore(store).ids()
    assert printed.pop("bytes") == SnapshotStore(store).manifest(first).size
    assert set(printed.pop("seconds")) == {"read", "encode", "index", "publish"}
    assert printed.pop("changes") == {
        "added": 12, "changed": 0, "updated": 0, "kept": 0, "removed": 0, "encoded": 12,
        "taken_up": 0,
    }  # fmt: skip
    assert printed == {
        "snapshot": first,
        "folder": str(store / "snapshots" / first),
        "products": len(PRODUCTS),
        "rejected": 0,
        "rejects_by_reason": {},
        "rejects_file": None,
        "dense": None,
        "device": "cpu",
        "no_gpu": "",
        "again": "",
        "lost": [],
        "recovered": {},
    }


def test_an_index_run_in_words_shows_paths_as_they_are(
    indexed: tuple[Path, dict[str, Any], str],
) -> None:
    store, _, printed = indexed
    indexed_line, changes, rejected, cure = printed.splitlines()
    assert changes == (
        "0 added, 0 with another text, 0 otherwise changed, 12 as they were, 0 removed; "
        "0 texts encoded."
    )
    assert indexed_line.startswith("Indexed 12 products in ")
    assert indexed_line.endswith(f"snapshot {SnapshotStore(store).current_id()}.")
    assert rejected == f"Rejected 1 rows (missing title 1); listed in {store}/rejects.jsonl."
    assert cure == f'Search it: daogou search "…" --store {store}'


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["title"], "--map FIELD=COLUMN"),
        (["=name"], "--map FIELD=COLUMN"),
        (["title=name", "title=label"], "gives title twice"),
        (["titel=title"], "Did you mean title"),
        (["brand=maker"], "maker"),
    ],
)
def test_a_bad_map_is_refused(tmp_path: Path, given: list[str], words: str) -> None:
    catalog = write_catalog(tmp_path / "shop.jsonl")
    options = [part for pair in given for part in ("--map", pair)]
    with pytest.raises(CatalogError, match=words):
        run("index", catalog, "--store", tmp_path / "store", *options, "--json")
    assert SnapshotStore(tmp_path / "store").current_id() is None


def test_a_map_names_the_columns(tmp_path: Path) -> None:
    catalog = tmp_path / "shop.csv"
    catalog.write_text("code,label\n7,Copper kettle\n")
    store = tmp_path / "store"
    run("index", catalog, "--store", store, "-m", "id=code", "-m", "title=label", "--json")
    (hit,) = run_json("search", "kettle", "--store", store)["hits"]
    assert (hit["product"]["id"], hit["product"]["title"]) == ("7", "Copper kettle")


def test_list_as_json(indexed: tuple[Path, dict[str, Any], str]) -> None:
    first, second = run_json("snapshots", "list", "--store", indexed[0])["snapshots"]
    kept = SnapshotStore(indexed[0])
    assert [first["id"], second["id"]] == kept.ids()
    assert (first["current"], second["current"]) == (False, True)
    assert (first["rejected"], second["rejected"]) == (0, 1)
    assert second["bytes"] == kept.manifest(second["id"]).size
    assert second["source"].endswith("cat[red].jsonl")
    assert second["models"] == {"encoder": "daogou-encoder-1", "reranker": "daogou-reranker"}


def test_list_in_words_shows_a_damaged_snapshot(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    first, second = store.ids()
    (store.path(first) / "manifest.json").write_text("{[/b]")
    printed = run("snapshots", "list", "--store", store.folder)
    (broken,) = (line for line in printed.splitlines() if first in line)
    (served,) = (line for line in printed.splitlines() if f" {second} " in line)
    assert "manifest" in broken
    assert "→" in served
    assert "shop[/b] :car:/cat[red].jsonl" in served
    entry, _ = run_json("snapshots", "list", "--store", store.folder)["snapshots"]
    assert set(entry) == {"id", "current", "error"}


def test_verify_a_whole_snapshot(store: SnapshotStore) -> None:
    current = store.current_id()
    assert run_json("snapshots", "verify", "--store", store.folder) == {
        "snapshot": current,
        "damages": [],
    }
    assert f"{current} is whole" in run("snapshots", "verify", "--store", store.folder)


def test_verify_a_damaged_snapshot(store: SnapshotStore) -> None:
    first, second = store.ids()
    vectors = store.path(second) / "vectors.npy"
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    arguments = ["snapshots", "verify", "--store", str(store.folder)]

    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {"snapshot": second, "damages": ["vectors.npy was altered"]}
    with pytest.raises(SnapshotDamagedError, match=r"vectors\.npy was altered.*rollback"):
        run(*arguments)
    assert f"{first} is whole" in run("snapshots", "verify", first, "--store", store.folder)


def test_rollback(store: SnapshotStore) -> None:
    first, second = store.ids()
    assert run("snapshots", "rollback", "--store", store.folder) == f"Serving snapshot {first}.\n"
    assert store.current_id() == first
    with pytest.raises(SnapshotNotFoundError, match="before"):
        run("snapshots", "rollback", "--store", store.folder)
    run("snapshots", "rollback", second, "--store", store.folder)
    assert store.current_id() == second


def test_prune(store: SnapshotStore) -> None:
    _, second = store.ids()
    printed = run("snapshots", "prune", "--keep", "1", "--store", store.folder)
    assert printed == "Deleted 1 snapshots, 1 left.\n"
    assert store.ids() == [second]
    assert store.verify() == []
