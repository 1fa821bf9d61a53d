"""The wire types of the API: what a request may hold and what an answer looks like.

`search_answer` and `product_answer` write an answer straight from the engine's nouns; the models
beside them document it (and tests hold the two together), because validating every answer again
would cost more than writing it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas_explain import ExplanationBody, explanation_answer
from api.schemas_navigate import NavigationBody, navigation_answer
from engine.guide.explain import MOST_EXPLAINED, Explanation
from engine.guide.navigate import Navigation
from engine.types import (
    AttributeValue,
    Facet,
    Hit,
    Mode,
    Product,
    Relevance,
    SearchResult,
    Sort,
    Stage,
)

MAX_K = 100
MAX_OFFSET = 10_000
MAX_FILTERS = 50
MAX_FILTER_CHARS = 500
MAX_FILTER_DEPTH = 8
MAX_FACETS = 20
_MAX_INTEGER = 2**53
"""The integers that JSON carries safely between languages (RFC 8259, section 6)."""


def _checked_scalar(value: object) -> None:
    """Refuse numbers and texts that no filter can mean."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite: NaN and Infinity are not JSON")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError(f"whole numbers must lie within ±{_MAX_INTEGER}")
    if not isinstance(value, str):
        return
    if len(value) > MAX_FILTER_CHARS:
        raise ValueError(f"a text in a filter has at most {MAX_FILTER_CHARS} characters")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("texts must be valid Unicode, without lone surrogates")


def checked_filters(filters: dict[str, Any]) -> dict[str, Any]:
    """Refuse filters too many, too long, too deep, or not finite. Does not recurse."""
    leaves = 0
    waiting: list[tuple[object, int]] = [(filters, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_FILTER_DEPTH:
            raise ValueError(f"filters nest at most {MAX_FILTER_DEPTH} deep")
        if isinstance(value, dict):
            for key in value:
                _checked_scalar(key)
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            waiting.extend((inner, depth + 1) for inner in value)
        else:
            _checked_scalar(value)
            leaves += 1
        if leaves + len(waiting) > MAX_FILTERS:
            raise ValueError(f"at most {MAX_FILTERS} filter values")
    return filters


Page = Annotated[int, Field(ge=1, le=MAX_K, description="Products a page holds.")]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET, description="Products to skip.")]
AskedStage = Annotated[
    Stage | None,
    Field(description="Stop at this stage's ranking; without it the best that is on by default."),
]


AskedMode = Annotated[
    Mode | None,
    Field(
        description="What the search may cost: fast reranks nothing, balanced "
        f"{Mode.BALANCED.depth} products, best {Mode.BEST.depth}; as the server is set without it. "
        "A `stage` goes before."
    ),
]


AskedUnderstanding = Annotated[
    bool,
    Field(
        description="False searches for the words as typed: nothing is respelt, and no price or "
        "refusal in them becomes a filter."
    ),
]


AskedExplanation = Annotated[
    bool,
    Field(description=f"Say of each hit why it is there; for pages of at most {MOST_EXPLAINED}."),
]
FacetName = Annotated[str, Field(min_length=1, max_length=MAX_FILTER_CHARS)]
AskedSort = Annotated[
    Sort,
    Field(description="Order of the results; what has no such number comes last."),
]
AskedCollapse = Annotated[
    bool, Field(description="Show variants that share a `group_id` as one, the best of them.")
]


class SearchParams(BaseModel):
    """The query string of `GET /v1/search`. An unknown parameter is an error, never ignored."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(description="What the shopper typed.", examples=["red running shoes"])
    k: Page = 10
    offset: Offset = 0
    filter: list[Annotated[str, Field(max_length=MAX_FILTER_CHARS)]] = Field(
        default=[],
        max_length=MAX_FILTERS,
        description="A condition: `brand=Nike`, `brand!=Nike`, `price<=50`, `price=10..50`, "
        "`in_stock=true`, `created_at>=2026-11-24`. Repeat it for more: one field repeated means "
        "any of its values, different fields must all hold.",
        examples=[["brand=Nike", "price<=50"]],
    )
    stage: AskedStage = None
    mode: AskedMode = None
    understand: AskedUnderstanding = True
    explain: AskedExplanation = False
    sort: AskedSort = Sort.RELEVANCE
    collapse: AskedCollapse = True
    facet: list[FacetName] = Field(
        default=[],
        max_length=MAX_FACETS,
        description="A field whose values are counted; repeat. `*`: those that part the result.",
    )


class SearchRequest(BaseModel):
    """The body of `POST /v1/search`. An unknown member is an error, never ignored."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"query": "red running shoes"},
                {
                    "query": "something to keep coffee hot at my desk",
                    "k": 20,
                    "filters": {"brand": ["Ember", "Vobaga"], "price": {"lte": 50}},
                    "stage": "fused",
                },
            ]
        },
    )

    query: str = Field(description="What the shopper typed.")
    k: Page = 10
    offset: Offset = 0
    filters: Annotated[dict[str, Any], AfterValidator(checked_filters)] | None = Field(
        default=None,
        description="Conditions by field, all of which hold: a list means any of its values, "
        "`gte` and `lte` bound a number, or `created_at` by ISO dates.",
    )
    stage: AskedStage = None
    mode: AskedMode = None
    understand: AskedUnderstanding = True
    explain: AskedExplanation = False
    sort: AskedSort = Sort.RELEVANCE
    collapse: AskedCollapse = True
    facets: list[FacetName] = Field(
        default=[],
        max_length=MAX_FACETS,
        description="Fields whose values are counted. `*`: those that part the result.",
    )


