"""What models are trained on: for one query, candidates whose worth is known, guessed or mined.

Every candidate says where its label comes from, and keeps saying so through every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """Where a label comes from."""

    JUDGED = "judged"
    """People judged the pair."""
    MACHINE = "machine"
    """A language model judged the pair after a guideline. For training only."""
    RECORDS = "records"
    """Shoppers clicked, bought, rated or dismissed it."""
    TEACHER = "teacher"
    """The fused signals of keyword and vector search ranked it."""
    MINED = "mined"
    """Nobody judged it; a stage ranked it high beside judged ones: taken as a negative."""
    EVIDENCE = "evidence"
    """A text that answers, or does not answer, a question about a product."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One text for a query, and what is known of how well it fits."""

    product_id: str
    passage: str
    """What the models read."""
    origin: Origin
    source: str
    """File the label was read from, or the stage that mined it."""
    grade: float | None = None
    """0 to 3 as in `Relevance`; records give what lies between. None where only a teacher spoke."""
    teacher: float | None = None
    """The teacher's score, comparable within the list; None where it was not asked."""
    weight: float = 1.0
    """How far the label is to be trusted, 0 to 1."""


@dataclass(frozen=True, slots=True)
class QueryList:
    """The candidates of one query."""

    query: str
    catalog: str
    """Name of the catalog the products are in; split folds by (catalog, query)."""
    candidates: tuple[Candidate, ...]
    classes: bool = True
    """Whether grades are the classes of `Relevance`. Ratings from 0 to 3 only rank."""
