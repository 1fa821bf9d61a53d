"""`daogou train` as a shell sees it, over the small shop and a tiny base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daogou import app
from engine.errors import SettingsError, TrainingError
from tests.checkpoints import save_encoder
from tests.shop import write_catalog

QUERIES = {"q1": "electric kettle", "q2": "tent", "q3": "travel mug", "q4": "headphones"}
QRELS = {
    "q1": {"k1": 3, "k2": 2, "m1": 1, "t1": 0},
    "q2": {"t1": 3, "t2": 1, "h1": 0},
    "q3": {"m2": 3, "m1": 1, "b1": 0},
    "q4": {"h1": 3, "h2": 2, "k1": 0},
}

needs_torch = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('torch')",
    reason="training needs torch: pip install 'daogou[train]'",
)


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, Path]:
    """Catalog, judgments and base, as options."""
    queries = "".join(f"{name}\t{text}\n" for name, text in QUERIES.items())
    qrels = "".join(
        f"{name} 0 {product} {grade}\n"
        for name, grades in QRELS.items()
        for product, grade in grades.items()
    )
    (tmp_path / "queries.tsv").write_text(queries, encoding="utf-8")
    (tmp_path / "qrels.txt").write_text(qrels, encoding="utf-8")
    return {
        "--catalog": write_catalog(tmp_path / "catalog.jsonl"),
        "--queries": tmp_path / "queries.tsv",
        "--judgments": tmp_path / "qrels.txt",
        "--base": save_encoder(tmp_path / "tiny-bert"),
    }


def train(kind: str, options: dict[str, Path], *more: str) -> str:
    """What the command prints; what it raises is raised."""
    given = [str(part) for option in options.items() for part in option]
    done = CliRunner().invoke(app, ["train", kind, *given, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@needs_torch
@pytest.mark.parametrize("kind", ["encoder", "reranker"])
def test_a_shop_trains_and_goes_on(
    kind: str, shop: dict[str, Path], shop_store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ["--out", str(out), "--store", str(shop_store), "--epochs", "1"]
    common += ["--max-length", "32"] if kind == "encoder" else []
    printed = train(kind, shop, *common)
    assert f"Wrote {out / 'checkpoint'}" in printed
    assert "gold: 4 lists" in printed
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert (record["kind"], record["base"]) == (kind, "tiny-bert")
    assert (out / "README.md").is_file()
    train(kind, shop, *common)  # nothing is left to do, and nothing is refused
    with pytest.raises(TrainingError, match="--restart"):
        train(kind, shop, *common, "--seed", "1")
    train(kind, shop, *common, "--seed", "1", "--restart")


@needs_torch
def test_a_dry_run_counts_and_keeps_nothing(shop: dict[str, Path], tmp_path: Path) -> None:
    printed = train("reranker", shop, "--out", str(tmp_path / "out"), "--dry-run")
    assert "gold: 4 lists, 37 pairs" in printed  # 13 judged, and six beside each list to be mined
    assert "minutes of training" in printed
    assert not (tmp_path / "out").exists()


@needs_torch
def test_nothing_is_learnt_from_queries_to_leave_out(shop: dict[str, Path], tmp_path: Path) -> None:
    without = tmp_path / "without.txt"
    spellings = "\ufeffElectric  KETTLE\r\nte\u00adnt\u2028\n\nheadphones\n"
    without.write_text(spellings, encoding="utf-8", newline="")
    options = ["--out", str(tmp_path / "out"), "--without", str(without), "--dry-run"]
    assert "gold: 1 lists" in train("reranker", shop, *options)
    without.write_bytes(b"tent\ncaf\xe9\n")
    with pytest.raises(SettingsError, match=r"without\.txt cannot be read: line 2 is not UTF-8"):
        train("reranker", shop, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--base", "any"], "--catalog FILE or --sources TOML"),
        (["--catalog", "any"], "--base ID or --init shipped"),
        (["--catalog", "any", "--sources", "any", "--base", "any"], "leave out --catalog"),
    ],
)
def test_what_is_not_said_is_asked_for(options: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    given = [str(tmp_path / "any") if each == "any" else each for each in options]
    with pytest.raises(SettingsError, match=message):
        train("encoder", {}, "--out", str(tmp_path / "out"), *given)