class ProductBody(BaseModel):
    """A product; members without a value are left out."""

    model_config = ConfigDict(extra="forbid")

    id: str
    title: str
    description: str = ""
    bullet_points: list[str] = []
    brand: str = ""
    color: str = ""
    category: list[str] = Field(default=[], description="From the widest shelf to the narrowest.")
    price: float | None = None
    currency: str = ""
    image: str = ""
    url: str = ""
    rating: float | None = None
    rating_count: int | None = None
    in_stock: bool | None = None
    sku: str = ""
    gtin: str = ""
    created_at: str = Field(default="", description="ISO 8601, as given.")
    group_id: str = Field(default="", description="Variants of one product share it.")
    attributes: dict[str, AttributeValue] = {}


class StageScoreBody(BaseModel):
    """Where one stage put a product."""

    rank: int = Field(description="From 1.")
    score: float


class HitBody(BaseModel):
    """One product of an answer."""

    model_config = ConfigDict(extra="forbid")

    rank: int = Field(description="From 1, over the whole ranking, whatever the page.")
    score: float = Field(description="Higher is better; comparable within one answer only.")
    product: ProductBody
    stages: dict[Stage, StageScoreBody] = Field(description="What each stage gave the product.")
    probabilities: dict[str, float] | None = Field(
        description="The reranker's probabilities of exact, substitute, complement and "
        "irrelevant; null where it did not run."
    )
    explanation: ExplanationBody | None = Field(
        default=None, description="Why it is there, where that was asked for."
    )


class FacetValueBody(BaseModel):
    """One value of a field, or one range of its numbers."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(description="The total if it is chosen as a further filter.")
    value: str | None = Field(
        default=None, description="As the catalog writes it; null of a range."
    )
    low: float | str | None = Field(
        default=None,
        description="Of a range; both bounds belong to it. Of dates the first day, as filters "
        "take it.",
    )
    high: float | str | None = None


class FacetBody(BaseModel):
    """What the results hold of one field."""

    model_config = ConfigDict(extra="forbid")

    field: str
    values: list[FacetValueBody]
    more: int = Field(description="Further values that are not listed.")


class SearchResponse(NavigationBody):
    """A page of the ranking for one query."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(description="The query as it was understood.")
    query_id: str = Field(
        description="Of this answer alone: to name it in the shop's own records of clicks."
    )
    snapshot_id: str = Field(description="The catalog snapshot that was searched.")
    stage: Stage = Field(description="The stage whose ranking this is.")
    degraded: bool = Field(description="True where a stage was left out to answer in time.")
    fits: float | None = Field(
        description="How likely the catalog has something for the query, 0 to 1; null where no "
        "cut-off was fitted."
    )
    nothing_fits: bool = Field(
        description="True where that is too unlikely: say so, and show the hits as the nearest."
    )
    candidates: int = Field(
        description="Products the models ranked; what else matches follows them."
    )
    total: int | None = Field(
        description="Results: paging ends there. Null of a single stage, which lists `candidates`."
    )
    total_is_least: bool = Field(
        description="True where there are, or may be, more than were counted."
    )
    facets: list[FacetBody]
    k: int
    offset: int
    timings: dict[str, float] = Field(description="Milliseconds by stage.")
    hits: list[HitBody]


class HealthBody(BaseModel):
    """The process is alive."""

    status: str = Field(examples=["alive"])


class ReadyBody(BaseModel):
    """The engine is open."""

    status: str = Field(examples=["ready"])
    snapshot_id: str
    created_at: str = Field(description="When the snapshot was published, ISO 8601.")
    products: int


_CLASS_NAMES = {relevance: relevance.name.lower() for relevance in Relevance}


def _hit_answer(hit: Hit, explanation: Explanation | None) -> dict[str, Any]:
    odds = hit.probabilities
    return {
        "rank": hit.rank,
        "score": round(float(hit.score), 6),
        "product": hit.product.to_dict(),
        "stages": {
            stage.value: {"rank": given.rank, "score": round(float(given.score), 6)}
            for stage, given in hit.stages.items()
        },
        "probabilities": odds
        and {_CLASS_NAMES[relevance]: round(float(p), 4) for relevance, p in odds.items()},
        "explanation": None if explanation is None else explanation_answer(explanation),
    }


_NOWHERE_ELSE = Navigation()


def _facet_answer(facet: Facet) -> dict[str, Any]:
    return {
        "field": facet.field,
        "values": [
            {"count": one.count, "value": one.value, "low": one.low, "high": one.high}
            for one in facet.values
        ],
        "more": facet.more,
    }


def search_answer(
    result: SearchResult,
    *,
    k: int,
    offset: int,
    navigation: Navigation = _NOWHERE_ELSE,
    explanations: Sequence[Explanation] = (),
) -> dict[str, Any]:
    """The answer as JSON types, in the shape of `SearchResponse`."""
    explained = explanations or (None,) * len(result.hits)
    return {
        "query": result.query.text,
        "query_id": result.query_id,
        "snapshot_id": result.snapshot_id,
        "stage": result.stage.value,
        "degraded": result.degraded,
        "fits": None if result.fits is None else round(result.fits, 4),
        "nothing_fits": result.nothing_fits,
        "candidates": result.candidates,
        "total": result.total,
        "total_is_least": result.total_is_least,
        "facets": [_facet_answer(facet) for facet in result.facets],
        "k": k,
        "offset": offset,
        "timings": {name: round(float(spent), 3) for name, spent in result.timings.items()},
        **navigation_answer(navigation),
        "hits": [_hit_answer(*each) for each in zip(result.hits, explained, strict=True)],
    }


def product_answer(product: Product) -> dict[str, Any]:
    """The product as JSON types, in the shape of `ProductBody`."""
    return product.to_dict()
