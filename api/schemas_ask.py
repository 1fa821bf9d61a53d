"""The wire types of a consultation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas import ProductBody, checked_filters
from api.schemas_explain import ExplanationBody, explanation_answer
from api.schemas_guide import MAX_ID_CHARS
from engine.guide.consult import (
    MOST_PRODUCTS,
    Checked,
    Comparison,
    Consultation,
    ProductAnswer,
    Suggestion,
)
from engine.guide.guide import MOST_TURNS
from engine.guide.needs import Constraint
from engine.guide.pieces import Piece
from engine.types import AttributeValue

MAX_TURN_CHARS = 10_000
"""Beyond what `DAOGOU_MAX_QUERY_CHARS` says, refused with a better word."""

_Turn = Annotated[str, Field(max_length=MAX_TURN_CHARS)]
_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


class AskRequest(BaseModel):
    """The body of `POST /v1/ask`. Nothing of it is kept."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"question": "Is it dishwasher safe?", "products": ["KX-204/red"]},
                {
                    "question": "and not in black",
                    "before": ["a quiet fan for a small bedroom under $50"],
                    "k": 3,
                },
            ]
        },
    )

    question: _Turn = Field(description="What the shopper asks now.")
    before: list[_Turn] = Field(
        default=[], max_length=MOST_TURNS, description="The shopper's turns before, oldest first."
    )
    products: list[_Id] = Field(
        default=[],
        max_length=MOST_PRODUCTS,
        description="Ids of what is asked about; none: advice.",
    )
    k: int = Field(default=3, ge=1, le=10, description="Suggestions, where advice is asked for.")
    filters: Annotated[dict[str, Any], AfterValidator(checked_filters)] | None = Field(
        default=None, description="As of a search."
    )
    explain: bool = Field(
        default=False, description="Say why the first statement, or a suggestion, comes first."
    )


class PieceBody(BaseModel):
    """A statement of the catalog and its place."""

    model_config = ConfigDict(extra="forbid")

    text: str
    field: str = Field(examples=["description", "attributes.wattage"])
    index: int | None = Field(description="Which bullet point, from 0.")
    start: int | None = Field(description="Of prose: its first character in the field …")
    end: int | None = Field(description="… and the one behind its last.")


class EvidenceBody(PieceBody):
    """A statement that speaks to the question."""

    probability: float = Field(ge=0, le=1, description="How likely it answers.")
    explanation: ExplanationBody | None = Field(
        default=None, description="Of the first, where that was asked for."
    )


class AnswerBody(BaseModel):
    """What the catalog says of one product."""

    model_config = ConfigDict(extra="forbid")

    product: ProductBody
    answered: bool = Field(description="False: the catalog does not say.")
    probability: float = Field(ge=0, le=1, description="How likely the catalog says.")
    evidence: list[EvidenceBody] = Field(description="Best first; the nearest there is, if none.")


class ConstraintBody(BaseModel):
    """What was understood as a condition, and held as a filter."""

    model_config = ConfigDict(extra="forbid")

    field: Literal["price", "brand", "color"]
    words: str = Field(description="The shopper's.")
    values: list[str]
    negated: bool
    low: float | None
    high: float | None


class WishBody(BaseModel):
    """What was understood as a wish: to be found in texts."""

    model_config = ConfigDict(extra="forbid")

    words: str
    negated: bool


class NeedsBody(BaseModel):
    """What the shopper's turns state."""

    model_config = ConfigDict(extra="forbid")

    constraints: list[ConstraintBody]
    wishes: list[WishBody]


class CheckedBody(BaseModel):
    """One need, and what a product's texts say of it."""

    model_config = ConfigDict(extra="forbid")

    need: str
    met: bool | None = Field(description="Null: could not be verified.")
    evidence: list[PieceBody]


class SuggestionBody(BaseModel):
    """One product, and how it meets each need."""

    model_config = ConfigDict(extra="forbid")

    rank: int
    product: ProductBody
    checked: list[CheckedBody]
    explanation: ExplanationBody | None = Field(
        default=None, description="Why search found it, where that was asked for."
    )


class ComparisonBody(BaseModel):
    """What the products differ in."""

    model_config = ConfigDict(extra="forbid")

    products: list[str] = Field(description="Ids, in the order of each row's values.")
    rows: dict[str, list[AttributeValue | None]]


class PhrasedBody(BaseModel):
    """The answer in a language model's words: each sentence rests on the evidence."""

    model_config = ConfigDict(extra="forbid")

    text: str
    dropped: int = Field(description="Sentences left out: the evidence does not say them.")


class AskResponse(BaseModel):
    """The answer to a question, in the catalog's own words."""

    model_config = ConfigDict(extra="forbid")

    snapshot_id: str
    question: str
    answers: list[AnswerBody] = Field(description="About the products named.")
    needs: NeedsBody | None = Field(description="Of advice: what was understood.")
    given_up: list[ConstraintBody] = Field(description="Nothing meets these with the rest.")
    suggestions: list[SuggestionBody]
    nothing_fits: bool = Field(description="Of advice: the catalog seems to have nothing.")
    comparison: ComparisonBody | None = Field(description="Of two products or more.")
    phrased: PhrasedBody | None = Field(description="Only where DAOGOU_LLM_URL is set.")


def ask_answer(found: Consultation) -> dict[str, Any]:
    """The answer as JSON types, in the shape of `AskResponse`; not phrased yet."""
    needs = found.needs
    return {
        "snapshot_id": found.snapshot_id,
        "question": found.question,
        "answers": [_answer(one) for one in found.answers],
        "needs": needs
        and {
            "constraints": _constraints(needs.constraints),
            "wishes": [{"words": one.words, "negated": one.negated} for one in needs.wishes],
        },
        "given_up": _constraints(found.given_up),
        "suggestions": [_suggestion(one) for one in found.suggestions],
        "nothing_fits": found.nothing_fits,
        "comparison": found.comparison and _comparison(found.comparison),
        "phrased": None,
    }


def _answer(one: ProductAnswer) -> dict[str, Any]:
    return {
        "product": one.product.to_dict(),
        "answered": one.answered,
        "probability": round(one.probability, 4),
        "evidence": [
            {
                **_piece(evidence.piece),
                "probability": round(evidence.probability, 4),
                "explanation": evidence.explanation and explanation_answer(evidence.explanation),
            }
            for evidence in one.evidence
        ],
    }


def _suggestion(one: Suggestion) -> dict[str, Any]:
    return {
        "rank": one.rank,
        "product": one.product.to_dict(),
        "checked": [_checked(check) for check in one.checked],
        "explanation": one.explanation and explanation_answer(one.explanation),
    }


def _checked(one: Checked) -> dict[str, Any]:
    return {"need": one.need, "met": one.met, "evidence": [_piece(piece) for piece in one.evidence]}


def _piece(piece: Piece) -> dict[str, Any]:
    return {
        "text": piece.text,
        "field": piece.field,
        "index": piece.index,
        "start": piece.start,
        "end": piece.end,
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    return {
        "products": list(found.products),
        "rows": {name: list(values) for name, values in found.rows.items()},
    }


def _constraints(found: Sequence[Constraint]) -> list[dict[str, Any]]:
    return [
        {
            "field": one.field,
            "words": one.words,
            "values": list(one.values),
            "negated": one.negated,
            "low": one.low,
            "high": one.high,
        }
        for one in found
    ]
