from __future__ import annotations

from fastapi.testclient import TestClient

from api.schemas_guide import RecommendResponse, RelatedResponse


def test_a_history_is_answered(client: TestClient) -> None:
    body = {"history": [{"product_id": "S-1"}], "k": 2, "filters": {"price": {"lte": 50}}}
    response = client.post("/v1/recommend", json=body)
    assert response.status_code == 200
    answer = RecommendResponse.model_validate(response.json())
    assert [one.product.id for one in answer.recommendations] == ["S-2", "K-1"]
    first = answer.recommendations[0]
    assert first.because is not None
    assert (first.reason, first.because.id) == ("alike", "S-1")


def test_a_new_shopper_is_answered(client: TestClient) -> None:
    answer = client.post("/v1/recommend", json={}).json()
    assert {one["reason"] for one in answer["recommendations"]} == {"popular"}
    assert answer["recommendations"][0]["because"] is None


def test_what_is_no_event_is_named(client: TestClient) -> None:
    for event in (
        {"product_id": ""}, {"product_id": "a", "event": "wish"}, {"product_id": "a", "at": "soon"},
        {"product_id": "a", "quantity": 0}, {"product_id": "a", "why": 1}, {},
        {"product_id": "a", "rating": 9},
    ):  # fmt: skip
        response = client.post("/v1/recommend", json={"history": [event]})
        assert response.status_code == 422, event
        assert response.json()["errors"][0]["pointer"].startswith("#/history/0")
    rated = {"history": [{"product_id": "a", "event": "rating"}]}
    response = client.post("/v1/recommend", json=rated)
    assert response.status_code == 422
    assert "between 1 and 5" in response.json()["detail"]


def test_an_unknown_filter_is_named(client: TestClient) -> None:
    response = client.post("/v1/recommend", json={"filters": {"wheels": "4"}})
    assert response.status_code == 422
    assert "wheels" in response.json()["detail"]


def test_relatives_of_a_product(client: TestClient) -> None:
    response = client.get(
        "/v1/products/a%2Fb%20c%23%3F%25%C3%A9%F0%9F%99%82/similar", params={"k": 1}
    )
    assert response.status_code == 200
    assert len(RelatedResponse.model_validate(response.json()).products) == 1
    assert client.get("/v1/products/nothing/similar").status_code == 404
    refused = client.get("/v1/products/S-1/complements")
    assert refused.status_code == 422
    assert "purchases" in refused.json()["detail"]
    assert client.get("/v1/products/S-1/similar", params={"n": 3}).status_code == 422
