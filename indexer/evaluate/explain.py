"""Whether explanations are faithful: do the words they name carry the score?

Both ways (DeYoung et al. 2020: comprehensiveness and sufficiency): what the score loses without the
named words, beside what it loses without as many random content words of the same product, and what
the named words keep of it alone. Measured on the score that ranks, from the same product without
any words. Beside them a peer that needs no model: the words that product and query have in common.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from engine.errors import EvaluationError
from engine.guide.explain import Explanation
from engine.guide.guide import ShoppingGuide
from engine.guide.naming import MOST_NAMED, Key, key_of
from engine.guide.occlusion import Blotted, ProductWording
from engine.types import Hit, Stage
from indexer.evaluate.statistics import Interval, bootstrap, bootstrap_ratio

OURS, PEER = "daogou", "common words"
ENOUGH_KEPT = 0.7
DRAWS = 10
_TEN = 10
PROTOCOL = (
    "shares of the score that the product's words make; means over hits, then over queries; "
    "random: as many content words of the same product"
)


@dataclass(slots=True)
class Measured:
    """One way of naming words; lists hold one mean a query."""

    lost: list[float] = field(default_factory=list)
    """Share of the score lost without the named words."""
    random: list[float] = field(default_factory=list)
    """Share lost without as many random words."""
    kept: list[float] = field(default_factory=list)
    """Share the named words have alone, at most 1 of each hit."""
    enough: list[float] = field(default_factory=list)
    """Share of hits of which at least `ENOUGH_KEPT` is kept."""
    words: list[float] = field(default_factory=list)
    """How many are named."""

    def add(self, means: Sequence[float]) -> None:
        """One query's, in the order of the fields."""
        for one, mean in zip(fields(self), means, strict=True):
            getattr(self, one.name).append(mean)


@dataclass(frozen=True, slots=True)
class ExplainEvaluation:
    """Figures of explanations by way of naming words."""

    stage: Stage
    ways: dict[str, Measured]
    one: tuple[float, float]
    """Milliseconds to explain one hit, median and 95th percentile."""
    ten: tuple[float, float]
    """The same of ten hits; 0 where no query has ten."""


def evaluate_explanations(
    guide: ShoppingGuide,
    queries: Sequence[str],
    *,
    hits: int = 3,
    stage: Stage | None = None,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> ExplainEvaluation:
    """Explain the first hits of each query and measure it.

    Raises:
        EvaluationError: no query has a hit.
    """
    stage = stage or guide.default_stage
    draw = np.random.default_rng(seed)
    ways = {OURS: Measured(), PEER: Measured()}
    times: dict[int, list[float]] = {1: [], _TEN: []}
    for text in queries:
        found = guide.search(text, k=_TEN, stage=stage).hits
        on_progress(1)
        if not found:
            continue
        for count in (1, _TEN):
            if len(found) >= count:
                ids = [hit.product.id for hit in found[:count]]
                start = time.perf_counter()
                explained = guide.explain(text, ids, stage=stage)
                times[count].append(1_000 * (time.perf_counter() - start))
        if len(explained) < min(hits, len(found)):
            explained = guide.explain(text, [hit.product.id for hit in found[:hits]], stage=stage)
        measured = _measure(guide, text, found[:hits], explained[:hits], stage=stage, draw=draw)
        for name, means in measured.items():
            ways[name].add(means)
    if not times[1]:
        raise EvaluationError(
            "no query has a hit to explain. Name queries that the catalog answers"
        )
    return ExplainEvaluation(stage, ways, _quantiles(times[1]), _quantiles(times[_TEN]))


def _measure(
    guide: ShoppingGuide,
    text: str,
    hits: Sequence[Hit],
    explained: Sequence[Explanation],
    *,
    stage: Stage,
    draw: np.random.Generator,
) -> dict[str, list[float]]:
    """By way, the means over one query's hits, in the order of `Measured`."""
    answer = guide.answer(text, stage=stage)
    asked = {term for word in text.split() for term in key_of(word)}
    rows = guide.snapshot.products.rows_of([hit.product.id for hit in hits])
    sums: dict[str, list[tuple[float, ...]]] = {OURS: [], PEER: []}
    for row, hit, explanation in zip(rows, hits, explained, strict=True):
        wording = ProductWording.of(hit.product)
        named: dict[str, list[Key]] = {
            OURS: [key_of(one.word) for one in explanation.named],
            PEER: [key for key in wording.words if not asked.isdisjoint(key)][:MOST_NAMED],
        }
        everything = list(wording.words)
        altered = [wording.product, wording.only(())]
        for keys in named.values():
            altered += [wording.without(keys), wording.only(keys)]
            for _ in range(DRAWS):
                chosen = draw.choice(
                    len(everything), min(len(keys), len(everything)), replace=False
                )
                altered.append(wording.without([everything[at] for at in chosen]))
        (scores,) = guide.explainer.occlusion.scores(
            answer, stage, [Blotted(row or 0, wording.product, altered)]
        )
        whole, wordless = float(scores[0]), float(scores[1])
        share = (whole - scores[2:].astype(np.float64)) / max(whole - wordless, 1e-6)
        for place, (name, keys) in enumerate(named.items()):
            lost, alone, *random = share[place * (DRAWS + 2) : (place + 1) * (DRAWS + 2)].tolist()
            kept = 1 - alone
            sums[name].append(
                (lost, sum(random) / DRAWS, min(kept, 1.0), float(kept >= ENOUGH_KEPT), len(keys))
            )
    return {name: np.array(each).mean(axis=0).tolist() for name, each in sums.items()}


def _quantiles(times: Sequence[float]) -> tuple[float, float]:
    if not times:
        return 0.0, 0.0
    median, late = np.percentile(times, [50, 95])
    return float(median), float(late)


def to_json(found: ExplainEvaluation) -> dict[str, Any]:
    """Everything measured, as JSON types."""
    return {
        "protocol": PROTOCOL,
        "stage": found.stage.value,
        "ways": {
            name: {label: _interval(interval) for label, interval in _figures(way).items()}
            for name, way in found.ways.items()
        },
        "milliseconds": {
            "one hit": {"median": found.one[0], "p95": found.one[1]},
            "ten hits": {"median": found.ten[0], "p95": found.ten[1]},
        },
    }


def to_tables(found: ExplainEvaluation) -> Group:
    """One table, and below it how long it takes."""
    table = Table(title=f"Words that carry the {found.stage} score", box=None, pad_edge=False)
    table.add_column("")
    for name in found.ways:
        table.add_column(name, justify="right")
    columns = [_figures(way) for way in found.ways.values()]
    for label in columns[0]:
        shown = (f"{one.mean:.3f} {one.low:.3f} to {one.high:.3f}" for one in
                 (column[label] for column in columns))  # fmt: skip
        table.add_row(label, *shown)
    spent = (
        f"{columns[0]['lost'].queries} queries; one hit {found.one[0]:.0f} ms, 95% within "
        f"{found.one[1]:.0f}; ten {found.ten[0]:.0f} ms, 95% within {found.ten[1]:.0f}"
    )
    return Group(table, Text(PROTOCOL, style="dim"), Text(spent))


def _figures(way: Measured) -> dict[str, Interval]:
    return {
        "lost": bootstrap(way.lost),
        "lost, random words": bootstrap(way.random),
        "ratio of the two": bootstrap_ratio(way.lost, way.random),
        "kept alone": bootstrap(way.kept),
        f"hits of which {ENOUGH_KEPT:.0%} is kept": bootstrap(way.enough),
        "words named": bootstrap(way.words),
    }


def _interval(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}
