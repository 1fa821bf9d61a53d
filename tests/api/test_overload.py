"""More requests than can be answered: what can be is, in time; the rest is told so at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from engine.listing import AS_RANKED, View
from engine.settings import Settings
from engine.types import Filter, Mode, SearchResult, Stage
from tests.api.conftest import wait_until_ready
from tests.api.fakes import FakeEngine


class Waiting(FakeEngine):
    """Answers "wait" only when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_answer = threading.Event()
        self.deadlines: list[float | None] = []

    def search(
        self,
        text: str,
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
        mode: Mode | None = None,
        view: View = AS_RANKED,
        deadline: float | None = None,
    ) -> SearchResult:
        self.deadlines.append(deadline)
        if text == "wait":
            assert self.may_answer.wait(10)
        return super().search(text, k=k, offset=offset, filters=filters, stage=stage, view=view)


def ask(client: TestClient, text: str) -> int:
    response = client.get("/v1/search", params={"q": text})
    if response.status_code == 503:
        problem = response.json()
        assert problem["type"] == "urn:daogou:problem:overloaded"
        assert response.headers["Retry-After"] == "1"
        assert "again" in problem["detail"]
    return response.status_code


def test_the_engine_is_told_the_deadline(tmp_path: Path) -> None:
    engine = Waiting(tmp_path)
    with TestClient(create_app(lambda: engine, Settings(timeout_ms=5_000))) as client:
        wait_until_ready(client)
        before = time.monotonic()
        assert ask(client, "shoes") == 200
    (deadline,) = engine.deadlines
    assert deadline is not None
    assert before + 5 <= deadline <= time.monotonic() + 5


def test_a_full_queue_refuses_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.service.usable_cores", lambda: 2)
    engine = Waiting(tmp_path)
    settings = Settings(timeout_ms=60_000, queue=3)
    with TestClient(create_app(lambda: engine, settings)) as client, ThreadPoolExecutor(20) as pool:
        wait_until_ready(client)
        waiting = [pool.submit(ask, client, "wait") for _ in range(20)]
        deadline = time.monotonic() + 10
        while sum(task.done() for task in waiting) < 15 and time.monotonic() < deadline:
            time.sleep(0.005)
        waited = client.get("/metrics").text
        engine.may_answer.set()
        statuses = Counter(task.result() for task in waiting)
        assert statuses == {200: 5, 503: 15}  # two threads and a queue of three
        assert "daogou_waiting_requests 3.0" in waited
        assert ask(client, "shoes") == 200


def test_what_could_not_be_begun_in_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.service.usable_cores", lambda: 2)
    engine = Waiting(tmp_path)
    settings = Settings(timeout_ms=100, queue=100)
    with TestClient(create_app(lambda: engine, settings)) as client, ThreadPoolExecutor(4) as pool:
        wait_until_ready(client)
        begun = [pool.submit(ask, client, "wait") for _ in range(2)]
        deadline = time.monotonic() + 10
        while len(engine.deadlines) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        late = [pool.submit(ask, client, "shoes") for _ in range(2)]
        time.sleep(0.2)
        engine.may_answer.set()
        assert [task.result() for task in begun] == [200, 200]  # begun in time: answered
        assert [task.result() for task in late] == [503, 503]
    assert len(engine.deadlines) == 2
