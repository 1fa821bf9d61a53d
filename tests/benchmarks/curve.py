"""What each stage, and each depth of reranking, buys and costs: the curve of quality and latency.

Quality is that of the judged queries. Latency is that of whole searches in process, totals counted,
cache off, one after another: the choices take turns, so that whatever else the machine does slows
all alike, each with another of the queries, so that none is answered from what the last one left.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.search import SearchEngine
from engine.settings import load_settings
from engine.types import Mode, Stage
from indexer.evaluate.judgments import JudgedQueries, read_judged_queries
from indexer.evaluate.metrics import FULL_CATALOG, per_query
from tests.benchmarks.common import (
    Row,
    arguments,
    optional_module,
    percentiles,
    read_texts,
    report,
)

_DEPTHS = (5, 10, 20, 50, 100)
_WARM = 20  # queries before the clock counts
_K = 100  # the deepest that a metric reads


class Choice(NamedTuple):
    """A stage whose ranking is listed, and how many products it reranks."""

    name: str
    stage: Stage
    engine: SearchEngine


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    options.add_argument("--store", type=Path, required=True)
    options.add_argument("--data", type=Path, required=True, help="queries.tsv and qrels.txt")
    options.add_argument("--queries", type=Path, required=True, help="a text a line, to be timed")
    options.add_argument("--timed", type=int, default=300, help="how many of them")
    options.add_argument("--figure", type=Path, help="draw it: .png, .svg or .pdf")
    given = options.parse_args()
    choices = choices_of(given.store)
    judged = read_judged_queries(given.data / "queries.tsv", given.data / "qrels.txt")
    spent = timed(choices, read_texts(given.queries, given.timed + _WARM))
    rows = [
        {"ranked by": choice.name, **quality(choice, judged), **percentiles(spent[name], 50, 95)}
        for name, choice in choices.items()
    ]
    report({f"{len(judged.ids)} judged queries, {given.timed} timed": rows}, as_json=given.json)
    if given.figure:
        draw(rows, given.figure)


def choices_of(store: Path) -> Mapping[str, Choice]:
    """Every stage of a store, and reranking by depth; the models are shared."""
    engine = SearchEngine.open(store, load_settings(cache=0, rerank=True))
    named = {mode.depth: f" ({mode})" for mode in Mode}
    choices = [
        Choice("keyword", Stage.LEXICAL, engine),
        Choice("vectors", Stage.DENSE, engine),
        Choice(f"fused{named[0]}", Stage.FUSED, engine),
    ]
    for depth in _DEPTHS:
        settings = load_settings(cache=0, rerank=True, rerank_depth=depth)
        name = f"{depth} reranked{named.get(depth, '')}"
        choices.append(Choice(name, Stage.RERANKED, SearchEngine(engine.snapshot, settings)))
    return {choice.name: choice for choice in choices}


def quality(choice: Choice, judged: JudgedQueries) -> Row:
    """Means over the judged queries, full catalog."""
    texts = [judged.texts[one] for one in judged.ids]
    found = choice.engine.search_many(texts, k=_K, stage=choice.stage)
    run = {
        one: [hit.product.id for hit in result.hits]
        for one, result in zip(judged.ids, found, strict=True)
    }
    qrels = {one: judged.qrels[one] for one in judged.ids}
    measured = per_query(FULL_CATALOG, run, qrels)
    names = ("nDCG@10", "condensed nDCG@10")
    return {name: round(float(np.mean(list(measured[name].values()))), 4) for name in names}


def timed(choices: Mapping[str, Choice], texts: Sequence[str]) -> Mapping[str, list[float]]:
    """Seconds of each query by each choice, but for the first ones."""
    spent: dict[str, list[float]] = {name: [] for name in choices}
    for place in range(len(texts)):
        for number, (name, choice) in enumerate(choices.items()):
            text = texts[(place + number * len(texts) // len(choices)) % len(texts)]
            started = time.perf_counter()
            choice.engine.search(text, stage=choice.stage)
            spent[name].append(time.perf_counter() - started)
    return {name: each[_WARM:] for name, each in spent.items()}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Quality over latency, each choice a point."""
    pyplot = optional_module("matplotlib.pyplot", "matplotlib")
    figure, axis = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    for row in rows:
        at = row["median ms"], row["nDCG@10"]
        axis.scatter(*at, color="C0")
        name = str(row["ranked by"])
        axis.annotate(name, at, (3, 5), textcoords="offset points", fontsize=8, rotation=40)
    axis.set(xscale="log", xlabel="median milliseconds of a search", ylabel="nDCG@10")
    axis.margins(0.15, 0.35)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
