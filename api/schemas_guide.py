"""The wire types of the guide: recommendations and what goes with a product."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas import MAX_FILTER_CHARS, MAX_FILTERS, Page, ProductBody, checked_filters
from api.schemas_explain import ExplanationBody, PartBody, explanation_answer, parts_answer
from engine.guide.explain import MOST_EXPLAINED
from engine.guide.history import MOST_EVENTS, Deed, Event
from engine.guide.reasons import Reason
from engine.guide.recommend import Recommendation
from engine.types import Product

MAX_ID_CHARS = 512


class EventBody(BaseModel):
    """One thing the shopper did with one product."""

    model_config = ConfigDict(extra="forbid")

    product_id: str = Field(min_length=1, max_length=MAX_ID_CHARS)
    event: Deed = Field(default=Deed.PURCHASE, description="What was done.")
    at: datetime | None = Field(default=None, description="When, ISO 8601; now if left out.")
    order_id: str = Field(
        default="", max_length=MAX_ID_CHARS, description="Products bought together share it."
    )
    quantity: float = Field(default=1.0, gt=0, le=1e9)
    rating: float | None = Field(default=None, ge=1, le=5, description="Of a rating: 1 to 5.")

    def to_event(self) -> Event:
        """The engine's noun; raises QueryError for a rating without a number."""
        return Event(
            self.product_id, self.event, self.at, self.order_id, self.quantity, self.rating
        )


class RecommendRequest(BaseModel):
    """The body of `POST /v1/recommend`. Nothing of it is kept."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"history": [{"product_id": "KX-204/red"}], "k": 5},
                {
                    "history": [
                        {"product_id": "KX-204/red", "at": "2026-10-01T12:00:00Z",
                         "order_id": "o-17"},
                        {"product_id": "SOCK-3", "event": "dismissal"},
                    ],
                    "filters": {"price": {"lte": 50}},
                },
            ]
        },
    )  # fmt: skip

    history: list[EventBody] = Field(
        default=[], max_length=MOST_EVENTS, description="What the shopper did; empty of a new one."
    )
    k: Page = 10
    filters: Annotated[dict[str, Any], AfterValidator(checked_filters)] | None = Field(
        default=None, description="As of a search."
    )
    explain: bool = Field(
        default=False, description=f"Say what makes each score; with k of at most {MOST_EXPLAINED}."
    )


class BecauseBody(BaseModel):
    """What of the history speaks for a product."""

    id: str
    title: str


class RecommendationBody(BaseModel):
    """One product, and why."""

    model_config = ConfigDict(extra="forbid")

    rank: int
    score: float = Field(description="Higher is better; comparable within one answer only.")
    reason: Reason
    because: BecauseBody | None
    product: ProductBody
    features: dict[str, PartBody] | None = Field(
        default=None,
        description="What makes the score, where that was asked for: against the middle candidate, "
        "whose score is `base`.",
    )
    explanation: ExplanationBody | None = Field(
        default=None, description="How it is like what it is recommended because of."
    )


class RecommendResponse(BaseModel):
    """Products for one shopper, best first."""

    model_config = ConfigDict(extra="forbid")

    snapshot_id: str
    recommendations: list[RecommendationBody]


class RelatedParams(BaseModel):
    """The query string of a product's relatives. An unknown parameter is an error."""

    model_config = ConfigDict(extra="forbid")

    k: Page = 10
    filter: list[Annotated[str, Field(max_length=MAX_FILTER_CHARS)]] = Field(
        default=[], max_length=MAX_FILTERS, description="As of a search."
    )


class RelatedResponse(BaseModel):
    """Products that go with one, best first."""

    model_config = ConfigDict(extra="forbid")

    snapshot_id: str
    products: list[ProductBody]


def recommend_answer(snapshot_id: str, found: Sequence[Recommendation]) -> dict[str, Any]:
    """The answer as JSON types, in the shape of `RecommendResponse`."""
    return {
        "snapshot_id": snapshot_id,
        "recommendations": [
            {
                "rank": one.rank,
                "score": round(one.score, 6),
                "reason": one.reason.value,
                "because": one.because and {"id": one.because.id, "title": one.because.title},
                "product": one.product.to_dict(),
                "features": parts_answer(one.features) if one.features else None,
                "explanation": one.explanation and explanation_answer(one.explanation),
            }
            for one in found
        ],
    }


def related_answer(snapshot_id: str, products: Sequence[Product]) -> dict[str, Any]:
    """The answer as JSON types, in the shape of `RelatedResponse`."""
    return {
        "snapshot_id": snapshot_id,
        "products": [product.to_dict() for product in products],
    }
