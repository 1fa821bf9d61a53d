"""Products with words blotted out, and the scores they get: what explanations are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.answer import Answer
from engine.errors import StageUnavailableError
from engine.guide.evidence import TokenEncoder
from engine.guide.naming import Key, key_of
from engine.models.tokens import READ_TOKENS, pack
from engine.protocols import PassageReranker
from engine.rank import CandidateRanker
from engine.retrieval.features import Column, Signals
from engine.snapshot import Snapshot
from engine.text import passage, whole_text
from engine.types import AttributeValue, Product, Rows, Scores, Stage, Vectors

_WORD = re.compile(r"\S+")
_EDGES = " \t\n.,;:!?\"'“”‘’()[]{}<>|*"


@dataclass(frozen=True, slots=True)
class ProductWording:
    """A product's words, each once, with what may be left of them."""

    product: Product
    words: Mapping[Key, str]
    """By its terms, each content word as it first stands."""
    order: tuple[Key, ...] = ()
    """Every word in its place; function words have no terms."""

    @classmethod
    def of(cls, product: Product) -> ProductWording:
        """The words of all its texts."""
        written = whole_text(product).split()
        order = tuple(map(key_of, written))
        words: dict[Key, str] = {}
        for key, word in zip(order, written, strict=True):
            if key:
                words.setdefault(key, word.strip(_EDGES))
        return cls(product, words, order)

    def beside(self, terms: Iterable[str]) -> set[Key]:
        """The words right before and after those that have any of the terms."""
        wanted = frozenset(terms)
        places = [at for at, key in enumerate(self.order) if not wanted.isdisjoint(key)]
        near = {self.order[at - 1] for at in places if at}
        return near | {self.order[at + 1] for at in places if at + 1 < len(self.order)}

    def without(self, gone: Iterable[Key]) -> Product:
        """The product with these words blotted out of every text."""
        blotted = frozenset(gone)
        return _altered(self.product, lambda key: key not in blotted)

    def only(self, kept: Iterable[Key]) -> Product:
        """The product with nothing left but these words."""
        left = frozenset(kept)
        return _altered(self.product, lambda key: key in left)


def _altered(product: Product, kept: Callable[[Key], bool]) -> Product:
    """The product with those words left whose terms are to be kept; prices and the like stay."""

    def left(text: str) -> str:
        return _WORD.sub(lambda match: match[0] if kept(key_of(match[0])) else "", text).strip()

    def all_left(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(filter(None, map(left, texts)))

    attributes: dict[str, AttributeValue] = {}
    for name, value in product.attributes.items():
        if isinstance(value, list):
            words: AttributeValue = list(all_left(value))
        elif isinstance(value, str):
            words = left(value)
        elif isinstance(value, bool):
            words = value and bool(left(name))
        else:
            words = value if kept(key_of(f"{value:g}")) else ""
        if words or left(name):
            attributes[left(name)] = words
    return replace(
        product,
        title=left(product.title),
        description=left(product.description),
        bullet_points=all_left(product.bullet_points),
        brand=left(product.brand),
        color=left(product.color),
        category=all_left(product.category),
        sku=left(product.sku),
        gtin=left(product.gtin),
        attributes=attributes,
    )


class Blotted(NamedTuple):
    """A product of the snapshot, and what is to be scored in its stead."""

    row: int
    product: Product
    altered: Sequence[Product]


class Occlusion:
    """Scores altered products as the stages of one snapshot would. Safe for many threads."""

    def __init__(
        self, snapshot: Snapshot, ranker: CandidateRanker, tokens: Callable[[], TokenEncoder]
    ) -> None:
        """Prepare.

        Args:
            snapshot: what is searched.
            ranker: what ranks it.
            tokens: gives the encoder with its tokens, where the reranker reads those.
        """
        self._snapshot = snapshot
        self._ranker = ranker
        self._tokens = tokens

    def scores(self, answer: Answer, stage: Stage, blotted: Sequence[Blotted]) -> list[Scores]:
        """What a stage gives the altered products of each; (altered,) each.

        What is no text of theirs (price, rating, shelf) counts as before, and so does everything
        the query's other candidates set.
        """
        texts = [passage(one, fields_of=each.product) for each in blotted for one in each.altered]
        ends = np.cumsum([len(each.altered) for each in blotted])[:-1]
        own_classes: Sequence[NDArray[np.float32] | None] = [None] * len(blotted)
        if self._ranker.reads_classes(stage):
            vectors, classes = self._read(answer, texts)
            own_classes = np.split(classes, ends)
        else:
            known = {
                passage(each.product): self._snapshot.vectors[each.row].astype(np.float32)
                for each in blotted
            }
            vectors = self._encode(texts, known)
        scores = []
        for each, own, probabilities in zip(
            blotted, np.split(vectors, ends), own_classes, strict=True
        ):
            signals = self._signals(answer, each, own, probabilities)
            _, adds = self._ranker.parts(stage, signals)
            scores.append(np.vstack(list(adds.values())).sum(axis=0))
        return scores

    def _signals(
        self, answer: Answer, given: Blotted, vectors: Vectors, classes: NDArray[np.float32] | None
    ) -> Signals:
        """The altered products as candidates of the query, on its own candidates' scales."""
        pool = answer.pool
        if pool is None or answer.vector is None:
            raise ValueError("this answer was not searched for")
        rows: Rows = np.full(len(given.altered), given.row, dtype=np.int64)

        def likeness(asked: Rows, among: Rows) -> Scores:
            if asked is not rows:
                return pool.likeness(asked, among)
            others = among[among != given.row]
            if not len(others):
                return np.zeros(len(rows), dtype=np.float32)
            mean = self._snapshot.vectors[others].astype(np.float32).mean(axis=0)
            alike: Scores = vectors @ mean
            return alike

        text = answer.query.text
        keyword = self._snapshot.lexical.score_altered(text, *given)
        return Signals(
            rows, keyword, vectors @ answer.vector, pool.pool, pool.numbers, likeness,
            pool.nearness, classes,
            reference=None if answer.head is None else answer.head.odds,
            refused=self._snapshot.lexical.refused_altered(text, given.altered),
        )  # fmt: skip

    def _encode(self, texts: Sequence[str], known: Mapping[str, NDArray[np.float32]]) -> Vectors:
        """Vectors of passages, (n, dim): those alike as far as the encoder reads are read once.

        What is known by its whole text, as the snapshot has it, is not read.
        """
        read = [" ".join(text.split(" ", READ_TOKENS)[:READ_TOKENS]) for text in texts]
        each = list(  # a token is no longer than a word
            dict.fromkeys(part for text, part in zip(texts, read, strict=True) if text not in known)
        )
        found = dict(zip(each, self._snapshot.encoder.encode_passages(each), strict=True))
        vectors = np.empty((len(texts), self._snapshot.encoder.dim), dtype=np.float32)
        for row, text, part in zip(vectors, texts, read, strict=True):
            row[:] = known[text] if text in known else found[part]
        return vectors

    def _read(self, answer: Answer, texts: Sequence[str]) -> tuple[Vectors, Column]:
        """Vectors (n, dim) of the passages, and the reranker's probabilities (n, 4)."""
        reranker, query = self._snapshot.reranker, answer.query.text
        if isinstance(reranker, PassageReranker):
            vectors, tokens = self._tokens().read_passages(texts)
            return vectors, reranker.classify_read(query, pack(tokens))
        if reranker is None:
            raise StageUnavailableError(f"snapshot {self._snapshot.id} has no reranker")
        vectors = self._snapshot.encoder.encode_passages(texts)
        return vectors, reranker.classify([query] * len(texts), texts)
