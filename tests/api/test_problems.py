from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.typing import EventDict

from api.limits import MAX_BODY_BYTES
from api.problems import Problem
from tests.api.fakes import ODD_QUERIES

JSON = {"Content-Type": "application/json"}


def problem(response: httpx.Response, status: int, slug: str) -> Problem:
    """The problem, checked for its shape."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    found = Problem.model_validate_json(response.content)
    assert found.type == f"urn:daogou:problem:{slug}"
    assert found.status == status
    assert found.title
    assert found.detail
    assert found.request_id == response.headers["X-Request-ID"]
    return found


def test_each_wrong_parameter_is_named(client: TestClient) -> None:
    response = client.get(
        "/v1/search?q=shoes&k=0&offset=10001&stage=best&brand=Nike&filter=" + "x" * 501
    )

    found = problem(response, 422, "invalid-request")
    assert found.instance == "/v1/search"
    assert found.errors is not None
    assert {part.parameter for part in found.errors} == {"k", "offset", "stage", "brand", "filter"}


def test_each_wrong_member_is_pointed_at(client: TestClient) -> None:
    body = {"query": 5, "k": 101, "filters": {"price": {"lte": 2**60}}, "a/b~c é": 1}
    response = client.post("/v1/search", json=body)

    found = problem(response, 422, "invalid-request")
    assert found.errors is not None
    assert {part.pointer for part in found.errors} == {
        "#/query",
        "#/k",
        "#/filters",
        "#/a~1b~0c%20%C3%A9",
    }


@pytest.mark.parametrize(
    ("address", "status", "slug", "words"),
    [
        ("/v1/search?q=", 422, "invalid-query", "empty"),
        ("/v1/search?q=%20%09%00", 422, "invalid-query", "empty"),
        ("/v1/search", 422, "invalid-request", "q: Field required"),
        ("/v1/search?q=" + "x" * 1001, 422, "invalid-query", "at most 1,000"),
        ("/v1/search?q=" + "x" * 17_000, 414, "url-too-long", "POST"),
        ("/v1/search?q=shoes&=1", 422, "invalid-request", "without a name: Extra"),
        ("/v1/categories?=1", 422, "invalid-request", "without a name: Extra"),
        ("/v1/search?q=lost", 503, "not-ready", "Restart the server"),
        ("/v1/search?q=shoes&filter=brnd%3DNike", 422, "invalid-filter", "brand"),
        ("/v1/search?q=shoes&filter=Nike", 422, "invalid-filter", "Nike"),
        ("/v1/search?q=shoes" + "&filter=brand%3DNike" * 51, 422, "invalid-request", "50"),
        ("/v1/search?q=shoes&stage=reranked", 422, "stage-unavailable", "no reranker"),
        ("/v1/products/nothing", 404, "product-not-found", "'nothing'"),
        ("/v1/products/", 404, "product-not-found", "''"),
        ("/v1/nothing", 404, "not-found", ""),
        ("/v1/search/", 404, "not-found", ""),
        ("/assets/../app.py", 404, "not-found", ""),
        ("/assets/%2e%2e/%2e%2e/app.py", 404, "not-found", ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_answered_says_why(
    client: TestClient, address: str, status: int, slug: str, words: str
) -> None:
    assert words in problem(client.get(address), status, slug).detail


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        ("", 422, "invalid-request"),
        ("{", 422, "invalid-request"),
        ("null", 422, "invalid-request"),
        ('"shoes"', 422, "invalid-request"),
        ('{"query": "  "}', 422, "invalid-query"),
        ('{"query": "\\ud800"}', 422, "invalid-query"),
        ('{"query": "shoes", "filters": {"price": {"lte": NaN}}}', 422, "invalid-request"),
        ('{"query": "shoes", "filters": {"price": {"lte": 1e999}}}', 422, "invalid-request"),
        ('{"query": "shoes", "filters": {"brand": "\\ud800"}}', 422, "invalid-request"),
        ('{"query": "shoes", "filters": {"\\udc00": "x"}}', 422, "invalid-request"),
        ('{"query": "shoes", "filters": {"brand": {"gte": "x"}}}', 422, "invalid-filter"),
        ('{"query": "shoes", "filters": {"price": {"lt": 1}}}', 422, "invalid-filter"),
        ('{"query": "shoes", "filters": {"nothing": "x"}}', 422, "invalid-filter"),
        ('{"query": "shoes", "filters": {"brand": null}}', 422, "invalid-filter"),
        ('{"query": "shoes", "filters": [1]}', 422, "invalid-request"),
        (
            '{"query": "shoes", "filters": ' + '{"not": ' * 9 + "{}" + "}" * 10,
            422,
            "invalid-request",
        ),
        (json.dumps({"query": "s", "filters": {"brand": ["x"] * 51}}), 422, "invalid-request"),
        (json.dumps({"query": "s", "filters": {"brand": "x" * 501}}), 422, "invalid-request"),
        (json.dumps({"query": "x" * 10_000}), 422, "invalid-query"),
        ('{"query": "shoes", "k": ' + "1" * 5000 + "}", 400, "bad-request"),
        ("[" * 60_000, 400, "bad-request"),
        ("x" * (MAX_BODY_BYTES + 1), 413, "body-too-large"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bodies_that_cannot_be_answered_say_why(
    client: TestClient, body: str, status: int, slug: str
) -> None:
    problem(client.post("/v1/search", content=body, headers=JSON), status, slug)


def test_a_body_is_measured_while_it_arrives(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:  # sent in chunks: no Content-Length tells its size
        yield b'{"query": "'
        for _ in range(200):
            yield b"x" * 1024

    response = client.post("/v1/search", content=endless(), headers=JSON)

    problem(response, 413, "body-too-large")


def test_a_body_of_the_full_size_is_read(client: TestClient) -> None:
    body = '{"query": "shoes"}'.ljust(MAX_BODY_BYTES)

    assert client.post("/v1/search", content=body, headers=JSON).status_code == 200


@pytest.mark.parametrize("query", ODD_QUERIES, ids=lambda query: ascii(query)[:40])
def test_odd_queries_are_answered(client: TestClient, query: str) -> None:
    assert client.get("/v1/search", params={"q": query}).status_code == 200
    assert client.post("/v1/search", json={"query": query}).status_code == 200


def test_a_wrong_method_is_told_the_right_ones(client: TestClient) -> None:
    response = client.put("/v1/search")

    problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "GET, POST"


def test_an_unexpected_error_is_logged_and_not_told(
    client: TestClient, logged: list[EventDict]
) -> None:
    response = client.get("/v1/search", params={"q": "crash"}, headers={"X-Request-ID": "id-7"})

    found = problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert found.request_id == "id-7"
    assert logged[0]["log_level"] == "error"
    assert logged[0]["request_id"] == "id-7"
    assert logged[1]["status"] == 500
    assert client.get("/v1/search", params={"q": "shoes"}).status_code == 200


fuzz = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
field = st.sampled_from(["brand", "price", "in_stock", "category", "and", "or", "not", "gte", "x"])


def answered(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        Problem.model_validate_json(response.content)
        assert response.headers["Content-Type"] == "application/problem+json"


@fuzz
@given(
    q=st.text(), filters=st.lists(st.text() | st.from_regex(r"(brand|price)[<>=!.].*"), max_size=3)
)
def test_any_address_is_answered(client: TestClient, q: str, filters: list[str]) -> None:
    answered(client.get("/v1/search", params={"q": q, "filter": filters}))


@fuzz
@given(filters=st.dictionaries(field, any_json, max_size=4), extra=any_json)
def test_any_body_is_answered(client: TestClient, filters: dict[str, Any], extra: object) -> None:
    for body in ({"query": "shoes", "filters": filters}, {"query": extra}, extra):
        answered(client.post("/v1/search", content=json.dumps(body), headers=JSON))


@fuzz
@given(body=st.binary(max_size=200))
def test_any_bytes_are_answered(client: TestClient, body: bytes) -> None:
    answered(client.post("/v1/search", content=body, headers=JSON))
