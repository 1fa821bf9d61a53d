"""From ten thousand products to ten million: vector search, and whole searches, as a catalog grows.

Vectors are grown from those of real stores (see grown.py), texts from their products. Half of the
queries set the index, the other half are searched one by one on one thread and compared with exact
search. Each size is measured in a process of its own. Memory is what the process keeps for itself
(RssAnon): vectors are mapped from disk and belong to the page cache. `--whole` grows products too
and measures whole searches, keyword search and filters included, without reranking.

It says what disk it needs before it starts, and deletes what it wrote.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
from engine.retrieval import ivf
from engine.retrieval.dense import ExactIndex, open_vectors
from engine.retrieval.filters import parse_filters
from engine.retrieval.ivf import IvfIndex, build, nearest_exactly, recall_of
from engine.search import SearchEngine
from engine.settings import load_settings
from engine.store import SnapshotStore
from engine.types import Product, Ranking, Rows, RowSet, Vectors
from indexer.build import IndexOptions, staged
from indexer.catalog.entries import Fresh
from indexer.making import describe
from indexer.models import adopt_models, adopt_ranking, choose_models
from indexer.products import ProductWriter
from indexer.progress import Silent
from tests.benchmarks.common import (
    Row,
    arguments,
    optional_module,
    percentiles,
    read_texts,
    report,
)
from tests.benchmarks.grown import Seedbed

DEPTH = 100
_SETTING = 256  # queries that set the index
_MEASURED = 500
_FILTERED = 50
_EXACT_UP_TO = 200_000
_PEERS_AT = 1_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """What one process measures."""

    vectors: Path
    queries: Path
    threads: int


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__)
    options.add_argument("--store", type=Path, action="append", required=True)
    options.add_argument("--queries", type=Path, required=True)
    options.add_argument("--sizes", default="1e4,1e5,1e6,1e7", help="numbers of vectors")
    options.add_argument("--whole", default="", help="numbers of products, for whole searches")
    options.add_argument(
        "--bare", action="store_true", help="whole searches of products without long texts"
    )
    options.add_argument(
        "--work", type=Path, help="a folder on a large disk; temporary if left out"
    )
    options.add_argument("--keep", action="store_true", help="keep the vectors for the next run")
    options.add_argument(
        "--peers", action="store_true", help="usearch and Milvus Lite at a million"
    )
    options.add_argument("--threads", type=int, default=0)
    options.add_argument("--figure", type=Path, help="draw it: .png, .svg or .pdf")
    given = options.parse_args()
    sizes, whole = _numbers(given.sizes), _numbers(given.whole)
    tables: dict[str, Sequence[Row]] = {}
    with _folder(given.work) as work:
        _say_what_it_takes(work, [*sizes, *whole])
        queries = work / "queries.npy"
        encoder = load_encoder(SHIPPED_ENCODER, threads=given.threads)
        np.save(queries, encoder.encode_queries(read_texts(given.queries, _SETTING + _MEASURED)))
        bed = Seedbed.of(given.store)
        rows: list[Row] = []
        peers: list[Row] = []
        for size in sizes:
            path = work / f"vectors-{size}.npy"
            if not path.exists():
                bed.write(path, size)
            job = Job(path, queries, given.threads)
            rows.append(_apart(dense_at, job))
            _say(rows[-1])
            if given.peers and size == _PEERS_AT:
                peers += [_apart(usearch_at, job), _apart(milvus_at, job)]
                _say(peers)
            if not given.keep and size not in whole:
                path.unlink()
        tables["Vector search"] = rows
        if peers:
            tables[f"Peers at {_PEERS_AT:,}"] = peers
        texts = read_texts(given.queries, _SETTING + _MEASURED)[_SETTING:]
        for size in whole:
            tables.setdefault("Whole searches, without reranking", [])
            products = _products(given.store, size, bare=given.bare)
            row = _whole_at(work, size, bed, products, texts=texts, threads=given.threads)
            tables["Whole searches, without reranking"] = [
                *tables["Whole searches, without reranking"], row,
            ]  # fmt: skip
            _say(row)
    report(tables, as_json=given.json)
    if given.figure:
        draw(rows, given.figure)


def dense_at(job: Job) -> Row:
    """Build, store, open and search the index of one size."""
    vectors = open_vectors(job.vectors)
    queries: Vectors = np.load(job.queries)
    id_rank = np.arange(len(vectors), dtype=np.int32)
    row: dict[str, object] = {"products": f"{len(vectors):,}"}
    truth = nearest_exactly(vectors, queries[_SETTING:], DEPTH)
    if len(vectors) <= _EXACT_UP_TO:
        before = anonymous_mb()
        exact = ExactIndex(vectors, id_rank)
        row["exact: MB"] = round(anonymous_mb() - before)
        _, spent = searched(exact.search, queries[_SETTING:])
        row |= {f"exact: {name}": value for name, value in percentiles(spent, 50, 95).items()}
        del exact
    started = time.perf_counter()
    centroids = ivf.learn_centroids(vectors, ivf.lists_for(len(vectors)))
    learnt = time.perf_counter() - started
    index = build(vectors, id_rank, queries[:_SETTING], centroids=centroids, threads=job.threads)
    row["learnt, s"], row["built in all, s"] = learnt, time.perf_counter() - started
    with tempfile.TemporaryDirectory(dir=job.vectors.parent) as folder:
        index.save(Path(folder) / "dense")
        row["index, MB"] = round((Path(folder) / "dense" / ivf.INDEX_FILE).stat().st_size / 1e6)
        del index
        before = anonymous_mb()
        opened = IvfIndex.open(Path(folder) / "dense", vectors, id_rank)
        found, spent = searched(opened.search, queries[_SETTING:])
        row["resident, MB"] = round(anonymous_mb() - before)
    row |= {"lists": opened.info.lists, "read": opened.info.probes, "fetched": opened.info.fetched}
    row["recall@100"] = round(recall_of(found, truth), 4)
    row |= percentiles(spent, 50, 95, 99)
    asked = queries[_SETTING:][:_FILTERED]
    for share in (0.1, 0.01):
        drawn = np.random.default_rng(3).random(len(vectors)) < share
        row |= _filtered(opened, vectors, asked, f"{share:.0%} allowed", drawn)
        together = _together(vectors, share)
        row |= _filtered(opened, vectors, asked, f"{share:.0%} that lie together", together)
    return row


def _together(vectors: NDArray[np.float16], share: float) -> NDArray[np.bool_]:
    """That share of the products, as a shelf or brand has them: those around five of them."""
    middles = vectors[np.random.default_rng(3).choice(len(vectors), 5, replace=False)]
    blocks = (vectors[start : start + 65_536] for start in range(0, len(vectors), 65_536))
    turned = middles.astype(np.float32).T
    near = np.concatenate([(block.astype(np.float32) @ turned).max(axis=1) for block in blocks])
    mask: NDArray[np.bool_] = near >= np.quantile(near, 1 - share)
    return mask


def _filtered(
    index: IvfIndex,
    vectors: NDArray[np.float16],
    queries: Vectors,
    label: str,
    mask: NDArray[np.bool_],
) -> Row:
    """Recall and time where these products are allowed, and the filter was asked for before."""
    mask.flags.writeable = False
    rows = np.flatnonzero(mask)
    inside = np.asarray(vectors[rows])
    truth = rows[nearest_exactly(inside, queries, min(DEPTH, len(inside)))]
    found, spent = searched(lambda each, depth: index.search(each, depth, RowSet(mask)), queries)
    times = percentiles(spent, 50, 95)
    return {
        f"{label}: recall": round(recall_of(found, truth), 4),
        **{f"{label}: {name}": value for name, value in times.items()},
    }


def searched(
    search: Callable[[Vectors, int], list[Ranking]], queries: Vectors
) -> tuple[list[Ranking], list[float]]:
    """What one query after another finds on one thread, and the seconds each took."""
    faiss.omp_set_num_threads(1)
    found, spent = [], []
    for query in queries[:20]:
        search(query[None, :], DEPTH)  # mapped and warm
    for query in queries:
        started = time.perf_counter()
        found += search(query[None, :], DEPTH)
        spent.append(time.perf_counter() - started)
    return found, spent


def usearch_at(job: Job) -> Row:
    """The peer usearch: HNSW over float16, set to about the same recall."""
    usearch = optional_module("usearch.index", "usearch")
    vectors, queries = open_vectors(job.vectors), np.load(job.queries)
    truth = nearest_exactly(vectors, queries[_SETTING:], DEPTH)
    before, started = anonymous_mb(), time.perf_counter()
    index = usearch.Index(ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=16)
    keys = np.arange(len(vectors), dtype=np.uint64)
    for start in range(0, len(vectors), 50_000):
        part = slice(start, start + 50_000)
        index.add(keys[part], vectors[part], threads=job.threads or (os.cpu_count() or 1))
    row: dict[str, object] = {"peer": "usearch", "built in all, s": time.perf_counter() - started}
    row["resident, MB"] = round(anonymous_mb() - before)
    for expansion in (128, 256, 512, 1_024):
        index.expansion_search = expansion
        found, spent = [], []
        for query in queries[_SETTING:]:
            started = time.perf_counter()
            found.append(index.search(query, DEPTH, threads=1).keys.astype(np.int64))
            spent.append(time.perf_counter() - started)
        recall = recall_of([_as_ranking(rows) for rows in found], truth)
        row |= {"setting": f"expansion {expansion}", "recall@100": round(recall, 4)}
        row |= percentiles(spent, 50, 95, 99)
        if recall >= ivf.TARGET:
            break
    return row


def milvus_at(job: Job) -> Row:
    """The peer Milvus Lite, as its documentation opens it: IVF_FLAT in one file."""
    milvus = optional_module("pymilvus", "pymilvus milvus-lite")
    vectors, queries = open_vectors(job.vectors), np.load(job.queries)
    truth = nearest_exactly(vectors, queries[_SETTING:], DEPTH)
    with tempfile.TemporaryDirectory(dir=job.vectors.parent) as folder:
        started = time.perf_counter()
        client = milvus.MilvusClient(str(Path(folder) / "milvus.db"))
        client.create_collection("shop", dimension=vectors.shape[1], metric_type="IP")
        for start in range(0, len(vectors), 10_000):
            rows = range(start, min(start + 10_000, len(vectors)))
            client.insert(
                "shop",
                [{"id": row, "vector": vectors[row].astype(np.float32)} for row in rows],
            )
        row: dict[str, object] = {
            "peer": "Milvus Lite",
            "built in all, s": time.perf_counter() - started,
        }
        found, spent = [], []
        for query in queries[_SETTING:]:
            started = time.perf_counter()
            (hits,) = client.search("shop", [query.tolist()], limit=DEPTH)
            spent.append(time.perf_counter() - started)
            found.append(np.array([hit["id"] for hit in hits], dtype=np.int64))
        row["resident, MB"] = round(anonymous_mb())
        row["recall@100"] = round(recall_of([_as_ranking(rows) for rows in found], truth), 4)
        return row | percentiles(spent, 50, 95, 99)


def _as_ranking(rows: Rows) -> Ranking:
    return Ranking(rows, np.zeros(len(rows), dtype=np.float32))


def _whole_at(
    work: Path,
    size: int,
    bed: Seedbed,
    products: Iterable[Product],
    *,
    texts: Sequence[str],
    threads: int,
) -> Row:
    """Index so many grown products with their vectors given, and search them."""
    row: dict[str, object] = {"products": f"{size:,}"}
    store = work / f"store-{size}"
    snapshots = SnapshotStore(store)
    started = time.perf_counter()
    with snapshots.writing(), staged(snapshots) as staging:
        models = choose_models(IndexOptions().encoder, None)
        infos = {kind: info for kind, (_, info) in models.items()}
        adopt_models(staging.folder, models, None)
        ranking = adopt_ranking(staging.folder, IndexOptions().ranking, infos)
        entries = map(Fresh, products)
        with ProductWriter(staging.folder, {}) as writer:
            count = len(writer.read(entries, Silent()))
            writer.finish()
        row["texts indexed, s"] = time.perf_counter() - started
        path = work / f"vectors-{size}.npy"
        if not path.exists():
            bed.write(path, size)
        shutil.move(path, staging.folder / "vectors.npy")
        if count > ivf.MOST_EXACT:
            vectors = open_vectors(staging.folder / "vectors.npy")
            queries: Vectors = np.load(work / "queries.npy")
            id_rank = open_array(staging.folder / "id_rank.npy", np.int32)
            build(vectors, id_rank, queries[:_SETTING], threads=threads).save(
                staging.folder / ivf.FOLDER
            )
        manifest = describe(staging, infos, ranking, {}, source="grown", products=count, rejected=0)
        snapshots.publish(staging, manifest)
    row["in all, s"] = time.perf_counter() - started
    row["disk, GB"] = round(manifest.size / 1e9, 2)
    try:
        return {**row, **_apart(search_whole, (store, tuple(texts)))}
    finally:
        shutil.rmtree(store)


def search_whole(given: tuple[Path, Sequence[str]]) -> Row:
    """Open a store and search it, without and with a filter."""
    store, texts = given
    started = time.perf_counter()
    engine = SearchEngine.open(store, load_settings(cache=0, rerank=False, threads=1))
    row: dict[str, object] = {"opened, s": time.perf_counter() - started}
    for name, filters in (("", None), ("price<=20: ", parse_filters(["price<=20"]))):
        for text in texts[:20]:
            engine.search(text, filters=filters)
        spent = []
        for text in texts:
            started = time.perf_counter()
            engine.search(text, filters=filters)
            spent.append(time.perf_counter() - started)
        row |= {f"{name}{each}": value for each, value in percentiles(spent, 50, 95, 99).items()}
    found = engine.search_many(texts[:100])
    stages = {name: value for name, value in found[0].timings.items() if value >= 0.1}
    row["by stage, ms"] = ", ".join(f"{name} {value:.1f}" for name, value in stages.items())
    row["own memory, MB"] = round(anonymous_mb())
    return row


def _products(stores: Sequence[Path], size: int, *, bare: bool) -> Iterator[Product]:
    """Made-up products: the title of a real one with words of another's, the rest of the other.

    Bare ones have no description, bullet points and attributes.
    """
    real: list[Product] = []
    for store in stores:
        engine = SearchEngine.open(store, load_settings(rerank=False))
        real += engine.snapshot.products.fetch(range(len(engine.snapshot)))
    if bare:
        real = [replace(one, description="", bullet_points=(), attributes={}) for one in real]
    draw = np.random.default_rng(7)
    for number in range(size):
        one, other = (real[place] for place in draw.integers(len(real), size=2))
        words = other.title.split()
        start = int(draw.integers(max(len(words) - 2, 1)))
        yield replace(
            other,
            id=f"{number:09d}",
            title=f"{one.title} {' '.join(words[start : start + 2])}",
            brand=one.brand,
            price=round(float(draw.lognormal(3.4, 1.0)), 2),
            in_stock=bool(draw.random() < 0.9),
            sku="",
            gtin="",
            group_id="",
        )


def anonymous_mb() -> float:
    """Memory of this process that no file stands behind, in MB (10^6 bytes); Linux only."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024 / 1e6


