"""Why a product stands where it stands: what each feature adds, and the words that carry it.

By occlusion on the models that serve and the score that ranks (for rankings, Singh and Anand 2019):
see `engine.guide.naming`. What is tried is chosen: words that share a term with the query, then
those nearest to it, `TRIED` in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analysis import fold
from engine.answer import Answer
from engine.exclusion import DENIALS, MARK, absent
from engine.guide.evidence import TokenEncoder
from engine.guide.naming import Case, Key, key_of, name_words
from engine.guide.occlusion import Blotted, Occlusion, ProductWording
from engine.rank import CandidateRanker
from engine.snapshot import Snapshot
from engine.text import passage, whole_text
from engine.types import Product, Query, Rows, Scores, Stage, Vectors

MOST_EXPLAINED = 10
"""Products that are explained at once."""
TRIED = 8
"""Words of a product that are blotted out, each alone."""
MOST_ASKED = 24
"""Words of a query that are looked at."""
_READ_WORDS = 100  # of a passage: about as many as the encoder reads
_KNOWN_WORDS = 20_000  # whose vectors are kept: 30 MB


@dataclass(frozen=True, slots=True)
class Part:
    """One feature of the final score."""

    value: float
    adds: float
    """To the score: all features' together are it."""


@dataclass(frozen=True, slots=True)
class Named:
    """A word of the product that carries its score."""

    word: str
    """As the product has it."""
    share: float
    """Of the score, that is lost without it."""
    meets: str = ""
    """The query's word that it has terms in common with, or else is nearest to."""
    literally: bool = False
    """True where it is the query's own word, in any form."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one product got its score."""

    score: float
    features: Mapping[str, Part]
    named: tuple[Named, ...]
    """The words that carry the score, the first ones most."""
    missing: tuple[str, ...]
    """Words of the query that the product does not meet: it would fit better without them."""
    kept: float
    """Share of the score that the named words have alone; may be over 1."""
    lost: float
    """Share of the score that is lost without them."""
    by_number: bool = False
    """Whether the product leads because its id, SKU or GTIN was asked for, whatever its score."""

    @property
    def summary(self) -> str:
        """For the shopper: "matches: waterproof, coat (jacket); missing: red"."""
        if self.by_number:
            return "asked for by its id, SKU or GTIN"
        met: dict[str, list[str]] = {}
        for one in self.named:
            if one.meets:
                met.setdefault(one.meets, []).extend([] if one.literally else [one.word])
        shown = [f"{word} ({', '.join(by)})" if by else word for word, by in met.items()]
        parts = (("matches", shown), ("missing", self.missing))
        return "; ".join(f"{name}: {', '.join(words)}" for name, words in parts if words)


class _Asked(NamedTuple):
    """The query's content words, each once."""

    words: tuple[str, ...]
    """As typed, after "without" where they are excluded."""
    keys: tuple[Key, ...]
    excluded: frozenset[str]
    """Terms of what shall not be there."""
    vectors: Vectors
    """Of each word alone, (words, dim)."""
    others: Vectors
    """Of the query without it, (words, dim)."""


