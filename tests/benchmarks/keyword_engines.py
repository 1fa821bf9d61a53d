"""Which keyword engine: tantivy, as our LexicalIndex, or bm25s (the peer).

Both index the same bags of terms and are asked the same terms, depth 200, k1 = 1.2, b = 0.75. Each
builds in a process of its own (time and peak memory, analysis included) and serves in another:
time to open, disk, latency of one query at a time (engines in alternating rounds), and how far the
serving process has grown since before it opened. nDCG@10 and R@100 are the project's own, on the
set's judgments.

`--copies N` grows the catalog: each further copy of a product lacks 30% of its words, drawn at
random. Judgments mean nothing there, so relevance is only measured without copies.

Run: python -m tests.benchmarks.keyword_engines --set FOLDER --queries FILE
A set is a folder with products.*, queries.tsv and qrels.txt. Needs: pip install bm25s
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.types import Product
from indexer.evaluate.judgments import JudgedQueries, read_judged_queries
from indexer.evaluate.metrics import FULL_CATALOG, per_query
from tests.benchmarks.common import (
    Row,
    arguments,
    catalog_in,
    disk_mb,
    memory_mb,
    percentiles,
    read_products,
    read_texts,
    report,
    seconds_of,
    speedup,
)
from tests.benchmarks.keyword_indexes import ENGINES, Bm25s, Tantivy, bm25s

DROPPED = 0.3
METRICS = [metric for metric in FULL_CATALOG if metric.name in {"nDCG@10", "R@100"}]


PEER = "bm25s"

_open: dict[str, Tantivy | Bm25s] = {}  # of a serving process: the index it opened


def build(name: str, catalog: Path, copies: int, folder: Path) -> tuple[float, float, float]:
    """Seconds, peak MB and MB before, of writing the index in this process."""
    products = sorted(read_products(catalog), key=lambda product: product.id)
    before = memory_mb()
    seconds = seconds_of(lambda: ENGINES[name].build(folder, _copied(products, copies)))
    return seconds, memory_mb(peak=True), before


def start(name: str, folder: Path, products: int) -> tuple[float, float]:
    """Open the index in this process: seconds, and MB before."""
    if name == PEER:
        bm25s()
    before = memory_mb()

    def open_index() -> None:
        _open[name] = ENGINES[name](folder, products)

    return seconds_of(open_index), before


def latencies(name: str, queries: Sequence[str]) -> list[float]:
    """Seconds of each query in this process."""
    return [seconds_of(lambda text=text: _open[name].search(text)) for text in queries]  # type: ignore[misc]


def rank(name: str, queries: Sequence[str]) -> list[list[int]]:
    """The rows found for each query in this process."""
    return [_open[name].search(text).rows.tolist() for text in queries]


def _copied(products: Sequence[Product], copies: int) -> Iterator[Product]:
    random = np.random.default_rng(0)

    def thin(text: str) -> str:
        words = np.array(text.split(), dtype=object)
        return " ".join(words[random.random(len(words)) >= DROPPED])

    yield from products
    for _ in range(1, copies):
        for each in products:
            bullets = tuple(map(thin, each.bullet_points))
            yield replace(
                each,
                title=thin(each.title),
                description=thin(each.description),
                bullet_points=bullets,
            )


def compare(
    folder: Path, queries: Sequence[str], copies: int, rounds: int, scratch: Path
) -> list[Row]:
    """One line an engine for one set."""
    catalog = catalog_in(folder)
    ids = sorted(product.id for product in read_products(catalog))
    judged = read_judged_queries(folder / "queries.tsv", folder / "qrels.txt")
    with ExitStack() as stack:
        rows: dict[str, dict[str, object]] = {}
        workers: dict[str, ProcessPoolExecutor] = {}
        before: dict[str, float] = {}
        for name in ENGINES:
            place = scratch / f"{folder.name}-{name}"
            with _process() as builder:
                spent, peak, lean = builder.submit(build, name, catalog, copies, place).result()
            workers[name] = stack.enter_context(_process())
            opened, before[name] = (
                workers[name].submit(start, name, place, len(ids) * copies).result()
            )
            rows[name] = {"engine": name, "build s": round(spent, 1)}
            rows[name] |= {"build grew MB": round(peak - lean), "open ms": round(opened * 1000, 1)}
            rows[name]["disk MB"] = round(disk_mb(place), 1)
        spent_by = {name: list[list[float]]() for name in ENGINES}
        for _ in range(rounds):
            for name, worker in workers.items():
                spent_by[name].append(worker.submit(latencies, name, queries).result())
        medians = {name: [float(np.median(s)) for s in spent_by[name]] for name in ENGINES}
        for name, worker in workers.items():
            rows[name] |= percentiles(np.concatenate(spent_by[name]).tolist(), 50, 95)
            rows[name][f"times {PEER}"] = speedup(medians[name], medians[PEER])
            grown = worker.submit(memory_mb).result() - before[name]
            rows[name]["grew MB"] = round(grown, 1)
            if copies == 1:
                rows[name] |= relevance(worker, name, judged, ids)
    return list(rows.values())


def relevance(
    worker: ProcessPoolExecutor, name: str, judged: JudgedQueries, ids: Sequence[str]
) -> dict[str, object]:
    """nDCG@10 and R@100 over the queries they are defined for."""
    found = worker.submit(rank, name, [judged.texts[each] for each in judged.ids]).result()
    run = {query: [ids[row] for row in rows] for query, rows in zip(judged.ids, found, strict=True)}
    values = per_query(METRICS, run, {query: judged.qrels[query] for query in judged.ids})
    return {
        metric: round(float(np.mean(list(each.values()))), 4) for metric, each in values.items()
    }


def _process() -> ProcessPoolExecutor:
    """A fresh process, so that memory is the engine's own."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def main() -> None:
    """Measure and print."""
    options = _parse()
    bm25s()
    queries = read_texts(options.queries, options.requests)
    tables: dict[str, list[Row]] = {}
    for folder in options.set:
        with tempfile.TemporaryDirectory() as scratch:
            title = f"{folder.name} times {options.copies}, {len(queries)} queries"
            tables[title] = compare(folder, queries, options.copies, options.rounds, Path(scratch))
    report(tables, as_json=options.json)


def _parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--set", type=Path, action="append", required=True, help="may be repeated")
    parser.add_argument("--queries", type=Path, required=True, help="one query in each line")
    parser.add_argument("--requests", type=int, default=300, help="queries timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=1, help="how often the catalog is repeated")
    return parser.parse_args()


if __name__ == "__main__":
    main()
