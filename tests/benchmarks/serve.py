"""What a shopper waits for: `daogou serve` as a process of its own, asked over HTTP.

Starts: from the start of the process until its first search is answered, that search included;
several starts, one after another. Latency: GET /v1/search for distinct queries, one keep-alive
client, after a warm-up that is not counted. The peer is GET /healthz over the same connection,
asked in turn with each search: what HTTP, the app and the machine cost on their own. Stages are the
server's own timings. "rest" is a search's latency less the sum of its stages: routing, validation,
JSON, the network stack. Memory is the server's resident memory before and after the requests.

Run: python -m tests.benchmarks.serve --store STORE --queries FILE
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np

from tests.benchmarks.common import (
    Row,
    Spread,
    arguments,
    memory_mb,
    percentiles,
    read_texts,
    report,
    seconds_of,
)

WARM_UP = 20


class Server:
    """A running `daogou serve` and a connection to it."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.pid = process.pid
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)

    def get(self, path: str) -> bytes:
        """The body of the answer to one request."""
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SystemExit(f"GET {path}: {response.status} {body.decode(errors='replace')}")
        return body

    def search(self, text: str) -> bytes:
        """The first page for a shopper's words, as JSON."""
        return self.get("/v1/search?" + urlencode({"q": text, "k": 10}))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextlib.contextmanager
def serving(store: Path) -> Iterator[Server]:
    """A server over the store, from when it says that it is ready; stopped in the end."""
    command = [sys.executable, "-m", "daogou", "serve", "--store", str(store), "--port", "0"]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if "http://" not in line:
                log.seek(0)
                raise SystemExit(f"{' '.join(command)} did not start: {log.read()[-2000:]}")
            with contextlib.closing(Server(process, line.split()[-1])) as server:
                yield server
        finally:
            process.terminate()


@dataclass(slots=True)
class Latencies:
    """Seconds of each request, and milliseconds of each stage."""

    search: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)


def measure_start(store: Path, text: str) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer, and from its ready line on."""
    started = time.perf_counter()
    with serving(store) as server:
        first = seconds_of(lambda: server.search(text))
        return time.perf_counter() - started, first


def measure_requests(server: Server, texts: list[str]) -> Latencies:
    """Each text searched once, a peer request after each."""
    found = Latencies()
    for text in texts:
        started = time.perf_counter()
        answer = server.search(text)
        found.search.append(time.perf_counter() - started)
        found.peer.append(seconds_of(lambda: server.get("/healthz")))
        timings = json.loads(answer)["timings"]
        for stage, milliseconds in timings.items():
            found.stages.setdefault(stage, []).append(milliseconds)
        found.rest.append(found.search[-1] - sum(timings.values()) / 1000)
    return found


def latency_table(found: Latencies) -> list[Row]:
    """Search, its stages, the rest, and the peer: milliseconds and times the peer's median."""
    peer = float(np.median(found.peer))
    stages = {name: np.array(values) / 1000 for name, values in found.stages.items()}
    lines = {
        "GET /v1/search": found.search,
        **{f"  {name}": values.tolist() for name, values in stages.items()},
        "  rest": found.rest,
        "GET /healthz (peer)": found.peer,
    }
    return [
        {
            "what": name,
            **percentiles(seconds, 50, 95, 99),
            "median / peer's": round(float(np.median(seconds)) / peer, 2),
        }
        for name, seconds in lines.items()
    ]


def main() -> None:
    """Measure and print."""
    options = _parse()
    texts = read_texts(options.queries, WARM_UP + options.requests)
    starts = [measure_start(options.store, texts[0]) for _ in range(options.starts)]
    with serving(options.store) as server:
        products = json.loads(server.get("/readyz"))["products"]
        before = memory_mb(server.pid)
        for text in texts[:WARM_UP]:
            server.search(text)
        found = measure_requests(server, texts[WARM_UP:])
        after, peak = memory_mb(server.pid), memory_mb(server.pid, peak=True)
    start_rows: list[Row] = [
        {"what": name, "seconds [least, most]": Spread.of(values)}
        for name, values in zip(
            ("process start to first answer", "of it from the ready line on"),
            zip(*starts, strict=True),
            strict=True,
        )
    ]
    memory: list[Row] = [
        {
            "ready MB": round(before, 1),
            f"after {len(texts):,} searches MB": round(after, 1),
            "peak MB": round(peak, 1),
        }
    ]
    tables = {
        f"{options.starts} starts, {products:,} products": start_rows,
        f"{options.requests:,} distinct queries, one client": latency_table(found),
        "Resident memory of the server": memory,
    }
    report(tables, as_json=options.json)


def _parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--store", type=Path, required=True, help="indexed by `daogou index`")
    parser.add_argument("--queries", type=Path, required=True, help="one query in each line")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
