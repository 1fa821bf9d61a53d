"""daogou against the pipeline a user would write, in one run on one machine (METRICS: Speed).

All serve over HTTP in processes of their own, are asked by the same clients in turn, and hold the
same weights: the peers have those of the snapshot, in full precision. Other peers are measured
beside where they are installed (`peers.PEERS`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from engine.cores import usable_cores
from engine.errors import EvaluationError
from engine.manifest import Manifest, read_manifest
from engine.products import ProductStore
from engine.search import SearchEngine
from engine.settings import load_settings
from engine.store import SnapshotStore
from engine.types import Product, Stage
from indexer.catalog.reader import read_catalog
from indexer.catalog.rejects import RejectLog
from indexer.evaluate.judgments import JudgedQueries
from indexer.evaluate.load import Answers, Server, ask, closed_loop, open_loop, serving
from indexer.evaluate.metrics import FULL_CATALOG, per_query
from indexer.evaluate.peer_serving import PRODUCTS, whole
from indexer.evaluate.peers import PEER, PEERS, Peer
from indexer.evaluate.statistics import bootstrap

RERANKED, FUSED = "daogou", "daogou, fused"
"""What is measured beside the peers: daogou with its reranker, and without."""

_UNHURRIED = {"DAOGOU_CACHE": "0", "DAOGOU_TIMEOUT_MS": "60000", "DAOGOU_QUEUE": "10000"}
"""By the protocol: no result cache, no deadline, nothing degraded, nothing refused."""

IN_PROCESS = 30
"""Queries asked without HTTP."""

_LEAST = 5  # requests of each client in a measurement, however slow

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How long is measured, and what."""

    clients: tuple[int, ...] = (1, 2, 8, 32)
    seconds: float = 10.0
    """Of each measurement."""
    rounds: int = 3
    """Each measures every subject at every number of clients."""
    starts: int = 3
    products: int = 2_000
    """Indexed to measure indexing; 0 leaves it out."""
    catalog: Path | None = None
    """Where these are the first of; None takes the snapshot's."""
    overload: bool = True


@dataclass(frozen=True, slots=True)
class Figure:
    """Some measurements of one thing: their median, least and most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Of these; there must be one."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(slots=True)
class BenchReport:
    """Every figure of a run."""

    snapshot: str
    products: int
    cores: int
    search: dict[str, dict[int, list[Answers]]] = field(default_factory=dict)
    """By subject and number of clients, one a round."""
    in_process: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of each search without HTTP, one after another."""
    indexed: str = ""
    """What indexing is measured by."""
    index: dict[str, list[float]] = field(default_factory=dict)
    """Products a second, of each round."""
    starts: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from the start of the process to the first answer."""
    memory: dict[str, float] = field(default_factory=dict)
    """Resident MB after everything was asked."""
    quality: dict[str, dict[str, float]] = field(default_factory=dict)
    """nDCG@10 of each judged query."""
    overload: dict[str, float] = field(default_factory=dict)

    def saturation(self, subject: str) -> list[float]:
        """Searches a second, of each round: the most over the numbers of clients."""
        rounds = zip(*self.search[subject].values(), strict=True)
        return [max(answers.rate for answers in each) for each in rounds]

    def peers(self) -> list[str]:
        """Those that were measured, the one that ratios are of first."""
        return [peer.name for peer in PEERS if peer.name in self.search]

    def ratios(self, over: str = PEER) -> dict[str, Figure]:
        """Ours in units of a peer's, round by round."""
        found: dict[str, Figure] = {}
        for name, subject in (("search", RERANKED), ("search_fused", FUSED)):
            if subject in self.search:
                pairs = zip(self.saturation(subject), self.saturation(over), strict=True)
                found[name] = Figure.of([ours / theirs for ours, theirs in pairs])
        if self.index:
            (own,) = self.index.keys() & {RERANKED, FUSED}
            pairs = zip(self.index[own], self.index[over], strict=True)
            found["index"] = Figure.of([ours / theirs for ours, theirs in pairs])
        return found

    def gain(self, subject: str, over: str) -> tuple[float, float, float]:
        """Mean difference in nDCG@10 over the judged queries, with its 95% interval."""
        ours, theirs = self.quality[subject], self.quality[over]
        interval = bootstrap([ours[query] - theirs[query] for query in ours])
        return interval.mean, interval.low, interval.high


