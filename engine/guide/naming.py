"""Which words of a text carry its score, by blotting them out: the same for products and pieces.

A word's worth is what the score loses when the word is blotted out everywhere (occlusion: Zeiler
and Fergus 2014), as a share of what the text's words make in all: the score less that of the same
thing without any words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from engine.analysis import STOPWORDS, analyze
from engine.types import Scores

MOST_NAMED = 8
ENOUGH = 0.8
"""Share of the score at which no further word is named."""
LEAST_SHARE = 0.01
"""Of the score: a word that carries less is not named."""
_LEAST = 1e-6

Key = tuple[str, ...]
"""The terms of a word: words with the same are one."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@lru_cache(maxsize=65_536)
def key_of(word: str) -> Key:
    """The content terms of a word; none where it says nothing."""
    return tuple(term for term in analyze(word) if term not in STOPWORDS)


class Wording(Protocol[T_co]):
    """Something with words that can be blotted out."""

    @property
    def words(self) -> Mapping[Key, str]:
        """By its terms, each content word as it first stands."""

    def without(self, gone: Iterable[Key]) -> T_co:
        """The same with these words blotted out."""

    def only(self, kept: Iterable[Key]) -> T_co:
        """The same with nothing left but these words."""


@dataclass(slots=True)
class Case(Generic[T]):
    """One text and, once named, the words that carry its score."""

    wording: Wording[T]
    tried: Sequence[Key]
    """Words that are blotted out, each alone."""
    named: list[Key] = field(default_factory=list)
    """The fewest of them that have `ENOUGH` of the score, the first carries most."""
    shares: dict[Key, float] = field(default_factory=dict)
    """What is lost without each."""
    kept: float = 0.0
    """Share of the score that the named words have alone; may be over 1."""
    lost: float = 0.0
    """Share of the score that is lost without them."""


def name_words(
    cases: Sequence[Case[T]],
    scores: Callable[[Sequence[Sequence[T]]], Sequence[Scores]],
) -> None:
    """Fill in what the cases lack.

    Args:
        cases: with wording and what is to be tried.
        scores: those of what is left of each case; (n,) each.
    """
    whole = scores(
        [
            [
                case.wording.without(()),
                case.wording.only(()),
                *(case.wording.without([key]) for key in case.tried),
            ]
            for case in cases
        ]
    )
    makes = [float(found[0]) - float(found[1]) for found in whole]

    def lost(at: int, score: float) -> float:
        return (float(whole[at][0]) - score) / makes[at] if makes[at] > _LEAST else 0.0

    for at, case in enumerate(cases):
        each = [lost(at, score) for score in whole[at][2:].tolist()]
        case.shares = dict(zip(case.tried, each, strict=True))
        order = sorted(case.tried, key=case.shares.__getitem__, reverse=True)
        case.named = [key for key in order if case.shares[key] >= LEAST_SHARE][:MOST_NAMED]
    alone = scores(
        [
            [case.wording.only(case.named[: count + 1]) for count in range(len(case.named))]
            for case in cases
        ]
    )
    for at, case in enumerate(cases):
        kept = [1 - lost(at, score) for score in alone[at].tolist()]
        if kept:
            enough = next((n for n, one in enumerate(kept) if one >= ENOUGH), len(kept) - 1)
            case.named, case.kept = case.named[: enough + 1], kept[enough]
    for at, without in enumerate(scores([[case.wording.without(case.named)] for case in cases])):
        cases[at].lost = lost(at, float(without[0]))
