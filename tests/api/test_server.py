"""The server as a process: started, asked, told to stop."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.listening import address_of, listen

ROOT = Path(__file__).parents[2]
SERVE_FAKE = """
import pathlib, sys
from api import listening, server
from engine.settings import Settings
from tests.api.fakes import FakeEngine

server.run(
    lambda: FakeEngine(pathlib.Path(sys.argv[1])),
    Settings(),
    listening.listen("127.0.0.1", 0),
    announce=lambda url: print(url, flush=True),
)
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE_FAKE, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


def get(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.status, response.read()


def test_it_serves_until_told_to_stop_and_finishes_what_it_began(
    process: subprocess.Popen[str],
) -> None:
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    status, body = get(f"{url}/v1/search?q=shoes")
    assert (status, json.loads(body)["candidates"]) == (200, 2)
    with pytest.raises(urllib.error.HTTPError, match="500"):
        get(f"{url}/v1/search?q=crash")
    under_way = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    under_way.request("GET", "/v1/search?q=slow")
    get(f"{url}/healthz")  # sent later, answered: so the slow one is being worked on
    process.send_signal(signal.SIGTERM)
    assert under_way.getresponse().status == 200
    under_way.close()
    _, log = process.communicate(timeout=10)

    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["event"] for line in lines] == [
        "engine opened",
        "request",
        "unexpected error",
        "request",
        "request",
        "request",
    ]
    assert [line.get("path") for line in lines[-2:]] == ["/healthz", "/v1/search"]
    assert process.returncode in {0, -signal.SIGTERM}
    assert "RuntimeError" in log
    assert "q=crash" not in log
    assert "shoes" not in log


def test_a_taken_address_is_refused() -> None:
    with listen("127.0.0.1", 0) as first:
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", first.getsockname()[1])
        assert address_of(first) == f"http://127.0.0.1:{first.getsockname()[1]}"


def test_the_address_told_can_be_opened() -> None:
    with listen("0.0.0.0", 0) as everywhere:
        assert address_of(everywhere).startswith("http://127.0.0.1:")
        with socket.create_connection(everywhere.getsockname()[:2], timeout=5):
            pass
