from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daogou import app
from indexer.evaluate.spans import OURS, PEER, calibration, compare, most_frequent
from indexer.train.spans import Labelled

QUERIES = [
    Labelled(("red", "kettle"), ("B-color", "B-thing")),
    Labelled(("red", "travel", "mug"), ("B-color", "B-thing", "I-thing")),
]


def test_a_span_counts_with_exact_bounds_and_type_alone() -> None:
    ours = [{(0, 1, "color"), (1, 2, "thing")}, {(0, 1, "size"), (1, 2, "thing")}]
    theirs = [{(0, 1, "color")}, set[tuple[int, int, str]]()]

    found = compare(QUERIES, ours, theirs, 0.0)

    assert found.found[OURS].f1.mean == pytest.approx(2 * 2 / (4 + 4))
    assert found.found[OURS].types["color"].mean == pytest.approx(2 * 1 / (1 + 2))
    assert found.found[PEER].precision == 1
    assert found.found[PEER].recall == pytest.approx(1 / 4)
    assert found.ahead.mean == pytest.approx(0.5 - 2 / 5)
    assert found.ahead.low <= found.ahead.mean <= found.ahead.high


def test_the_peer_says_what_it_saw_most_and_keeps_to_the_rules() -> None:
    peer = most_frequent(QUERIES)

    assert peer(("red", "mug")) == {(0, 1, "color"), (1, 2, "thing")}
    assert peer(("Travel", "mug")) == {(0, 2, "thing")}


def test_confidence_is_held_against_what_was_right() -> None:
    sure = [{(0, 1, "color"): 0.95, (1, 2, "size"): 0.95}, {(1, 3, "thing"): 0.45}]

    assert calibration(QUERIES, sure) == pytest.approx((0.9 + 0.55) / 3)
    assert calibration(QUERIES, [{}, {}]) == 0


def test_the_command_measures_what_ships(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    lines = [
        {"tokens": ["nike", "shoes"], "labels": ["B-creator", "B-core_product_type"]},
        {"tokens": ["black", "belt"], "labels": ["B-color", "B-core_product_type"]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    command = ["evaluate", "spans", "--queries", str(path), "--peer", str(path)]

    shown = CliRunner().invoke(app, command)
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)

    assert "core_product_type" in shown.output
    assert found["methods"][OURS]["f1"]["mean"] == 1
    assert found["methods"][PEER]["f1"]["mean"] == 1
    assert found["queries"] == 2
