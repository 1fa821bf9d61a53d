from __future__ import annotations

from fastapi.testclient import TestClient

from api.schemas_navigate import CategoriesResponse, SuggestResponse


def test_what_is_typed_is_completed(client: TestClient) -> None:
    answer = client.get("/v1/suggest", params={"q": "red", "k": 3}).json()

    SuggestResponse.model_validate(answer)
    assert [one["text"] for one in answer["suggestions"]] == ["Red running shoes"]


def test_a_snapshot_without_suggestions_says_what_to_do(client: TestClient) -> None:
    answer = client.get("/v1/suggest", params={"q": "old"})

    assert answer.status_code == 422
    assert "Index the catalog again" in answer.json()["detail"]


def test_one_level_of_the_tree(client: TestClient) -> None:
    top = client.get("/v1/categories").json()
    below = client.get("/v1/categories", params={"under": "Kitchen"}).json()

    CategoriesResponse.model_validate(top)
    assert top["categories"] == [{"category": "Kitchen", "products": 1, "below": 1}]
    assert below["categories"][0]["category"] == "Kitchen > Kettles"


def test_a_search_is_corrected_unless_told_not_to(client: TestClient) -> None:
    read = client.get("/v1/search", params={"q": "shoos"}).json()
    typed = client.get("/v1/search", params={"q": "shoos", "understand": "false"}).json()
    body = client.post("/v1/search", json={"query": "shoos", "understand": False}).json()

    assert (read["query"], read["did_you_mean"], read["corrected"]) == ("shoes", "shoes", True)
    assert (typed["query"], typed["corrected"], body["query"]) == ("shoos", False, "shoos")
