"""Wire types of explanations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engine.guide.explain import Explanation, Part


class PartBody(BaseModel):
    """One feature of the score."""

    model_config = ConfigDict(extra="forbid")

    value: float
    adds: float = Field(description="To the score: all features' together are it.")


class NamedBody(BaseModel):
    """A word of the product that carries its score."""

    model_config = ConfigDict(extra="forbid")

    word: str = Field(description="As the product has it.")
    share: float = Field(description="Of the score, that is lost without it.")
    meets: str = Field(description="The word of the query that it has in common or is nearest to.")
    literally: bool = Field(description="True where it is that word, in any form.")


class ExplanationBody(BaseModel):
    """Why a product got its score."""

    model_config = ConfigDict(extra="forbid")

    summary: str = Field(description="For the shopper.")
    score: float = Field(
        description="What is explained. A hit's own is another where results are sorted otherwise, "
        "lie beyond the candidates, or were asked for by id, SKU or GTIN."
    )
    features: dict[str, PartBody]
    words: list[NamedBody] = Field(description="Those that carry the score, the first most.")
    missing: list[str] = Field(description="Words of the query that the product does not meet.")
    kept: float = Field(description="Share of the score that these words have alone.")
    lost: float = Field(description="Share of the score that is lost without them.")


def parts_answer(features: Mapping[str, Part]) -> dict[str, Any]:
    """What makes a score as JSON types."""
    return {
        name: {"value": round(part.value, 6), "adds": round(part.adds, 6)}
        for name, part in features.items()
    }


def explanation_answer(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON types, in the shape of `ExplanationBody`."""
    return {
        "summary": explanation.summary,
        "score": round(explanation.score, 6),
        "features": parts_answer(explanation.features),
        "words": [
            {
                "word": one.word,
                "share": round(one.share, 4),
                "meets": one.meets,
                "literally": one.literally,
            }
            for one in explanation.named
        ],
        "missing": list(explanation.missing),
        "kept": round(explanation.kept, 4),
        "lost": round(explanation.lost, 4),
    }
