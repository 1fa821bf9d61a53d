from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.errors import EvaluationError
from engine.guide.guide import ShoppingGuide
from indexer.evaluate.cli import evaluate
from indexer.evaluate.explain import OURS, PEER, evaluate_explanations
from indexer.evaluate.statistics import bootstrap_ratio


def test_named_words_are_measured_beside_random_and_common_ones(shop_store: Path) -> None:
    guide = ShoppingGuide.open(shop_store)
    found = evaluate_explanations(guide, ["gooseneck kettle", "belt without buckle"], hits=2)
    assert found.ways.keys() == {OURS, PEER}
    for way in found.ways.values():
        assert len(way.lost) == len(way.kept) == len(way.words) == 2
    ours = found.ways[OURS]
    assert min(ours.kept) > 0.5
    assert sum(ours.lost) > sum(ours.random)
    assert found.one[0] > 0
    assert found.ten == (0, 0)  # too few products


def test_no_hit_is_an_error(shop_store: Path) -> None:
    with pytest.raises(EvaluationError, match="no query"):
        evaluate_explanations(ShoppingGuide.open(shop_store), [])


def test_the_command_prints_json_and_a_table(shop_store: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("q1\tgooseneck kettle\n", encoding="utf-8")
    given = ["explain", "--store", str(shop_store), "--queries", str(queries), "--hits", "1"]
    printed = json.loads(CliRunner().invoke(evaluate, [*given, "--json"]).stdout)
    assert printed["ways"]["daogou"]["kept alone"]["mean"] > 0
    table = CliRunner().invoke(evaluate, given)
    assert "common words" in table.stdout


def test_a_ratio_of_means_and_its_interval() -> None:
    found = bootstrap_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2, 2))
