"""The wire types of `/v1/suggest`, `/v1/categories` and of what goes with a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from engine.guide.navigate import Navigation
from engine.retrieval.shelves import Shelf
from engine.retrieval.suggestions import Completion, Kind

MAX_SUGGESTIONS = 20
MAX_SHELVES = 500
MAX_TYPED = 200


class SuggestParams(BaseModel):
    """The query string of `GET /v1/suggest`."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(max_length=MAX_TYPED, description="What was typed so far.", examples=["coffe m"])
    k: Annotated[int, Field(ge=1, le=MAX_SUGGESTIONS, description="Suggestions.")] = 8


class SuggestionBody(BaseModel):
    """One way to go on."""

    text: str
    kind: Kind
    weight: int = Field(description="Products that have it, and 10 for each time it was asked.")
    corrected: bool = Field(description="True where it does not begin as was typed.")


class SuggestResponse(BaseModel):
    """Ways to go on from what was typed."""

    model_config = ConfigDict(extra="forbid")

    snapshot_id: str
    suggestions: list[SuggestionBody] = Field(description="Most frequent first.")


class CategoriesParams(BaseModel):
    """The query string of `GET /v1/categories`."""

    model_config = ConfigDict(extra="forbid")

    under: str = Field(
        default="",
        max_length=MAX_TYPED,
        description="A path, `Kitchen > Kettles`: the shelves right below it. The top otherwise.",
    )
    k: Annotated[int, Field(ge=1, le=MAX_SHELVES, description="Shelves at most.")] = 100


class ShelfBody(BaseModel):
    """One category."""

    category: str = Field(description="Its path, as the filter `category=…` takes it.")
    products: int = Field(description="That stand on it or below.")
    below: int = Field(description="Shelves right below it.")


class CategoriesResponse(BaseModel):
    """One level of the category tree."""

    model_config = ConfigDict(extra="forbid")

    snapshot_id: str
    categories: list[ShelfBody] = Field(description="Those of most products first.")


class StatementBody(BaseModel):
    """One thing that the words say of a field."""

    field: str = Field(description="price, brand, color, category, or an attribute.")
    words: str
    span: list[int] = Field(description="Where they begin and end in `read`, in characters.")
    value: str
    negated: bool
    confidence: float = Field(description="That it is meant, by the words and the catalog, 0 to 1.")
    applied: bool = Field(
        description="True where only such products are shown: `understand=false` undoes it."
    )


class NearShelfBody(BaseModel):
    """A shelf where the best products stand."""

    category: str
    best: int = Field(description="How many of the 50 best stand there.")
    products: int = Field(description="How many the shelf holds.")


class RelaxationBody(BaseModel):
    """One way to find something."""

    given_up: list[str] = Field(description="Conditions, or words that no product holds.")
    products: int = Field(description="Results there are then.")
    query: str | None = Field(
        default=None, description="What is left of the query, where words are given up."
    )


class NavigationBody(BaseModel):
    """What goes with a page of results."""

    did_you_mean: str | None = Field(
        default=None, description="The query in the catalog's own spelling; null where it is that."
    )
    corrected: bool = Field(
        description="True where that was searched instead: `understand=false` undoes it."
    )
    read: str = Field(
        description="The words that were read: cleaned, respelt where that is sure. `query` holds "
        "what is left of them where some became filters."
    )
    understood: list[StatementBody]
    shelves: list[NearShelfBody] = Field(description="Where the best products stand.")
    related: list[str] = Field(description="Longer queries that begin like this one.")
    relaxations: list[RelaxationBody] = Field(
        description="Where nothing is found, or nothing fits: what to give up."
    )


def suggest_answer(snapshot_id: str, found: Sequence[Completion]) -> dict[str, Any]:
    """The answer as JSON types, in the shape of `SuggestResponse`."""
    return {
        "snapshot_id": snapshot_id,
        "suggestions": [
            {
                "text": one.text,
                "kind": one.kind.value,
                "weight": one.weight,
                "corrected": one.corrected,
            }
            for one in found
        ],
    }


def categories_answer(snapshot_id: str, found: Sequence[Shelf]) -> dict[str, Any]:
    """The answer as JSON types, in the shape of `CategoriesResponse`."""
    return {
        "snapshot_id": snapshot_id,
        "categories": [
            {"category": one.title, "products": one.products, "below": one.below} for one in found
        ],
    }


def navigation_answer(found: Navigation) -> dict[str, Any]:
    """The answer as JSON types, in the shape of `NavigationBody`."""
    return {
        "did_you_mean": found.did_you_mean,
        "corrected": found.corrected,
        "read": found.read,
        "understood": [
            {
                "field": one.field,
                "words": one.words,
                "span": [one.start, one.stop],
                "value": one.value,
                "negated": one.negated,
                "confidence": one.confidence,
                "applied": one.applied,
            }
            for one in found.understood
        ],
        "shelves": [
            {"category": one.shelf.title, "best": one.best, "products": one.shelf.products}
            for one in found.shelves
        ],
        "related": list(found.related),
        "relaxations": [
            {"given_up": list(one.given_up), "products": one.products, "query": one.query}
            for one in found.relaxations
        ],
    }
