"""The clients of the benchmark, over a server that does as it is told."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.errors import EvaluationError
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
