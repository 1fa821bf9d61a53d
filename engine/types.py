"""The nouns of daogou. Everything imports this file; it imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
"""Row numbers of products in one snapshot, shape (n,)."""

Scores = NDArray[np.float32]
"""One score a row, higher is better, shape (n,)."""

Vectors = NDArray[np.float32]
"""Unit-length embeddings, shape (n, dim)."""

AttributeValue = str | int | float | bool | list[str]
"""What an attribute may hold: its type in the catalog is kept."""


class Relevance(IntEnum):
    """ESCI's four classes; the value is the grade in judgments (Reddy et al. 2022)."""

    IRRELEVANT = 0
    COMPLEMENT = 1
    SUBSTITUTE = 2
    EXACT = 3


class Stage(StrEnum):
    """How far the pipeline goes: the ranking returned is this stage's own."""

    LEXICAL = "lexical"
    DENSE = "dense"
    FUSED = "fused"
    RERANKED = "reranked"


OFFER_FIELDS = (
    "price",
    "currency",
    "image",
    "url",
    "rating",
    "rating_count",
    "in_stock",
    "created_at",
)
"""Fields of `Product` that say what a shop makes of it, and change by the minute. All others are
its texts, which change seldom: models, keyword search and shelves read them alone."""


class Mode(StrEnum):
    """What a search may cost: a stage, and how many products are reranked for it."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"

    @property
    def depth(self) -> int:
        """Products that are reranked. What each buys and costs: README, "Speed"."""
        return {Mode.FAST: 0, Mode.BALANCED: 10, Mode.BEST: 50}[self]


@dataclass(frozen=True, slots=True)
class Product:
    """One row of a catalog, typed. Text fields are empty, never None, where nothing was given."""

    id: str
    title: str
    description: str = ""
    bullet_points: tuple[str, ...] = ()
    brand: str = ""
    color: str = ""
    category: tuple[str, ...] = ()
    """From the widest to the narrowest shelf."""
    price: float | None = None
    currency: str = ""
    image: str = ""
    url: str = ""
    rating: float | None = None
    rating_count: int | None = None
    in_stock: bool | None = None
    sku: str = ""
    gtin: str = ""
    created_at: str = ""
    """ISO 8601, as given."""
    group_id: str = ""
    """Variants of one product share it."""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The product as JSON types, empty fields left out; `from_dict` reads it back."""
        values = {name: getattr(self, name) for name in self.__slots__}
        kept = {name: value for name, value in values.items() if value not in ("", (), None)}
        for name in ("bullet_points", "category"):
            if name in kept:
                kept[name] = list(kept[name])
        if self.attributes:
            kept["attributes"] = dict(self.attributes)
        else:
            kept.pop("attributes", None)
        return kept

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Product:
        """The product that `to_dict` wrote."""
        known = dict(values)
        for name in ("bullet_points", "category"):
            if name in known:
                known[name] = tuple(known[name])
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Query:
    """What a shopper asked, understood."""

    text: str
    """Cleaned: NFKC, no control characters, single spaces. Case is kept."""
    original: str
    exact_rows: tuple[int, ...] = ()
    """Products whose id, SKU or GTIN is the whole query; they lead the answer."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The field holds one of these values. Text is compared without case."""

    field: str
    values: tuple[str | bool, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """The number lies within the bounds, both included; None leaves a side open."""

    field: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class And:
    """Every clause holds. An empty `And` allows every product."""

    clauses: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one clause holds."""

    clauses: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The clause does not hold."""

    clause: Filter


Filter = AnyOf | Between | And | Or | Not
"""A condition on products: it excludes, exactly."""


class ReadPassages(NamedTuple):
    """What an encoder made of passages, token by token, side by side."""

    hidden: NDArray[np.float32]
    """Shape (passages, length, width)."""
    mask: NDArray[np.int64]
    """1 where there is a token; (passages, length)."""


class RowSet:
    """The products a filter allows, among the `size` of a snapshot."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask  # (size,)

    @classmethod
    def of(cls, rows: Rows, size: int) -> RowSet:
        """The set of exactly these rows."""
        mask = np.zeros(size, dtype=np.bool_)
        mask[rows] = True
        return cls(mask)

    @cached_property
    def rows(self) -> Rows:
        """The allowed rows, ascending."""
        return np.flatnonzero(self.mask).astype(np.int64)

    @cached_property
    def _size(self) -> int:
        return int(np.count_nonzero(self.mask))

    def __len__(self) -> int:
        return self._size


@dataclass(frozen=True, slots=True)
class Ranking:
    """Products in order: descending score, no row twice, ties by ascending product id."""

    rows: Rows  # (n,)
    scores: Scores  # (n,)

    @classmethod
    def sort(cls, rows: Rows, scores: Scores, id_rank: NDArray[np.int32]) -> Ranking:
        """Rank rows by score; `id_rank[row]` is the product id's place in ascending id order."""
        order = np.argsort((_descending_bits(scores) << 32) | id_rank[rows])
        return cls(rows[order], scores[order])

    @classmethod
    def empty(cls) -> Ranking:
        """A ranking of nothing."""
        return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))

    def top(self, depth: int) -> Ranking:
        """The first `depth` places."""
        return Ranking(self.rows[:depth], self.scores[:depth])

    def __len__(self) -> int:
        return len(self.rows)


