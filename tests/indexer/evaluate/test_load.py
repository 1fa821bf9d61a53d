"""The clients of the benchmark, over a server that does as it is told."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.errors import EvaluationError
from indexer.evaluate import load
from indexer.evaluate.load import Server, closed_loop, open_loop, serving


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        (text,) = parse_qs(urlsplit(self.path).query)["q"]
        asked.append(text)
        if text == "slow":
            time.sleep(0.05)
        if text == "together":
            meeting.wait(timeout=60)
        if text == "broken":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send_response(503 if text == "busy" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


asked: list[str] = []
meeting = threading.Barrier(8)
"""Where a request for "together" waits until there are eight."""


@pytest.fixture
def server() -> Iterator[Server]:
    asked.clear()
    meeting.reset()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        host, port = http.server_address[:2]
        yield Server(0, f"{host!s}:{port}", time.perf_counter())
        http.shutdown()


def test_clients_ask_again_as_soon_as_they_are_answered(server: Server) -> None:
    found = closed_loop(server, ["a", "b", "slow"], clients=2, seconds=0.0, least=9)
    assert sorted(asked) == ["a"] * 3 + ["b"] * 3 + ["slow"] * 3
    assert found.statuses == {200: 9}
    assert found.rate == pytest.approx(9 / found.elapsed)
    assert found.percentiles()["p99"] >= 50.0
    assert found.elapsed >= 0.05


def test_only_what_was_answered_counts(server: Server) -> None:
    found = closed_loop(server, ["busy", "a", "broken"], clients=1, seconds=0.0, least=6)
    assert found.statuses == {503: 2, 200: 2, 0: 2}
    assert len(found.seconds) == 2


def test_an_open_loop_does_not_wait(server: Server) -> None:
    found = open_loop(server, ["together"], rate=200, seconds=0.2)
    assert found.statuses == {200: 40}


def test_no_answer_has_no_percentile(server: Server) -> None:
    found = closed_loop(server, ["busy"], clients=1, seconds=0.0, least=1)
    assert str(found.percentiles()["p50"]) == "nan"


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such store')"]
    with pytest.raises(EvaluationError, match="no such store"), serving(command, {}):
        pass


def test_a_server_is_stopped_in_the_end() -> None:
    code = "import time; print('ready at http://127.0.0.1:9', flush=True); time.sleep(60)"
    began = time.perf_counter()
    with serving([sys.executable, "-c", code], {"X": "1"}) as running:
        assert running.host == "127.0.0.1:9"
        assert running.started >= began
    assert time.perf_counter() - began < 30


SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, getattr(signal, sys.argv[1]))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
print(f"ready at http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""
MEASURED = """
import sys
from indexer.evaluate import load
with load.stoppable(), load.serving([sys.executable, "-c", *sys.argv[1:]], {}) as server:
    print(server.pid, flush=True)
    load.closed_loop(server, ["mug"], clients=2, seconds=300, least=1)
"""


def gone(pid: int) -> bool:
    """Whether the process has ended, or does so within a minute."""
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_who_is_told_to_stop_while_measuring_stops_the_server() -> None:
    command = [sys.executable, "-c", MEASURED, SERVER, "SIG_DFL"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as measuring:
        assert measuring.stdout is not None
        pid = int(measuring.stdout.readline())
        measuring.terminate()
        try:
            assert measuring.wait(60) == 128 + signal.SIGTERM
            assert gone(pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_server_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_STOP_SECONDS", 0.1)
    with serving([sys.executable, "-c", SERVER, "SIG_IGN"], {}) as running:
        pass
    assert gone(running.pid)