def write_products(path: Path, products: Iterable[Product]) -> int:
    """Write products as JSON Lines; returns how many there were. A file that is there is whole."""
    count = 0
    with whole(path) as aside, aside.open("w", encoding="utf-8") as file:
        for product in products:
            file.write(json.dumps(product.to_dict(), ensure_ascii=False) + "\n")
            count += 1
    return count


class Bench:
    """One run over one store."""

    def __init__(
        self,
        store: Path,
        texts: Sequence[str],
        work: Path,
        options: BenchOptions,
        *,
        judged: JudgedQueries | None = None,
        say: Say = lambda _line: None,
    ) -> None:
        """Prepare; nothing is done yet.

        Args:
            store: its current snapshot is measured.
            texts: distinct queries, asked in an order drawn by chance, the same each time: files of
                them are often sorted, and neighbours alike.
            work: keeps the peers' models and indexes, for the next run over the same snapshot.
            options: how long.
            judged: queries whose nDCG@10 stands beside the times.
            say: told of every step.

        Raises:
            SnapshotError: the store has no snapshot.
        """
        self._store = store
        self._snapshot = SnapshotStore(store).current()
        self._manifest: Manifest = read_manifest(self._snapshot)
        self._texts = random.Random(0).sample(texts, len(texts))  # noqa: S311 - no secret
        self._work = work / self._manifest.id
        self._models = self._work / "models"
        self._some = self._work / "some.jsonl"
        self._options = options
        self._judged = judged
        self._say = say
        self._reranks = "reranker" in self._manifest.models
        self._peers = [peer for peer in PEERS if peer.installed()]
        self.report = BenchReport(self._manifest.id, self._manifest.products, usable_cores())
        self.report.indexed = str(options.catalog or "the snapshot's products")

    def run(self) -> BenchReport:
        """Measure everything.

        Raises:
            EvaluationError: a server does not start, or fails a request.
        """
        indexed = self._write_indexed() if self._options.products else 0
        self._prepare()
        if indexed:
            self._measure_indexing(indexed)
        self._measure_starts()
        self._measure_search()
        self._measure_in_process()
        if self._options.overload:
            self._measure_overload()
        return self.report

    # What is compared.

    def _commands(self) -> dict[str, tuple[list[str], dict[str, str]]]:
        """How each subject is served: command line and environment."""
        serve = [sys.executable, "-m", "daogou", "serve", "--store", str(self._store)]
        serve += ["--port", "0", "--log-level", "error"]
        commands: dict[str, tuple[list[str], dict[str, str]]] = {
            peer.name: (
                [*peer.command("serve", self._models), "--index", str(self._work / peer.name)],
                {},
            )
            for peer in self._peers
        }
        if self._reranks:
            commands[RERANKED] = (serve, {**_UNHURRIED, "DAOGOU_RERANK": "true"})
        commands[FUSED] = (serve, {**_UNHURRIED, "DAOGOU_RERANK": "false"})
        return commands

    def _prepare(self) -> None:
        """The snapshot's models in full precision, and its products encoded with them."""
        from indexer.train.shipped import restore  # noqa: PLC0415 - heavy

        for kind in ("encoder", *(("reranker",) if self._reranks else ())):
            if not (self._models / kind).is_dir():
                self._say(f"restoring the {kind} in full precision")
                self._models.mkdir(parents=True, exist_ok=True)
                served = self._snapshot / "models"
                restore(kind, self._models / kind, served / kind, served / "encoder")
        products = self._work / PRODUCTS
        if not products.is_file():
            write_products(products, self._served(self._manifest.products))
        for peer in self._peers:
            if not (self._work / peer.name / PRODUCTS).is_file():
                self._say(f"{peer.name} indexes {self._manifest.products:,} products")
                self._index_peer(peer, products, self._work / peer.name)

    def _served(self, most: int) -> Iterator[Product]:
        """The first products of the snapshot."""
        with contextlib.closing(ProductStore(self._snapshot)) as products:
            yield from products.fetch(range(min(most, self._manifest.products)))

    def _indexed(self) -> Iterator[Product]:
        """The products by which indexing is measured."""
        most, catalog = self._options.products, self._options.catalog
        if catalog is None:
            yield from self._served(most)
        else:
            with RejectLog(None) as rejects:
                yield from islice(read_catalog(catalog, rejects=rejects), most)

    # Measurements.

    def _index_peer(self, peer: Peer, products: Path, out: Path) -> None:
        command = peer.command("index", self._models)
        _done([*command, "--products", str(products), "--out", str(out)])

    def _index_ours(self, products: Path, out: Path) -> None:
        models = self._snapshot / "models"
        command = [sys.executable, "-m", "daogou", "index", str(products), "--store", str(out)]
        command += ["--json", "--encoder", str(models / "encoder")]
        reranker = ["--reranker", str(models / "reranker")] if self._reranks else ["--no-reranker"]
        _done([*command, *reranker])

    def _write_indexed(self) -> int:
        """Write the products by which indexing is measured; returns how many."""
        self._work.mkdir(parents=True, exist_ok=True)
        count = write_products(self._some, self._indexed())
        if not count:
            source = self._options.catalog or self._store
            raise EvaluationError(f"{source} has no product to index. Name another with --catalog")
        return count

    def _measure_indexing(self, count: int) -> None:
        """From file to published, processes included, all in turn."""
        ours = RERANKED if self._reranks else FUSED
        subjects: dict[str, Callable[[Path, Path], None]] = {
            peer.name: partial(self._index_peer, peer) for peer in self._peers
        }
        subjects[ours] = self._index_ours
        for number in range(self._options.rounds):
            for subject, work in subjects.items():
                with _gone(self._work / f"indexed-{number}") as out:
                    began = time.perf_counter()
                    work(self._some, out)
                    rate = count / (time.perf_counter() - began)
                self.report.index.setdefault(subject, []).append(rate)
                self._say(f"indexing: {subject} {rate:.1f} products/s")

    def _measure_starts(self) -> None:
        """From the start of the process to the first answer."""
        for _ in range(self._options.starts):
            for subject, (command, environment) in self._commands().items():
                with serving(command, environment) as server:
                    _answered(server, self._texts[0])
                    spent = time.perf_counter() - server.started
                self.report.starts.setdefault(subject, []).append(spent)
                self._say(f"start: {subject} {spent:.2f} s to the first answer")

    def _measure_search(self) -> None:
        """All servers up, one asked at a time."""
        with contextlib.ExitStack() as running:
            servers = {
                subject: running.enter_context(serving(command, environment))
                for subject, (command, environment) in self._commands().items()
            }
            for server in servers.values():
                _answered(server, self._texts[0])
            for number in range(self._options.rounds):
                for clients in self._options.clients:
                    for subject, server in servers.items():
                        self._ask(subject, server, clients, number)
            if self._judged is not None:
                for subject, server in servers.items():
                    self.report.quality[subject] = _quality(server, self._judged)
            for subject, server in servers.items():
                if (used := server.memory_mb()) is not None:
                    self.report.memory[subject] = used

    def _ask(self, subject: str, server: Server, clients: int, number: int) -> None:
        """One measurement. Every subject gets the same queries in the same round."""
        start = number * 997 % len(self._texts)
        texts = self._texts[start:] + self._texts[:start]
        answers = closed_loop(
            server,
            texts,
            clients=clients,
            seconds=self._options.seconds,
            least=_LEAST * clients,
        )
        failed = {status: n for status, n in answers.statuses.items() if status != 200}
        if failed:
            raise EvaluationError(f"{subject} failed requests: {failed}")
        self.report.search.setdefault(subject, {}).setdefault(clients, []).append(answers)
        spent = answers.percentiles()
        self._say(
            f"{clients} clients: {subject} {answers.rate:.2f} searches/s, p50 {spent['p50']:.0f} ms"
        )

    def _measure_in_process(self) -> None:
        """Without HTTP, one query after another, each by every subject in turn."""
        settings = load_settings(store=self._store, cache=0, rerank=self._reranks)
        engine = SearchEngine.open(self._store, settings)
        subjects: dict[str, Callable[[str], object]] = {
            peer.name: partial(peer.load(self._work / peer.name, self._models).search, k=10)
            for peer in self._peers
        }
        if self._reranks:
            subjects[RERANKED] = lambda text: engine.search(text, stage=Stage.RERANKED)
        subjects[FUSED] = lambda text: engine.search(text, stage=Stage.FUSED)
        with contextlib.closing(engine.snapshot.products):
            self._ask_in_process(subjects)

    def _ask_in_process(self, subjects: Mapping[str, Callable[[str], object]]) -> None:
        for text in self._texts[-IN_PROCESS:]:
            for subject, search in subjects.items():
                began = time.perf_counter()
                search(text)
                spent = time.perf_counter() - began
                self.report.in_process.setdefault(subject, []).append(spent)

    def _measure_overload(self) -> None:
        """Twice what it can serve, with the deadline and queue that a shop has by default."""
        subject = RERANKED if self._reranks else FUSED
        command, environment = self._commands()[subject]
        shop = {"DAOGOU_CACHE": "0", "DAOGOU_RERANK": environment["DAOGOU_RERANK"]}
        with serving(command, shop) as server:
            texts = self._texts
            _answered(server, texts[0])
            # What saturates it under its deadline, where it may leave the reranker out.
            most = closed_loop(server, texts, clients=4, seconds=self._options.seconds, least=20)
            answers = open_loop(server, texts, rate=2 * most.rate, seconds=self._options.seconds)
        served = answers.percentiles()
        asked = answers.statuses.total()
        self.report.overload = {
            "offered_per_s": 2 * most.rate,
            "asked": asked,
            "answered": answers.statuses[200],
            "refused_503": answers.statuses[503],
            "failed": asked - answers.statuses[200] - answers.statuses[503],
            "p50_ms": served["p50"],
            "p99_ms": served["p99"],
        }
        self._say(f"overload: {self.report.overload}")


