"""Servers as processes of their own, and the requests they are measured with."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from urllib.parse import urlencode, urlsplit

import numpy as np

from engine.errors import EvaluationError

_START_SECONDS = 300.0
_ANSWER_SECONDS = 300.0
_STOP_SECONDS = 10.0


@dataclass(slots=True)
class Answers:
    """What became of the requests of one measurement."""

    seconds: list[float] = field(default_factory=list)
    """From sending to the last byte, of those answered 200."""
    statuses: Counter[int] = field(default_factory=Counter)
    """0 stands for a connection that broke."""
    elapsed: float = 0.0

    @property
    def rate(self) -> float:
        """Answers (200) a second."""
        return len(self.seconds) / self.elapsed if self.elapsed else 0.0

    def percentiles(self) -> dict[str, float]:
        """p50, p95 and p99 in milliseconds."""
        points = (50, 95, 99)
        if not self.seconds:
            return dict.fromkeys((f"p{point}" for point in points), float("nan"))
        found = np.percentile(np.array(self.seconds) * 1000, points)
        return {f"p{point}": float(each) for point, each in zip(points, found, strict=True)}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers `GET /v1/search`."""

    pid: int
    host: str
    started: float
    """`time.perf_counter` when its process was begun."""

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own for each thread."""
        return http.client.HTTPConnection(self.host, timeout=_ANSWER_SECONDS)

    def memory_mb(self) -> float | None:
        """Resident memory in MB (10^6 bytes); None where the system does not tell."""
        status = Path(f"/proc/{self.pid}/status")
        if not status.exists():
            return None
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line[:6] == "VmRSS:")


@contextlib.contextmanager
def serving(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Server]:
    """A running server, from when it prints its address; stopped in the end, however it ends.

    Raises:
        EvaluationError: it ended before that, or took too long; the message has its last words.
    """
    started = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(  # noqa: S603 - our own commands
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **environment},
        ) as process,
    ):
        late = threading.Timer(_START_SECONDS, process.kill)
        late.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            late.cancel()
            if "http://" not in line:
                log.seek(0)
                raise EvaluationError(f"{' '.join(command)} did not start: {log.read()[-2000:]}")
            yield Server(process.pid, urlsplit(line.split()[-1]).netloc, started)
        finally:
            late.cancel()
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Stop a process; kill it where it does not stop."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Run a block that SIGTERM ends as Ctrl-C does: what it started is stopped on the way out."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough: stopping takes a while
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ask(connection: http.client.HTTPConnection, text: str, k: int = 10) -> tuple[int, bytes]:
    """Status and body of one search."""
    connection.request("GET", "/v1/search?" + urlencode({"q": text, "k": k}))
    response = connection.getresponse()
    return response.status, response.read()


def closed_loop(
    server: Server, texts: Sequence[str], *, clients: int, seconds: float, least: int
) -> Answers:
    """So many clients, each asking again as soon as it is answered.

    Until `seconds` are over and at least `least` requests were begun; texts are asked in their
    order, from the first again after the last.
    """
    answers = Answers()
    lock, places, stopped = threading.Lock(), itertools.count(), threading.Event()
    began = time.perf_counter()

    def client() -> None:
        with contextlib.closing(server.connect()) as connection:
            while not stopped.is_set():
                with lock:
                    place = next(places)
                sent = time.perf_counter()
                if place >= least and sent - began > seconds:
                    return
                status = _status(connection, texts[place % len(texts)])
                with lock:
                    answers.statuses[status] += 1
                    if status == 200:
                        answers.seconds.append(time.perf_counter() - sent)

    with ThreadPoolExecutor(clients) as pool:
        try:
            for task in [pool.submit(client) for _ in range(clients)]:
                task.result()
        finally:
            stopped.set()
    answers.elapsed = time.perf_counter() - began
    return answers


def open_loop(server: Server, texts: Sequence[str], *, rate: float, seconds: float) -> Answers:
    """So many requests a second, whether or not those before were answered."""
    answers = Answers()
    lock = threading.Lock()
    idle: list[http.client.HTTPConnection] = []
    count = int(rate * seconds)

    def request(text: str, due: float) -> None:
        with lock:
            connection = idle.pop() if idle else server.connect()
        status = _status(connection, text)
        with lock:
            idle.append(connection)
            answers.statuses[status] += 1
            if status == 200:
                answers.seconds.append(time.perf_counter() - due)

    began = time.perf_counter()
    tasks: list[Future[None]] = []
    with ThreadPoolExecutor(max(8, min(256, count))) as pool:
        try:
            for place in range(count):
                due = began + place / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                tasks.append(pool.submit(request, texts[place % len(texts)], due))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for task in tasks:
        task.result()
    for connection in idle:
        connection.close()
    answers.elapsed = time.perf_counter() - began
    return answers


def _status(connection: http.client.HTTPConnection, text: str) -> int:
    """The status of one search, 0 where the connection broke; it is opened again then."""
    try:
        return ask(connection, text)[0]
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
