"""The API over a real engine: a small shop, indexed with the shipped encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from api.app import create_app
from api.schemas import SearchResponse
from engine.guide.guide import ShoppingGuide
from engine.settings import Settings
from engine.types import Stage
from tests.api.conftest import wait_until_ready
from tests.api.fakes import ODD_QUERIES
from tests.shop import PRODUCTS


@pytest.fixture(scope="module")
def shop(shop_store: Path) -> Iterator[TestClient]:
    app = create_app(lambda: ShoppingGuide.open(shop_store), Settings())
    with capture_logs(), TestClient(app) as opened:
        wait_until_ready(opened)
        yield opened


@pytest.mark.parametrize("stage", [None, Stage.LEXICAL, Stage.DENSE, Stage.FUSED])
def test_each_stage_answers(shop: TestClient, stage: Stage | None) -> None:
    request = {"query": "electric kettle for coffee", "k": 3, "stage": stage}
    response = shop.post("/v1/search", json=request)

    answer = SearchResponse.model_validate_json(response.content)
    assert answer.stage is (stage or Stage.FUSED)
    assert answer.hits[0].product.id == "k1"
    assert answer.hits[0].stages[answer.stage].rank == 1
    assert answer.timings


def test_meaning_finds_what_words_do_not(shop: TestClient) -> None:
    answer = shop.get("/v1/search", params={"q": "something to keep my drink hot at work"}).json()

    assert answer["hits"][0]["product"]["id"] in {"m1", "m2"}


def test_pages_continue_each_other(shop: TestClient) -> None:
    def page(offset: int, k: int) -> list[str]:
        params: dict[str, str | int] = {"q": "mug", "offset": offset, "k": k}
        hits = shop.get("/v1/search", params=params).json()["hits"]
        return [hit["product"]["id"] for hit in hits]

    assert page(0, 2) + page(2, 2) == page(0, 4)
    assert page(9_000, 10) == []


def test_every_product_can_be_fetched(shop: TestClient) -> None:
    for product in PRODUCTS:
        assert shop.get(f"/v1/products/{product.id}").json() == product.to_dict()


@pytest.mark.parametrize("query", ODD_QUERIES, ids=lambda query: ascii(query)[:40])
def test_odd_queries_are_answered(shop: TestClient, query: str) -> None:
    assert shop.get("/v1/search", params={"q": query}).status_code == 200


@pytest.mark.parametrize(
    ("address", "parameter"),
    [
        ("/v1/search?q=%20", "q"),
        ("/v1/search?q=shoes&filter=nothing%3Dx", "filter"),
        ("/v1/search?q=shoes&facet=nothing", "facet"),
        ("/v1/search?q=shoes&explain=true&k=50", "k"),
    ],
)
def test_what_the_engine_refuses_has_its_place_in_the_address(
    shop: TestClient, address: str, parameter: str
) -> None:
    response = shop.get(address)

    assert response.status_code == 422
    assert [part["parameter"] for part in response.json()["errors"]] == [parameter]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("search", {"query": " "}, "#/query"),
        ("search", {"query": "shoes", "filters": {"nothing": "x"}}, "#/filters"),
        ("search", {"query": "shoes", "facets": ["nothing"]}, "#/facets"),
        ("search", {"query": "shoes", "explain": True, "k": 50}, "#/k"),
        ("ask", {"question": " "}, "#/question"),
        ("ask", {"question": "is it red?", "before": [" "]}, "#/before"),
        ("recommend", {"history": [{"product_id": "1", "event": "rating"}]}, "#/history"),
        ("recommend", {"history": [], "explain": True, "k": 50}, "#/k"),
    ],
)
def test_what_the_engine_refuses_has_its_place_in_the_body(
    shop: TestClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    response = shop.post(f"/v1/{path}", json=body)

    assert response.status_code == 422
    assert [part["pointer"] for part in response.json()["errors"]] == [pointer]