def _answered(server: Server, text: str) -> dict[str, Any]:
    """The answer to one search.

    Raises:
        EvaluationError: there was none.
    """
    with contextlib.closing(server.connect()) as connection:
        status, body = ask(connection, text)
    if status != 200:
        raise EvaluationError(f"a search was answered {status}: {body[:300]!r}")
    answer: dict[str, Any] = json.loads(body)
    return answer


def _quality(server: Server, judged: JudgedQueries) -> dict[str, float]:
    """nDCG@10 of each judged query, asked over HTTP."""
    run = {
        query: [hit["product"]["id"] for hit in _answered(server, judged.texts[query])["hits"]]
        for query in judged.ids
    }
    qrels: Mapping[str, Mapping[str, int]] = {query: judged.qrels[query] for query in judged.ids}
    return per_query(islice(FULL_CATALOG, 1), run, qrels)[FULL_CATALOG[0].name]


@contextlib.contextmanager
def _gone(folder: Path) -> Iterator[Path]:
    """A folder to write to, removed in the end."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _done(command: Sequence[str]) -> None:
    """Run a command to its end.

    Raises:
        EvaluationError: it failed; the message has its last words.
    """
    found = subprocess.run(  # noqa: S603 - our own command
        command, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    if found.returncode:
        raise EvaluationError(f"{' '.join(command)} failed: {found.stderr[-2000:]}")
