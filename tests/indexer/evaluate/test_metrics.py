"""Every figure against a value worked out by hand."""

from __future__ import annotations

from math import log2

import pytest

from indexer.evaluate.metrics import FULL_CATALOG, JUDGED_ONLY, per_query

_QRELS = {"q": {"a": 3, "b": 1, "c": 2, "d": 0}}
# Two unjudged products stand among four judged ones; c is not found.
_RUN = {"q": ["x", "a", "d", "y", "b"]}


def _figure(
    name: str, run: dict[str, list[str]], qrels: dict[str, dict[str, int]]
) -> dict[str, float]:
    return per_query((*FULL_CATALOG, *JUDGED_ONLY), run, qrels)[name]


def test_ndcg_has_linear_gain_and_its_ideal_over_all_judgments() -> None:
    found = 3 / log2(3) + 1 / log2(6)  # ranks 2 and 5
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert _figure("nDCG@10", _RUN, _QRELS) == pytest.approx({"q": found / ideal})


def test_ndcg_looks_at_ten_places_only() -> None:
    run = {"q": [*(f"x{place}" for place in range(9)), "b", "a"]}
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert _figure("nDCG@10", run, _QRELS) == pytest.approx({"q": (1 / log2(11)) / ideal})


def test_condensed_ndcg_takes_unjudged_products_out_first() -> None:
    found = 3 / log2(2) + 1 / log2(4)  # a, d, b
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert _figure("condensed nDCG@10", _RUN, _QRELS) == pytest.approx({"q": found / ideal})


def test_judged_ndcg_has_the_gains_of_esci_and_no_cut_off() -> None:
    grades = {f"n{place:02}": 0 for place in range(10)} | {"a": 3, "b": 2, "c": 1}
    run = {"q": ["b", "c", *(f"n{place:02}" for place in range(10)), "a"]}
    found = 0.1 / log2(2) + 0.01 / log2(3) + 1 / log2(14)
    ideal = 1 / log2(2) + 0.1 / log2(3) + 0.01 / log2(4)
    assert _figure("judged nDCG", run, {"q": grades}) == pytest.approx({"q": found / ideal})


def test_only_exact_products_count_for_precision_rank_and_recall() -> None:
    qrels = {"q": {"e1": 3, "e2": 3, "e3": 3, "s": 2}}
    run = {"q": ["s", "x", "e1", *(f"y{place}" for place in range(96)), "e2", "e3"]}
    assert _figure("P@10", run, qrels) == pytest.approx({"q": 0.1})
    assert _figure("RR", run, qrels) == pytest.approx({"q": 1 / 3})
    assert _figure("R@100", run, qrels) == pytest.approx({"q": 2 / 3})


def test_recall_has_no_cap() -> None:
    qrels = {"q": {f"e{number:03}": 3 for number in range(200)}}
    run = {"q": sorted(qrels["q"])}
    assert _figure("R@100", run, qrels) == {"q": 0.5}


def test_judged_share_is_of_the_places_filled() -> None:
    assert _figure("Judged@10", _RUN, _QRELS) == pytest.approx({"q": 3 / 5})


def test_a_query_without_the_judgment_a_metric_needs_is_left_out() -> None:
    qrels = {"exact": {"a": 3}, "substitute": {"a": 2}, "nothing": {"a": 0}}
    run = {query_id: ["a"] for query_id in qrels}
    values = per_query(FULL_CATALOG, run, qrels)
    assert values["nDCG@10"] == {"exact": 1.0, "substitute": 1.0}
    assert values["P@10"] == {"exact": 0.1}
    assert values["RR"] == {"exact": 1.0}
    assert values["R@100"] == {"exact": 1.0}
    assert values["Judged@10"] == {"exact": 1.0, "substitute": 1.0, "nothing": 1.0}


def test_a_query_answered_with_nothing_counts_zero() -> None:
    qrels = {"empty": {"a": 3}, "absent": {"a": 3}, "found": {"a": 3}}
    values = per_query(FULL_CATALOG, {"empty": [], "found": ["a"]}, qrels)
    assert values["nDCG@10"] == {"empty": 0.0, "absent": 0.0, "found": 1.0}
    assert values["Judged@10"] == {"empty": 0.0, "absent": 0.0, "found": 1.0}


def test_order_is_the_runs_own_whatever_the_ids() -> None:
    qrels = {"q": {"z": 3, "a": 1}}
    assert _figure("nDCG@10", {"q": ["z", "a"]}, qrels) == {"q": 1.0}
    assert _figure("RR", {"q": ["a", "z"]}, qrels) == {"q": 0.5}
