from __future__ import annotations

import re
import threading
import time

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from structlog.typing import EventDict

from api.app import create_app
from engine.errors import SnapshotNotFoundError
from engine.settings import Settings
from tests.api.conftest import wait_until_ready
from tests.api.fakes import FakeEngine


def measured(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics: (name, label values in order of label) to value."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_and_answers_are_counted(engine: FakeEngine) -> None:
    with TestClient(create_app(lambda: engine, Settings())) as client:
        wait_until_ready(client)
        for query in ("shoes", "nowhere", "late", ""):
            client.get("/v1/search", params={"q": query})
        client.get("/v1/search", params={"q": "shoes", "offset": 50})
        client.get("/v1/products/K-1")
        for path in ("/v1/nothing", "/v1/else"):
            client.request("BREW", path)
        found = measured(client)

    requests = "daogou_http_requests_total"
    assert found[requests, "GET", "/v1/search", "200"] == 4
    assert found[requests, "GET", "/v1/search", "422"] == 1
    assert found[requests, "GET", "/v1/products/{product_id}", "200"] == 1
    assert found[requests, "other", "unmatched", "404"] == 2
    assert found["daogou_http_request_duration_seconds_count", "/v1/search"] == 5
    assert found["daogou_stage_duration_seconds_count", "lexical"] == 4
    assert found["daogou_stage_duration_seconds_sum", "lexical"] == pytest.approx(0.005)
    assert found["daogou_empty_answers_total",] == 2
    assert found["daogou_degraded_answers_total",] == 1


def test_the_snapshot_is_measured(client: TestClient) -> None:
    found = measured(client)

    assert found["daogou_ready",] == 1
    assert found["daogou_products",] == 4
    assert found["daogou_snapshot_info", "snapshot-1"] == 1
    assert 3600 <= found["daogou_snapshot_age_seconds",] < 3720


def test_ready_tells_the_snapshot(client: TestClient) -> None:
    answer = client.get("/readyz").json()

    assert answer["status"] == "ready"
    assert answer["snapshot_id"] == "snapshot-1"
    assert answer["products"] == 4
    assert answer["created_at"].endswith("+00:00")


def test_while_the_engine_opens_the_process_is_alive_but_not_ready(engine: FakeEngine) -> None:
    may_open = threading.Event()

    def load() -> FakeEngine:
        may_open.wait(10)
        return engine

    with TestClient(create_app(load, Settings())) as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        for path in ("/readyz", "/v1/search?q=shoes", "/v1/products/K-1"):
            response = client.get(path)
            assert response.status_code == 503
            assert response.json()["type"] == "urn:daogou:problem:not-ready"
            assert response.headers["Retry-After"] == "1"
        assert measured(client)["daogou_ready",] == 0
        may_open.set()
        wait_until_ready(client)
        assert client.get("/v1/search?q=shoes").status_code == 200


def test_an_engine_that_cannot_open_is_reported_once(logged: list[EventDict]) -> None:
    def load() -> FakeEngine:
        raise SnapshotNotFoundError("there is no store at /nowhere")

    outcomes: list[BaseException | None] = []
    app = create_app(load, Settings(), on_opened=outcomes.append)
    with TestClient(app) as client:
        deadline = time.monotonic() + 5
        while not outcomes and time.monotonic() < deadline:
            time.sleep(0.005)
        response = client.get("/readyz")

    assert [type(outcome) for outcome in outcomes] == [SnapshotNotFoundError]
    assert response.status_code == 503
    assert "could not be opened" in response.json()["detail"]
    assert "/nowhere" not in response.text
    assert any(event.get("error") == "there is no store at /nowhere" for event in logged)


@pytest.mark.parametrize("sane", ["abc-1", "A_b.9", "x" * 64])
def test_a_sane_request_id_is_kept(client: TestClient, sane: str) -> None:
    response = client.get("/healthz", headers={"X-Request-ID": sane})

    assert response.headers["X-Request-ID"] == sane


@pytest.mark.parametrize(
    "given", [None, b"", b"x" * 65, b"a b", b"a\tb", "ä".encode(), b"\xff", b'{"a":1}']
)
def test_any_other_request_id_is_replaced(client: TestClient, given: bytes | None) -> None:
    headers = {} if given is None else {b"X-Request-ID": given}
    first, second = (client.get("/healthz", headers=headers) for _ in range(2))

    assert re.fullmatch("[0-9a-f]{32}", first.headers["X-Request-ID"])
    assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]


def test_one_line_is_logged_a_request_without_the_shoppers_words(
    client: TestClient, logged: list[EventDict]
) -> None:
    client.get("/v1/search?q=shoes&filter=brand%3DNike", headers={"X-Request-ID": "id-1"})
    client.post("/v1/search", json={"query": "shoes"})
    client.get("/v1/products/S-1")

    first, second, third = logged
    assert first.pop("duration_ms") > 0
    assert first == {
        "event": "request",
        "log_level": "info",
        "request_id": "id-1",
        "method": "GET",
        "path": "/v1/search",
        "status": 200,
        "query_id": "query-1",
        "snapshot_id": "snapshot-1",
        "stage": "fused",
        "candidates": 1,
        "total": 1,
        "hits": 1,
        "degraded": False,
    }
    assert (second["method"], second["candidates"]) == ("POST", 2)
    assert third["path"] == "/v1/products/{product_id}"
    assert "shoes" not in str(logged)
    assert "Nike" not in str(logged)


@pytest.mark.parametrize(
    "path", ["/v1/search?q=shoes", "/v1/search?q=", "/v1/search?q=crash", "/nothing", "/metrics"]
)
def test_every_response_is_guarded(client: TestClient, path: str) -> None:
    headers = client.get(path, headers={"Origin": "https://elsewhere.example"}).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
