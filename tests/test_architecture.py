"""The house keeps its walls: who may import whom, and who owns which heavy library.

Imports are read from the source, lazy ones included, and checked again in fresh processes, where
`sys.modules` shows the transitive ones.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "indexer", "api")

PEER = "indexer/evaluate/peer"
"""What a user would write without us, to be measured against: it owns nothing."""

OWNERS: dict[str, tuple[str, ...]] = {
    "faiss": ("engine/retrieval/dense.py", "engine/retrieval/ivf.py", PEER),
    "tantivy": ("engine/retrieval/lexical.py", "engine/retrieval/suggestions.py"),
    "openvino": ("engine/models/openvino.py", "indexer/export/"),
    "torch": ("indexer/export/", "indexer/train/", PEER),
    "transformers": ("indexer/export/", "indexer/train/"),
    "sentence_transformers": ("indexer/export/", "indexer/train/", PEER),
    "nncf": ("indexer/export/",),
    "fastapi": ("api/", PEER),
    "starlette": ("api/",),
    "uvicorn": ("api/", PEER),
    "prometheus_client": ("api/",),
    "matplotlib": ("indexer/evaluate/",),
    "ir_measures": ("indexer/evaluate/",),
    "lightgbm": (
        "engine/retrieval/ranking.py",
        "indexer/train/ranking_fit.py",
        "indexer/train/behaviour.py",
    ),
    "onnxruntime": ("engine/models/onnxruntime.py",),
    "onnx": ("engine/models/translated.py",),
    "txtai": (PEER,),
    "bm25s": (PEER,),
    "implicit": ("indexer/evaluate/recommend_peers.py",),
}

MAY_IMPORT = {"engine": {"engine"}, "indexer": {"engine", "indexer"}, "api": {"engine", "api"}}

_LEAVES = (
    "errors protocols settings arrays asked beside cache checksums clock cores database normal "
    "numbers analysis exclusion pace text"
)
LAYERS: tuple[set[str], ...] = (
    {"types"},
    set(_LEAVES.split()),
    {"models", "retrieval", "understand", "products", "manifest", "answer"},
    {"snapshot", "store"},
    {"rank", "listing"},
    {"candidates"},
    {"search"},
    {"guide"},
)
"""Inside the engine, a module imports its own layer and those before it."""


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_packages_meet_only_in_the_engine(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & {*PACKAGES, "daogou", "tests"}
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_heavy_libraries_have_one_owner(path: Path) -> None:
    for name in imported(path):
        library = name.split(".")[0]
        if library in OWNERS:
            assert relative(path).startswith(OWNERS[library]), f"{library} is not this file's"


def layer(module: str) -> int:
    return next(place for place, names in enumerate(LAYERS) if module in names)


@pytest.mark.parametrize(
    "path", [path for path in sources() if relative(path).startswith("engine/")], ids=relative
)
def test_engine_layers_point_downwards(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[1]
    if own == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "engine" and len(parts) > 1:
            assert layer(parts[1]) <= layer(own), f"{own} imports {name}"


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in a fresh process after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return {name.split(".")[0] for name in json.loads(output.splitlines()[-1])}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        (
            "import engine.search",
            {"torch", "transformers", "sentence_transformers", "fastapi", "matplotlib"},
        ),
        ("import engine.types", {"pydantic", "faiss", "openvino", "tantivy"}),
        (
            "import api.app",
            {"torch", "transformers", "sentence_transformers", "matplotlib", "indexer"},
        ),
        ("import indexer.cli", {"torch", "transformers", "fastapi", "api"}),
        (
            "import daogou",
            {"torch", "transformers", "sentence_transformers", "fastapi", "matplotlib"},
        ),
    ],
)
def test_fresh_imports_bring_in_nothing_heavy(statement: str, forbidden: set[str]) -> None:
    assert not loaded_by(statement) & forbidden
