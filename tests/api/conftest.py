"""An app over the fake shop, opened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs
from structlog.typing import EventDict

from api.app import create_app
from engine.settings import Settings
from tests.api.fakes import FakeEngine


def wait_until_ready(client: TestClient) -> None:
    """Return once the app answers ready; fail after five seconds."""
    deadline = time.monotonic() + 5
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, "the app did not get ready"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """What was logged, as structlog's events."""
    with capture_logs() as events:
        yield events


@pytest.fixture(scope="package")
def engine(tmp_path_factory: pytest.TempPathFactory) -> FakeEngine:
    folder: Path = tmp_path_factory.mktemp("shop")
    return FakeEngine(folder)


@pytest.fixture(scope="package")
def client(engine: FakeEngine) -> Iterator[TestClient]:
    """A client of a ready app. What the app raises would reach it: every error must be answered.

    Its deadline is long: how busy the machine is must not decide what is answered.
    """
    settings = Settings(timeout_ms=60_000)
    with capture_logs(), TestClient(create_app(lambda: engine, settings)) as opened:
        wait_until_ready(opened)
        yield opened