class Collected(NamedTuple):
    """What one keyword search found for a query."""

    best: Ranking
    """As many as were asked for, of what is allowed."""
    products: Ranking
    """All that it met and kept, whatever is allowed."""


class Above(NamedTuple):
    """The products near enough to a query vector."""

    products: Ranking
    complete: bool
    """False where there may be more."""


def _descending_bits(scores: Scores) -> NDArray[np.int64]:
    """Whole numbers of 32 bits that order as the scores do, the other way round.

    With the places of ids below them they are one key: sorting by it is several times as fast as by
    two, of thousands of rows.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    ascending = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    return ~ascending.astype(np.int64)


@dataclass(frozen=True, slots=True)
class StageScore:
    """Where one stage put a product. Ranks count from 1."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """One product of an answer."""

    product: Product
    rank: int
    """From 1, over the whole ranking, whatever the page."""
    score: float
    """The last stage's score: comparable within one answer only."""
    stages: Mapping[Stage, StageScore] = field(default_factory=dict)
    """What each stage that found the product gave it."""
    probabilities: Mapping[Relevance, float] | None = None
    """The reranker's class probabilities, where it ran."""


class Sort(StrEnum):
    """What a result is ordered by. Products without the number come last, ties by relevance."""

    RELEVANCE = "relevance"
    PRICE = "price"
    PRICE_DOWN = "-price"
    RATING = "rating"
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value of a field, or one range of its numbers, and how many results have it."""

    count: int
    value: str | None = None
    """As the catalog writes it; None of a range."""
    low: float | str | None = None
    high: float | str | None = None
    """Of a range; both bounds belong to it. Days of dates, as filters read them."""


@dataclass(frozen=True, slots=True)
class Facet:
    """What a result holds of one field."""

    field: str
    values: tuple[FacetValue, ...]
    """Those of most results first, by name where they are as many; ranges in ascending order."""
    more: int = 0
    """Further values that are not listed."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A page of the ranking for one query."""

    query: Query
    query_id: str
    snapshot_id: str
    stage: Stage
    hits: tuple[Hit, ...]
    candidates: int
    """How many products the models ranked; what else matches follows them."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds by stage: this query's share where a batch was computed together."""
    degraded: bool = False
    """True where a stage was left out to answer in time."""
    fits: float | None = None
    """How likely the catalog has something for the query; None where no cut-off was fitted."""
    nothing_fits: bool = False
    """True where that is so unlikely that the shopper should be told. The hits stay."""
    total: int | None = None
    """How many results there are: the same on every page. None of a single stage's ranking."""
    total_is_least: bool = False
    """True where more than were counted match, or may."""
    facets: tuple[Facet, ...] = ()
    best: tuple[int, ...] = ()
    """Rows of the first products of the ranking, whatever the page."""

    @property
    def count(self) -> int:
        """Where paging ends: the total, or all that was ranked of a single stage."""
        return self.candidates if self.total is None else self.total
