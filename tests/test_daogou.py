"""The front door as a shell sees it: exit status, standard output and standard error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def daogou(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daogou", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Status 2 and one line of error that names the place, and nothing else."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_search_prints_json(shop_store: Path) -> None:
    done = daogou("search", "noise cancelling headphones", "--store", shop_store, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["hits"][0]["product"]["id"] == "h1"


def test_a_missing_catalog(tmp_path: Path) -> None:
    done = daogou("index", tmp_path / "none.csv", "--store", tmp_path / "store")
    assert_refused(done, str(tmp_path / "none.csv"), "does not exist")


def test_a_missing_store(tmp_path: Path) -> None:
    done = daogou("search", "kettle", "--store", tmp_path / "none")
    assert_refused(done, f"daogou index CATALOG --store {tmp_path / 'none'}")


def test_a_bad_filter(shop_store: Path) -> None:
    done = daogou("search", "kettle", "--store", shop_store, "--filter", "brnd=Emberly")
    assert_refused(done, "brnd")


@pytest.mark.parametrize("command", [("search", "kettle"), ("serve",)], ids=lambda c: str(c[0]))
def test_a_bad_variable(shop_store: Path, command: tuple[str, ...]) -> None:
    done = daogou(*command, "--store", shop_store, DAOGOU_THREADS="abc")
    assert_refused(done, "DAOGOU_THREADS cannot be 'abc'")


def test_a_damaged_snapshot(shop_store: Path, tmp_path: Path) -> None:
    store = shutil.copytree(shop_store, tmp_path / "store")
    (vectors,) = store.glob("snapshots/*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:-2])
    assert_refused(daogou("search", "kettle", "--store", store), "vectors.npy", "rollback")
