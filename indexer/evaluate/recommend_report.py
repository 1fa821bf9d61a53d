"""Recommendation figures, printed and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from indexer.evaluate.recommend import OURS, Measured, RecommendEvaluation
from indexer.evaluate.statistics import Interval

PROTOCOL = (
    "known shoppers; truth: items of the first order of the test that training holds; all training "
    "items are candidates; binary nDCG@20; recall over min(20, truth)"
)


def to_json(evaluation: RecommendEvaluation) -> dict[str, Any]:
    """Everything measured, as JSON types."""
    best = evaluation.best_peer
    methods = evaluation.methods
    fresh = evaluation.fresh
    return {
        "protocol": PROTOCOL,
        "shoppers": evaluation.shoppers,
        "items": evaluation.items,
        "methods": {name: _measured(found) for name, found in methods.items()},
        "one_order": {name: _measured(found) for name, found in evaluation.once.items()},
        "best_peer": best,
        "ratios": {
            name: methods[OURS].ndcg.mean / found.ndcg.mean
            for name, found in methods.items()
            if name != OURS and found.ndcg.mean > 0
        },
        "p": dict(evaluation.against),
        "new_items": None
        if fresh is None
        else {
            "items": fresh.items,
            "mrr": _interval(fresh.ours),
            "peer_mrr": _interval(fresh.peer),
            "ratio": fresh.ours.mean / fresh.peer.mean if fresh.peer.mean else None,
            "p": fresh.p,
        },
    }


def _measured(found: Measured) -> dict[str, Any]:
    return {
        "ndcg@20": _interval(found.ndcg),
        "recall@20": _interval(found.recall),
        "hit_rate@20": _interval(found.hit_rate),
        "coverage": found.coverage,
        "novelty": found.novelty,
    }


def _interval(found: Interval) -> dict[str, float | int]:
    return {
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "shoppers": found.queries,
    }


def to_tables(evaluation: RecommendEvaluation) -> Group:
    """The same for people."""
    fresh = evaluation.fresh
    parts: list[Any] = [
        Text(f"{evaluation.shoppers:,} known shoppers, {evaluation.items:,} items"),
        _table("all of them", evaluation.methods, evaluation.against),
    ]
    if evaluation.once:
        parts.append(_table("with one order before", evaluation.once, {}))
    if fresh is not None:
        ratio = fresh.ours.mean / fresh.peer.mean
        parts.append(
            Text(
                f"{fresh.items:,} new items, for {fresh.ours.queries:,} shoppers who bought one: "
                f"MRR {_shown(fresh.ours)}; "
                f"by the sales of their nearest titles {_shown(fresh.peer)}; "
                f"{ratio:.2f} times, p {fresh.p:.4f}"
            )
        )
    return Group(*parts)


def _table(title: str, methods: Mapping[str, Measured], p: Mapping[str, float]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("method", "nDCG@20", "recall@20", "hit rate", "coverage", "novelty", "p"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for name, found in methods.items():
        table.add_row(
            name, _shown(found.ndcg), f"{found.recall.mean:.4f}", f"{found.hit_rate.mean:.3f}",
            f"{found.coverage:.3f}", f"{found.novelty:.2f}", f"{p[name]:.4f}" if name in p else "",
        )  # fmt: skip
    return table


def _shown(found: Interval) -> str:
    return f"{found.mean:.4f} ({found.low:.3f}–{found.high:.3f})"