def draw(rows: Sequence[Row], path: Path) -> None:
    """How latency, recall, memory and building grow."""
    pyplot = optional_module("matplotlib.pyplot", "matplotlib")
    sizes = [int(str(row["products"]).replace(",", "")) for row in rows]
    shown: Mapping[str, tuple[str, ...]] = {
        "milliseconds": ("median ms", "p95 ms", "exact: median ms"),
        "recall@100": ("recall@100", "10% allowed: recall", "10% that lie together: recall"),
        "MB": ("index, MB", "resident, MB", "exact: MB"),
        "seconds": ("learnt, s", "built in all, s"),
    }
    figure, axes = pyplot.subplots(1, 4, figsize=(15, 3.4), layout="constrained")
    for axis, (label, names) in zip(axes, shown.items(), strict=True):
        for name in names:
            points = [
                (size, row[name]) for size, row in zip(sizes, rows, strict=True) if name in row
            ]
            axis.plot(*zip(*points, strict=True), marker="o", label=name)
        axis.set(xscale="log", xlabel="products", title=label)
        if label != "recall@100":
            axis.set_yscale("log")
        axis.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=120)


def _apart(measure: Callable[[Any], Row], given: object) -> Row:
    """What a function measures in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, given).result()


@contextlib.contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _say_what_it_takes(work: Path, sizes: Sequence[int]) -> None:
    """Refuse to begin what the disk has no room for: vectors, codes, and products with texts."""
    needed = max(sizes) * (768 + 140 + 3_000)
    free = shutil.disk_usage(work).free
    sys.stderr.write(f"needs up to {needed / 1e9:.1f} GB in {work}, {free / 1e9:.1f} are free\n")
    if free < needed:
        raise SystemExit("too little disk: name another folder with --work, or smaller --sizes")


def _say(row: object) -> None:
    sys.stderr.write(f"{row}\n")


def _numbers(written: str) -> list[int]:
    return [int(float(one)) for one in written.split(",") if one]


if __name__ == "__main__":
    main()
