from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.problems import Problem
from api.schemas import ProductBody, SearchRequest, SearchResponse


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def references(value: object) -> Iterator[str]:
    """Every `$ref` below the value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    described = list(operations(document))

    assert len(described) == 12
    assert all(operation["summary"] and operation["description"] for operation in described)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    assert set(references(document)) <= schemas
    assert "#/components/schemas/Problem" in schemas


def test_errors_are_documented_as_problem_details(document: dict[str, Any]) -> None:
    search = document["paths"]["/v1/search"]
    assert {"422", "414", "500", "503"} <= set(search["get"]["responses"])
    for path in ("/v1/search", "/v1/ask", "/v1/recommend"):
        responses = document["paths"][path]["post"]["responses"]
        assert {"400", "413", "422", "500", "503"} <= set(responses)
    assert {"404", "503"} <= set(document["paths"]["/v1/products/{product_id}"]["get"]["responses"])
    for operation in operations(document):
        for status, response in operation["responses"].items():
            if status < "400":
                continue
            (media, content), *others = response["content"].items()
            assert (media, others) == ("application/problem+json", [])
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            for example in content["examples"].values():
                assert str(Problem.model_validate(example["value"]).status) == status


def test_the_limits_are_documented(document: dict[str, Any]) -> None:
    parameters = {
        p["name"]: p["schema"] for p in document["paths"]["/v1/search"]["get"]["parameters"]
    }

    assert parameters["k"] | {"minimum": 1, "maximum": 100, "default": 10} == parameters["k"]
    assert parameters["offset"]["maximum"] == 10_000
    assert parameters["filter"]["maxItems"] == 50
    assert "at most 1,000 characters" in document["info"]["description"]


def test_examples_are_valid(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/search"]["post"]
    given = operation["responses"]["200"]["content"]["application/json"]

    assert given["schema"] == {"$ref": "#/components/schemas/SearchResponse"}
    SearchResponse.model_validate(given["example"])  # as served: FastAPI leaves out nulls
    operation_of_product = document["paths"]["/v1/products/{product_id}"]["get"]
    product = operation_of_product["responses"]["200"]["content"]["application/json"]["example"]
    ProductBody.model_validate(product)
    examples = document["components"]["schemas"]["SearchRequest"]["examples"]
    assert [SearchRequest.model_validate(example).query for example in examples]
