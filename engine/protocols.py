"""The seams of the engine: what a stage must offer to stand in the pipeline.

One behavioural contract for each is in `tests/engine/contracts_*.py`; every implementation and
every fake passes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.types import (
    Above,
    Collected,
    Product,
    Ranking,
    ReadPassages,
    Rows,
    RowSet,
    Scores,
    Vectors,
)


class Encoder(Protocol):
    """A bi-encoder: texts to unit vectors whose dot product is their similarity."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, tokenizer, pooling, maximum length and passage template."""

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, shape (len(texts), dim), float32, unit length."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (len(texts), dim), float32, unit length."""


@runtime_checkable
class EagerEncoder(Protocol):
    """A bi-encoder that reads a query while the caller does something else."""

    def begin_query(self, text: str) -> Callable[[], Vectors]:
        """Begin; what is returned waits for what `encode_queries` gives, shape (1, dim).

        It is called once, or never.
        """


class Reranker(Protocol):
    """A cross-encoder classifier over the four classes of `Relevance`."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights, tokenizer, maximum length, calibration and passage template."""

    def classify(self, queries: Sequence[str], passages: Sequence[str]) -> NDArray[np.float32]:
        """Class probabilities of each (query, passage) pair.

        Returns shape (pairs, 4), columns in the order of `Relevance` (grade 0 to 3), rows sum to 1.
        A pair scores the same alone or in any batch (within 1e-3).
        """


@runtime_checkable
class PassageReranker(Protocol):
    """One that reads what the snapshot keeps of its passages, and not their texts."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that decides what it gives."""

    def classify_read(self, query: str, passages: ReadPassages) -> NDArray[np.float32]:
        """Class probabilities of each passage for one query; shape (passages, 4).

        As `Reranker.classify` gives them.
        """


class LexicalRetriever(Protocol):
    """Keyword search over the snapshot's products."""

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that decides a score: analyzer, fields, weights."""

    def search(
        self, queries: Sequence[str], depth: int, allowed: RowSet | None = None
    ) -> list[Ranking]:
        """The best `depth` products of each query that match at least one term.

        With `allowed`, exactly the ranking without it, minus the rows outside the set, then cut to
        `depth`: a narrow filter loses nothing.
        """

    def search_and_collect(
        self, query: str, depth: int, allowed: RowSet | None, *, most: int, share: float
    ) -> Collected:
        """What `search` gives, and what else scores well, looked for once.

        All products that have at least this share of the best score are collected, the best `most`
        of them; and perhaps others. Which of those that tie with the last are among them is
        arbitrary.
        """

    def best_score(self, query: str) -> float:
        """The best score `search` gives any product, 0 where it finds none."""

    def typical(self, query: str, most: int) -> Rows:
        """Products among the best for the words, at most so many (100), best first.

        Which of those as good as the last are among them may be arbitrary.
        """

    def finds(self, query: str) -> bool:
        """Whether `search` finds any product, sooner than by searching."""

    def score(self, query: str, rows: Rows) -> Scores:
        """The scores `search` would give these rows, 0 where nothing matches; (len(rows),)."""

    def excluded(self, query: str) -> tuple[str, ...]:
        """The terms that a product shall not have: see `engine.exclusion`."""

    def refused(self, query: str, rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows have what the query excludes, and do not say that they do without.

        Of words that are excluded together a product has to have all; shape (len(rows),).
        """

    def refused_altered(self, query: str, altered: Sequence[Product]) -> NDArray[np.bool_]:
        """The same of products with these texts; shape (len(altered),)."""

    def score_altered(
        self, query: str, row: int, product: Product, altered: Sequence[Product]
    ) -> Scores:
        """The scores a row's product would have with the texts of each; (len(altered),)."""


class DenseRetriever(Protocol):
    """Nearest-neighbour search over the snapshot's vectors."""

    def search(
        self,
        vectors: Vectors,
        depth: int,
        allowed: RowSet | None = None,
        *,
        then_above: bool = False,
    ) -> list[Ranking]:
        """The best `depth` products of each query vector; scores are cosines.

        Under a filter they are fewer only where it allows no more. With `then_above`, `above` is
        asked next of the same single query: both are read at once.
        """

    def above(self, vector: NDArray[np.float32], least: float, most: int) -> Above:
        """The products whose cosine with a query vector is at least `least`: the best `most`.

        Rounding may decide otherwise within 1e-5 of `least`, the same way each time; an approximate
        index judges farther rows by their codes, and does not see all of them.
        """

    def score(self, vector: NDArray[np.float32], rows: Rows) -> Scores:
        """Cosines of one query vector with these rows, shape (len(rows),)."""
