"""Why a statement is given as the answer: what each feature adds, and the words that carry it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from engine.guide.evidence import EvidenceRanker, Read, TokenEncoder, compute
from engine.guide.explain import Explanation, Named, Part
from engine.guide.naming import Case, Key, key_of, name_words
from engine.models.reranker import TokenReranker
from engine.models.tokens import pack
from engine.types import Scores, Vectors

_TRIED = 8
_WORD = re.compile(r"\S+")
_EDGES = " .,;:!?\"'()[]"


@dataclass(frozen=True, slots=True)
class PieceWording:
    """The words of a statement."""

    text: str
    words: Mapping[Key, str]

    @classmethod
    def of(cls, text: str) -> PieceWording:
        """Each content word, by its terms."""
        words: dict[Key, str] = {}
        for word in text.split():
            if key := key_of(word):
                words.setdefault(key, word.strip(_EDGES))
        return cls(text, words)

    def without(self, gone: Iterable[Key]) -> str:
        """The text with these words blotted out."""
        blotted = frozenset(gone)
        return self._left(lambda key: key not in blotted)

    def only(self, kept: Iterable[Key]) -> str:
        """Nothing but these words."""
        left = frozenset(kept)
        return self._left(lambda key: key in left)

    def _left(self, kept: Callable[[Key], bool]) -> str:
        left = _WORD.sub(lambda match: match[0] if kept(key_of(match[0])) else "", self.text)
        return " ".join(left.split())


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what the encoder made of it and of all the statements, the question first."""

    question: str
    texts: Sequence[str]
    vectors: Vectors
    """(1 + statements, dim)."""
    tokens: Sequence[NDArray[np.float32]]
    reranker: TokenReranker | None = None
    """Reads the question across the statements, where the ranker has one."""

    def across(self, tokens: Sequence[NDArray[np.float32]]) -> Scores | None:
        """What the reranker says of statements of these tokens, (statements,)."""
        if self.reranker is None:
            return None
        return self.reranker.score_read(self.question, pack(tokens))


def explain_evidence(
    asked: Asked, place: int, ranker: EvidenceRanker | None, encoder: TokenEncoder
) -> Explanation:
    """Why the statement at `place` is ranked as it is among the others.

    Args:
        asked: the question and every statement.
        place: which statement.
        ranker: what ranks; by the cosine where there is none.
        encoder: what read them.
    """
    wording = PieceWording.of(asked.texts[place])
    whole = asked.across(asked.tokens[1:])
    terms = {key: word.strip(_EDGES) for word in asked.question.split() if (key := key_of(word))}
    known = frozenset(chain.from_iterable(terms))

    def scores(altered: Sequence[Sequence[str]]) -> list[Scores]:
        (texts,) = altered
        if not texts:
            return [np.empty(0, dtype=np.float32)]
        vectors, tokens = encoder.read_passages(texts)
        across = asked.across(tokens)
        given = [_read(asked, place, *each) for each in zip(texts, vectors, tokens, strict=True)]
        if across is not None and whole is not None:
            given = [
                replace(read, across=_with(whole, place, value))
                for read, value in zip(given, across, strict=True)
            ]
        found = [_total(_parts(read, ranker), place) for read in given]
        return [np.array(found, dtype=np.float32)]

    order = sorted(wording.words, key=known.isdisjoint)
    case: Case[str] = Case(wording, order[:_TRIED])
    name_words([case], scores)
    given = compute(asked.question, asked.texts, asked.vectors, asked.tokens, whole)
    parts = _parts(given, ranker)
    named = []
    for key in case.named:
        met = next((word for own, word in terms.items() if not set(own).isdisjoint(key)), "")
        named.append(Named(wording.words[key], case.shares[key], met, literally=bool(met)))
    said = frozenset(chain.from_iterable(wording.words))
    return Explanation(
        score=_total(parts, place),
        features={
            name: Part(float(value[place]), float(adds[place]))
            for name, (value, adds) in parts.items()
        },
        named=tuple(named),
        missing=tuple(word for key, word in terms.items() if said.isdisjoint(key)),
        kept=case.kept,
        lost=case.lost,
    )


_Parts = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]


def _parts(given: Read, ranker: EvidenceRanker | None) -> _Parts:
    """By feature its values, and what it adds to the score of each statement."""
    if ranker is None:
        cosine = given.column("cosine")
        return {"cosine": (cosine, cosine)}
    return ranker.parts(given)


def _total(parts: _Parts, place: int) -> float:
    return float(sum(adds[place] for _, adds in parts.values()))


def _with(scores: Scores, place: int, value: float) -> Scores:
    changed = scores.copy()
    changed[place] = value
    return changed


def _read(
    asked: Asked,
    place: int,
    text: str,
    vector: NDArray[np.float32],
    tokens: NDArray[np.float32],
) -> Read:
    """What the ranker reads with another text at `place`."""
    texts, others, vectors = list(asked.texts), list(asked.tokens), asked.vectors.copy()
    texts[place], others[place + 1], vectors[place + 1] = text, tokens, vector
    return compute(asked.question, texts, vectors, others)
