from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from api.schemas import ProductBody, SearchResponse
from engine.types import Product
from tests.api.fakes import PRODUCTS


def titles(answer: dict[str, Any]) -> list[str]:
    return [hit["product"]["title"] for hit in answer["hits"]]


def test_the_best_product_comes_first_with_all_its_fields(client: TestClient) -> None:
    response = client.get("/v1/search", params={"q": "red running shoes"})

    answer = response.json()
    assert response.status_code == 200
    assert titles(answer) == ["Red running shoes", "Blue running shoes"]
    assert ProductBody(**answer["hits"][0]["product"]) == ProductBody(**PRODUCTS[0].to_dict())
    assert answer["hits"][0]["stages"] == {"lexical": {"rank": 1, "score": 3.0}}
    assert answer["hits"][0]["probabilities"] is None
    hits = answer.pop("hits")
    assert len(hits) == 2
    assert answer == {
        "query": "red running shoes",
        "query_id": "query-1",
        "snapshot_id": "snapshot-1",
        "stage": "fused",
        "degraded": False,
        "fits": None,
        "nothing_fits": False,
        "candidates": 2,
        "total": 2,
        "total_is_least": False,
        "facets": [],
        "k": 10,
        "offset": 0,
        "timings": {"lexical": 1.25, "fused": 0.5},
        "did_you_mean": None,
        "corrected": False,
        "read": "",
        "understood": [],
        "shelves": [],
        "related": [],
        "relaxations": [],
    }


def test_the_answer_is_what_the_schema_documents(client: TestClient) -> None:
    answer = client.get("/v1/search", params={"q": "reranked shoes", "stage": "reranked"}).json()

    SearchResponse.model_validate(answer)
    assert answer["stage"] == "reranked"
    assert answer["hits"][0]["probabilities"] == {
        "irrelevant": 0.25,
        "complement": 0.25,
        "substitute": 0.25,
        "exact": 0.25,
    }


def test_an_answer_says_when_nothing_fits(client: TestClient) -> None:
    answer = client.get("/v1/search", params={"q": "junk shoes"}).json()

    SearchResponse.model_validate(answer)
    assert (answer["fits"], answer["nothing_fits"]) == (0.0123, True)
    assert answer["hits"]


def test_hits_are_explained_where_that_is_asked_for(client: TestClient) -> None:
    plain = client.get("/v1/search", params={"q": "running shoes"}).json()
    asked = client.get("/v1/search", params={"q": "running shoes", "explain": "true"}).json()
    posted = client.post("/v1/search", json={"query": "running shoes", "explain": True}).json()

    assert {hit["explanation"] for hit in plain["hits"]} == {None}
    SearchResponse.model_validate(asked)
    for hit in (*asked["hits"], *posted["hits"]):
        assert hit["explanation"] == {
            "summary": "matches: shoes; missing: purple",
            "score": 1.0,
            "features": {"lexical": {"value": -0.5, "adds": 1.0}},
            "words": [{"word": "shoes", "share": 0.9, "meets": "shoes", "literally": True}],
            "missing": ["purple"],
            "kept": 0.9,
            "lost": 0.8,
        }


def test_get_and_post_answer_alike(client: TestClient) -> None:
    got = client.get(
        "/v1/search",
        params={"q": "shoes", "k": 1, "offset": 1, "filter": ["price<=80", "brand!=Öko"]},
    )
    posted = client.post(
        "/v1/search",
        json={
            "query": "shoes",
            "k": 1,
            "offset": 1,
            "filters": {"price": {"lte": 80}, "not": {"brand": "Öko"}},
        },
    )

    assert got.json() == posted.json()
    assert titles(got.json()) == ["Blue running shoes"]
    assert got.json()["hits"][0]["rank"] == 2


def test_filters_narrow_the_answer(client: TestClient) -> None:
    def found(*filters: str) -> list[str]:
        return titles(client.get("/v1/search", params={"q": "shoes", "filter": filters}).json())

    assert found("brand=nike") == ["Red running shoes"]
    assert found("brand=nike", "brand=puma") == ["Red running shoes", "Blue running shoes"]
    assert found("price=40..60") == ["Blue running shoes"]
    assert found("brand=nike", "price<=10") == []
    assert found("created_at>=2026-03") == ["Red running shoes"]
    assert found("created_at<=2026-02-01") == ["Blue running shoes"]


def test_days_of_a_facet_are_filters(client: TestClient) -> None:
    asked = {"query": "shoes", "facets": ["created_at", "price"]}
    answer = client.post("/v1/search", json=asked).json()

    SearchResponse.model_validate(answer)
    dates, prices = ([one["low"] for one in facet["values"]] for facet in answer["facets"])
    assert (dates, prices) == (["2026-02-01", "2026-03-04"], [49.0, 79.5])
    for day, title in zip(dates, ["Blue running shoes", "Red running shoes"], strict=True):
        for wanted in ({"gte": day, "lte": day}, day, [day]):
            body = {"query": "shoes", "filters": {"created_at": wanted}}
            assert titles(client.post("/v1/search", json=body).json()) == [title]


def test_server_timing_names_the_stages(client: TestClient) -> None:
    response = client.get("/v1/search", params={"q": "shoes"})

    assert response.headers["Server-Timing"] == "lexical;dur=1.250, fused;dur=0.500"


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.title)
def test_products_are_found_by_any_id(client: TestClient, product: Product) -> None:
    response = client.get(f"/v1/products/{quote(product.id, safe='')}")

    assert response.status_code == 200
    assert response.json() == product.to_dict()


def test_markup_in_a_catalog_stays_text(client: TestClient) -> None:
    response = client.get("/v1/search", params={"q": "odd shelf"})

    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert titles(response.json()) == ["Odd shelf <script>alert(1)</script>"]


def test_many_shoppers_at_once_get_their_own_answers(client: TestClient) -> None:
    def ask(number: int) -> bool:
        word = ("red", "blue", "kettle")[number % 3]
        answer = client.get("/v1/search", params={"q": word}).json()
        return bool(answer["query"] == word and word in titles(answer)[0].casefold())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(96)))


def test_a_mode_says_what_a_search_may_cost(client: TestClient) -> None:
    stages = {
        mode: client.get("/v1/search", params={"q": "reranked shoes", "mode": mode}).json()["stage"]
        for mode in ("fast", "balanced", "best")
    }
    assert stages == {"fast": "fused", "balanced": "reranked", "best": "reranked"}
    named = {"query": "reranked shoes", "mode": "best", "stage": "lexical"}
    assert client.post("/v1/search", json=named).json()["stage"] == "lexical"
    assert client.get("/v1/search", params={"q": "shoes", "mode": "slow"}).status_code == 422
