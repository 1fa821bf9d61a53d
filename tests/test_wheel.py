"""What `pip install daogou` brings: built, installed, and used apart from the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, in an environment without our checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("daogou-*.whl")
    return built


def test_the_wheel_holds_every_file_the_repository_ships(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    tracked = run("git", "ls-files", "engine", "indexer", "api", "catalogs", "daogou.py", cwd=ROOT)
    assert set(tracked.split()) <= inside
    assert not any(name.startswith(("tests/", "docs/")) for name in inside)


@pytest.mark.slow
def test_the_demo_runs_from_a_clean_environment(
    wheel: Path, demo_store: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    run(binaries / "python", "-m", "pip", "install", "--quiet", wheel, cwd=tmp_path)
    installed = run(binaries / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path)
    names = {package["name"].lower() for package in json.loads(installed)}
    assert "daogou" in names
    assert not names & {"torch", "transformers", "sentence-transformers"}

    shutil.copytree(demo_store, tmp_path / "shop")
    shown = run(binaries / "daogou", "demo", "--print", "--store", "shop", cwd=tmp_path)
    assert "Indexed" in shown
    assert "Mug" in shown
    found = json.loads(
        run(
            binaries / "daogou", "search", "electric kettle", "--store", "shop", "--json",
            cwd=tmp_path,
        )
    )  # fmt: skip
    assert "kettle" in found["hits"][0]["product"]["title"].lower()
