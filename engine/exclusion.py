"""What a text says is not there: "without buckle", "no batteries", "sugar-free", "stemless".

Bag-of-words search takes "wine glasses without stem" for a wish for stems. Here a stem that a
product does without is a term of its own, written ¬stem: a product has ¬stem where its text says
so in any of these ways, and a query that excludes stems asks for ¬stem instead of stem.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from engine.analysis import STOPWORDS, analyze, fold

EXCLUSION = "2"
"""Version of the terms below: raise it with any change to what is read as an exclusion."""

MARK = "¬"

_LINKS = """
with without no not but so which while when who has have had can do does than just more only
included supplied provided required needed
"""
_BOUNDARIES = STOPWORDS | set(_LINKS.split())
"""Words that end the list of what is not there."""

_SENTENCE = """
i we he she am were did would could should shall must may might
"""
_SUBJECTS = set(_SENTENCE.split())
"""Further words that "not" stands behind in a sentence."""

_WORD = r"[^\W\d_][\w'&/-]*"
_BEFORE = r"(?:any|an?|the|(?:made|containing) (?:of|from|with|in))"
"""What may stand between a denial and what is denied."""
_SAID = re.compile(
    r"\b(?:without|w/o|no|not|(?:does not|doesn't|do not|don't) (?:include|contain|have|need)"
    r"|free (?:of|from)|exclud(?:es|ing))\b"
    rf"(?: {_BEFORE}(?= ))?[\s:-]+({_WORD}(?: {_WORD}){{0,2}})"
)
_SAID_NON = re.compile(r"\bnon[\s-]+([^\W\d_][\w'&/]*)")
"""Of "non-slip rubber base" the base is not denied, nor the rubber."""
_SAID_BEHIND = re.compile(
    rf"({_WORD})[\s(,]+(?:(?:is|are)(?: |(?=n't)))?"
    r"(?:(?:not|n't) (?:included|supplied|provided|required|needed)|sold separately)\b"
)
"""Batteries (not included)."""
_SUFFIXED = re.compile(r"\b([^\W\d_]{3,})(?:[- ]free|less)\b")
_SURE, _UNSURE = ("without", "w/o"), ("no", "not")
DENIALS = (*_SURE, *_UNSURE)
"""Words by which a query excludes what follows; the last two may also be part of a slogan."""
_ASKED_BEFORE = re.compile(rf"\s*{_BEFORE}(?= )")
_ASKED = re.compile(rf"(?:\b(?:{'|'.join(_SURE)})|(?<![^ ])(?:{'|'.join(_UNSURE)}))(?= |$)")


def _terms(words: str) -> list[str]:
    """The terms of the words up to the first that ends the list."""
    found: list[str] = []
    for word in words.split():
        terms = analyze(word)
        if not terms or _ends(word, terms):
            break
        found += terms
    return found


def _ends(word: str, terms: list[str]) -> bool:
    """Whether a word ends the list of what is not there."""
    return word.strip(".,;:!?()") in _BOUNDARIES or terms[0] in _BOUNDARIES


def absent(text: str) -> list[str]:
    """The ¬terms of a product's text: what it says it does without, repeats kept."""
    folded = fold(text)
    return [
        MARK + term
        for said in (_SAID, _SAID_NON, _SAID_BEHIND, _SUFFIXED)
        for match in said.finditer(folded)
        for term in _terms(match[1])
    ]


def _is_sentence(before: str) -> bool:
    """Whether what stands before "not" has it deny a verb: "do not disturb", "it's not a drill"."""
    last = before.rsplit(maxsplit=1)[-1]
    return last in _BOUNDARIES or last in _SUBJECTS or "'" in last


@dataclass(frozen=True, slots=True)
class Request:
    """A query, parted into what is wished for and what is not."""

    wanted: str
    """The query without the exclusion; the whole query where there is none."""
    excluded: tuple[str, ...] = ()
    """Terms of what shall not be there, unmarked."""


def read_request(query: str, known: Callable[[str], bool]) -> Request:
    """What a shopper wishes for, and what they exclude by "without", "w/o", "no" or "not".

    What follows is excluded up to a function word, words beyond the first after "without" only
    where `known` says that some product does without them, so that in "listen without prejudice
    shirt" the shirt is still wanted. Before an article ("rebel without a cause") and after "no" and
    "not" that goes for the first as well, and no verb is denied: "pugs not drugs" is a slogan,
    unless the shop has pugs that say so, which are then found by it.

    Args:
        query: as typed.
        known: whether a marked term occurs in the catalog.
    """
    folded = fold(query)
    for cue in _ASKED.finditer(folded):
        wanted = folded[: cue.start()].strip()
        if not analyze(wanted) or (cue[0] in _UNSURE and _is_sentence(wanted)):
            continue
        excluded: list[str] = []
        before = _ASKED_BEFORE.match(folded, cue.end())
        rest = folded[before.end() if before else cue.end() :].split()
        while rest:
            terms = analyze(rest[0])
            asks = bool(excluded or before) or cue[0] in _UNSURE
            ends = terms and _ends(rest[0], terms)
            if ends or (asks and terms and not all(known(MARK + term) for term in terms)):
                break
            excluded += terms
            rest = rest[1:]
        if excluded:
            return Request(" ".join([wanted, *rest]), tuple(excluded))
    return Request(query)
