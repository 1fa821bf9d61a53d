"""Why a product stands where it stands: what each feature adds, and the words that carry it.

By occlusion on the models that serve (Zeiler and Fergus 2014; for rankings, Singh and Anand 2019):
a word's worth is what the stage's own score loses when the word is blotted out of the product
everywhere, of all that it loses with every word. Only what is tried is chosen: words that share a
term with the query, then those nearest to it, `TRIED` in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analysis import fold
from engine.answer import Answer
from engine.exclusion import DENIALS, MARK, absent, read_request
from engine.guide.evidence import TokenEncoder
from engine.guide.occlusion import Blotted, Key, Occlusion, Wording, key_of
from engine.rank import CandidateRanker
from engine.snapshot import Snapshot
from engine.text import passage
from engine.types import Product, Rows, Stage, Vectors

MOST_EXPLAINED = 10
"""Products that are explained at once."""
TRIED = 8
"""Words of a product that are blotted out, each alone."""
MOST_NAMED = 8
ENOUGH = 0.8
"""Share of the score at which no further word is named."""
MOST_ASKED = 24
"""Words of a query that are looked at."""
LEAST_SHARE = 0.01
"""Of the score: a word that carries less is not named."""
_KNOWN_WORDS = 20_000  # whose vectors are kept: 30 MB
_LEAST = 1e-6


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

    @property
    def summary(self) -> str:
        """For the shopper: "matches: waterproof, coat (jacket); missing: red"."""
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
        products = self._snapshot.products.fetch(rows)
        cases = [
            _Case(row, Wording.of(one)) for row, one in zip(rows.tolist(), products, strict=True)
        ]
        self._try(answer, stage, asked, cases)
        self._name(answer, stage, cases)
        return [self._explanation(answer, asked, case) for case in cases]

    def _try(self, answer: Answer, stage: Stage, asked: _Asked, cases: Sequence[_Case]) -> None:
        """Blot out word by word."""
        for case in cases:
            case.tried = self._nearest(answer, asked, case.wording)
        found = self.occlusion.parts(
            answer,
            stage,
            [
                case.blotted(
                    [
                        case.wording.product,
                        case.wording.only(()),
                        *(case.wording.without([key]) for key in case.tried),
                    ]
                )
                for case in cases
            ],
        )
        for case, (features, adds) in zip(cases, found, strict=True):
            scores = np.vstack(list(adds.values())).sum(axis=0)
            case.score, case.wordless = float(scores[0]), float(scores[1])
            case.shares = dict(zip(case.tried, map(case.lost, scores[2:].tolist()), strict=True))
            case.features = {
                name: Part(float(features[name][0]) if name in features else 0.0, float(part[0]))
                for name, part in adds.items()
            }

    def _name(self, answer: Answer, stage: Stage, cases: Sequence[_Case]) -> None:
        """Name the fewest words that have enough of the score alone."""
        for case in cases:
            order = sorted(case.tried, key=lambda key: -case.shares[key])
            case.named = [key for key in order if case.shares[key] >= LEAST_SHARE][:MOST_NAMED]
        counts = [range(1, len(case.named) + 1) for case in cases]
        scores = self.occlusion.scores(
            answer,
            stage,
            [
                case.blotted([case.wording.only(case.named[:count]) for count in own])
                for case, own in zip(cases, counts, strict=True)
            ],
        )
        for case, alone in zip(cases, scores, strict=True):
            kept = [1 - case.lost(score) for score in alone.tolist()]
            if kept:
                enough = next((n for n, one in enumerate(kept) if one >= ENOUGH), len(kept) - 1)
                case.named, case.kept = case.named[: enough + 1], kept[enough]
        scores = self.occlusion.scores(
            answer, stage, [case.blotted([case.wording.without(case.named)]) for case in cases]
        )
        for case, (without,) in zip(cases, scores, strict=True):
            case.left_out = case.lost(float(without))

    def _explanation(self, answer: Answer, asked: _Asked, case: _Case) -> Explanation:
        words = [case.wording.words[key] for key in case.named]
        near = self._vectors(words) @ asked.vectors.T  # (named, asked)
        denying = case.wording.beside(asked.excluded)
        named = []
        for place, (key, word) in enumerate(zip(case.named, words, strict=True)):
            shared = [at for at, own in enumerate(asked.keys) if not set(own).isdisjoint(key)]
            if not shared and key in denying:
                near[place, [asked.excluded.isdisjoint(own) for own in asked.keys]] = -np.inf
            meets = shared[0] if shared else int(near[place].argmax()) if asked.words else None
            named.append(
                Named(
                    word,
                    case.shares[key],
                    "" if meets is None else asked.words[meets],
                    literally=bool(shared),
                )
            )
        return Explanation(
            case.score,
            case.features,
            tuple(named),
            self._missing(answer, asked, case),
            case.kept,
            case.left_out,
        )

    def _missing(self, answer: Answer, asked: _Asked, case: _Case) -> tuple[str, ...]:
        """Query words that the product does not have, and would be nearer to the query without.

        What is excluded is missing where the product does not say that it does without.
        """
        if answer.vector is None:
            return ()
        terms = set(chain.from_iterable(case.wording.words))
        lacks = set(absent(passage(case.wording.product)))
        own = self._snapshot.vectors[case.row].astype(np.float32)
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
        excluded = frozenset(read_request(text, lambda _term: False).excluded)
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

    def _nearest(self, answer: Answer, asked: _Asked, wording: Wording) -> list[Key]:
        """The words to try; beside what is excluded may stand that the product does without it."""
        keys = list(wording.words)
        if not keys or answer.vector is None:
            return keys[:TRIED]
        terms = frozenset(chain.from_iterable(asked.keys))
        first = wording.beside(asked.excluded)
        near = self._vectors(list(wording.words.values())) @ answer.vector
        shared = np.array([key in first or not terms.isdisjoint(key) for key in keys])
        return [keys[place] for place in np.lexsort((-near, ~shared))[:TRIED]]

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


@dataclass(slots=True)
class _Case:
    """One product on its way to its explanation."""

    row: int
    wording: Wording
    tried: list[Key] = field(default_factory=list)
    score: float = 0.0
    wordless: float = 0.0
    """The score of the same product without any words."""
    shares: dict[Key, float] = field(default_factory=dict)
    features: dict[str, Part] = field(default_factory=dict)
    named: list[Key] = field(default_factory=list)
    kept: float = 0.0
    left_out: float = 0.0

    def blotted(self, altered: Sequence[Product]) -> Blotted:
        return Blotted(self.row, self.wording.product, altered)

    def lost(self, score: float) -> float:
        """The share of the words' score that another score lacks."""
        whole = self.score - self.wordless
        return (self.score - score) / whole if whole > _LEAST else 0.0