class Explainer:
    """Explains the scores of one snapshot's answers. Safe to use from many threads."""

    def __init__(
        self, snapshot: Snapshot, ranker: CandidateRanker, tokens: Callable[[], TokenEncoder]
    ) -> None:
        """As `Occlusion`."""
        self.occlusion = Occlusion(snapshot, ranker, tokens)
        self._snapshot = snapshot
        self._ranker = ranker
        self._known: dict[str, NDArray[np.float32]] = {}

    def explain(self, answer: Answer, stage: Stage, rows: Rows) -> list[Explanation]:
        """Why each of these products got its score.

        Args:
            answer: as `SearchEngine.answer` gives it.
            stage: whose score is explained.
            rows: products of the snapshot.

        Raises:
            StageUnavailableError: the stage ranks by a reranker that the snapshot lacks.
        """
        if not len(rows):
            return []
        asked = self._ask(answer)
        wordings = list(map(ProductWording.of, self._snapshot.products.fetch(rows)))
        tried = self._nearest(answer, asked, wordings)
        cases = [Case(own, keys) for own, keys in zip(wordings, tried, strict=True)]

        def scores(altered: Sequence[Sequence[Product]]) -> list[Scores]:
            blotted = [
                Blotted(row, own.product, products)
                for row, own, products in zip(rows.tolist(), wordings, altered, strict=True)
            ]
            return self.occlusion.scores(answer, stage, blotted)

        name_words(cases, scores)
        leads = np.isin(rows, answer.leaders).tolist()
        features, adds = self._ranker.parts(stage, self._ranker.signals(answer, stage, rows))
        return [
            Explanation(
                score=float(sum(part[at] for part in adds.values())),
                features={
                    name: Part(float(features.get(name, part)[at]), float(part[at]))
                    for name, part in adds.items()
                },
                named=self._named(asked, own, case),
                missing=() if leads[at] else self._missing(answer, asked, row, own),
                kept=case.kept,
                lost=case.lost,
                by_number=leads[at],
            )
            for at, (row, own, case) in enumerate(zip(rows.tolist(), wordings, cases, strict=True))
        ]

    def explain_likeness(self, row: int, other: int) -> Explanation:
        """Why a product is like another: the words that carry the cosine of their texts."""
        (product,) = self._snapshot.products.fetch([other])
        none = np.empty(0, dtype=np.float32)
        answer = Answer(
            Query(product.title, product.title),
            vector=self._snapshot.vectors[other].astype(np.float32),
            pool=self._ranker.pooled(product.title, np.empty(0, dtype=np.int64), none, none),
        )
        (why,) = self.explain(answer, Stage.DENSE, np.array([row], dtype=np.int64))
        return replace(why, missing=())

    def _named(
        self, asked: _Asked, wording: ProductWording, case: Case[Product]
    ) -> tuple[Named, ...]:
        """The words that carry the score, each with what it meets."""
        words = [wording.words[key] for key in case.named]
        near = self._vectors(words) @ asked.vectors.T  # (named, asked)
        denying = wording.beside(asked.excluded)
        named = []
        for place, (key, word) in enumerate(zip(case.named, words, strict=True)):
            shared = [at for at, own in enumerate(asked.keys) if not set(own).isdisjoint(key)]
            if not shared and key in denying:
                near[place, [asked.excluded.isdisjoint(own) for own in asked.keys]] = -np.inf
            meets = shared[0] if shared else int(near[place].argmax()) if asked.words else None
            met = "" if meets is None else asked.words[meets]
            named.append(Named(word, case.shares[key], met, literally=bool(shared)))
        return tuple(named)

    def _missing(
        self, answer: Answer, asked: _Asked, row: int, wording: ProductWording
    ) -> tuple[str, ...]:
        """Query words that the product does not have, and would be nearer to the query without.

        What is excluded is missing where the product does not say that it does without.
        """
        if answer.vector is None:
            return ()
        terms = set(chain.from_iterable(wording.words))
        lacks = set(absent(whole_text(wording.product)))
        own = self._snapshot.vectors[row].astype(np.float32)
        worse = asked.others @ own > answer.vector @ own
        return tuple(
            word
            for word, key, unfit in zip(asked.words, asked.keys, worse.tolist(), strict=True)
            if (
                lacks.isdisjoint(MARK + term for term in key)
                if asked.excluded.issuperset(key)
                else unfit and terms.isdisjoint(key)
            )
        )

    def _ask(self, answer: Answer) -> _Asked:
        """The query's content words."""
        text = answer.query.text
        excluded = frozenset(self._snapshot.lexical.excluded(text))
        words: dict[Key, str] = {}
        for word in text.split():
            key = key_of(word)
            if excluded and fold(word) in DENIALS:
                continue
            if key:
                words.setdefault(key, f"without {word}" if excluded.issuperset(key) else word)
        keys, shown = tuple(words)[:MOST_ASKED], tuple(words.values())[:MOST_ASKED]
        others = [" ".join(word for word in text.split() if key_of(word) != key) for key in keys]
        encode = self._snapshot.encoder.encode_queries
        return _Asked(shown, keys, excluded, self._vectors(shown), encode(others))

    def _nearest(
        self, answer: Answer, asked: _Asked, wordings: Sequence[ProductWording]
    ) -> list[list[Key]]:
        """The words of each to try: those that share a term, then those nearest of what is read.

        Beside what is excluded may stand that the product does without it.
        """
        if answer.vector is None:
            return [list(own.words)[:TRIED] for own in wordings]
        terms = frozenset(chain.from_iterable(asked.keys))
        chosen: list[tuple[list[Key], list[Key]]] = []
        for own in wordings:
            first = own.beside(asked.excluded)
            shared = [key for key in own.words if key in first or not terms.isdisjoint(key)]
            read = dict.fromkeys(map(key_of, passage(own.product).split()[:_READ_WORDS]))
            others = [key for key in read if key and key not in shared]
            chosen.append((shared, others))
        written = [
            [own.words[key] for key in chain(*keys)]
            for own, keys in zip(wordings, chosen, strict=True)
        ]
        near = np.split(
            self._vectors(list(chain.from_iterable(written))) @ answer.vector,
            np.cumsum([len(words) for words in written])[:-1],
        )
        found = []
        for (shared, others), cosines in zip(chosen, near, strict=True):
            behind = np.arange(len(cosines)) >= len(shared)
            order = np.lexsort((-cosines, behind))[:TRIED]
            found.append([[*shared, *others][place] for place in order])
        return found

    def _vectors(self, words: Sequence[str]) -> Vectors:
        """Each word's alone, (words, dim); they are kept, as catalogs repeat themselves."""
        known = self._known  # another thread may put an empty one in its place
        unknown = [word for word in dict.fromkeys(words) if word not in known]
        if unknown:
            known.update(zip(unknown, self._snapshot.encoder.encode_passages(unknown), strict=True))
        if len(known) > _KNOWN_WORDS:
            self._known = {}
        found = np.empty((len(words), self._snapshot.encoder.dim), dtype=np.float32)
        for place, word in enumerate(words):
            found[place] = known[word]
        return found
