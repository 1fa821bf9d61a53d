"""What a shopper states: a price, brands and colours to have or not to have, and the rest in words.

Brands and colours are those of the catalog itself; only grammar ("under", "not", "for") is known.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.analysis import STOPWORDS, analyze
from engine.errors import FilterError
from engine.retrieval.facets import Facets
from engine.types import And, AnyOf, Between, Filter, Not

_SIGN = r"(?:[$€£¥]\s*)?"
_MONEY = r"(?:\s*(?:[$€£¥元]|usd|eur|gbp|dollars?|euros?|pounds?|bucks)(?!\w))?"


def _number(name: str) -> str:
    return rf"{_SIGN}(?P<{name}>(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,7}})(?:\.\d{{1,2}})?)"


_CUES = {
    ("low", "high"): r"(?:between|from)",
    (
        "high",
    ): r"(?:under|below|less than|cheaper than|up to|at most|max(?:imum|\.)?(?: of)?|within|<=?)",
    ("low",): r"(?:over|above|more than|at least|min(?:imum|\.)?(?: of)?|>=?)",
}
_DENIED = r"(?:(?P<denied>no|not|nothing|never)\s+)?"
_SAID = r"(?:(?P<said>pric(?:e|ed|es|ing)|costs?|costing|budget)\s+(?:is\s+|of\s+)?)?"
_CURRENCY = re.compile(r"[$€£¥元]|usd|eur|gbp|dollar|euro|pound|bucks", re.IGNORECASE)
_ENDS = re.compile(
    r"\s*(?:$|[,;.?!)]|(?:and|or|but|for|with|without|in|not|no|that|which)\b)", re.IGNORECASE
)
"""What may follow a number that is a price though no currency says so: "under 50 cm" is none."""
_BOUNDS = [
    re.compile(
        rf"(?<!\w){_SAID}{_DENIED}{cue}\s*"
        + rf"{_MONEY}\s*(?:and|to|-)\s*".join(map(_number, names))
        + rf"(?P<money>{_MONEY})(?!\w|[.,]\d)",
        re.IGNORECASE,
    )
    for names, cue in _CUES.items()
]
_MONEYED = [
    re.compile(rf"(?<!\w){bound}(?!\w|[.,]\d)", re.IGNORECASE)
    for bound in (
        rf"{_number('low')}{_MONEY}\s*(?:-|to)\s*{_number('high')}{_MONEY}",
        rf"{_number('high')}{_MONEY}\s+(?:or|and)\s+(?:less|under|below|cheaper|lower)",
        rf"{_number('low')}{_MONEY}\s+(?:or|and)\s+(?:more|over|above|higher)",
    )
]
"""What is a bound of the price where a currency stands in it: "$50 or less"."""
_REFUSAL = (
    r"(?<!\w)(?:not|no|without|except(?: for)?|never|nothing|excluding|avoid(?:ing)?|hate"
    r"|(?:is|are)n[’']?t|(?:do not|don[’']?t) (?:want|like|need)|(?:other|rather) than|instead of"
    r"|(?:any(?:thing|one|body)?|every(?:thing|one)|all) but)\s+"
    r"(?:(?:made (?:by|in|of|from)|in|any|from|by|of|an?|the|anything)\s+)*"
)
_CONNECTED = re.compile(
    r"\s+(?:and|or|with|for|that|which|but|in)\s+|[,;.?!]+(?:\s+|$)", re.IGNORECASE
)
_REFUSED = re.compile(_REFUSAL, re.IGNORECASE)
_REFUSED_NEXT = re.compile(f"{_REFUSAL}$", re.IGNORECASE)
_WORD = re.compile(r"[^\s,;.?!()]+")
_ASKS = """
am any are best buy can could do does find get give good have help here i i'd i'm is it keep like
look looking me my need one ones please recommend search should show some something suggest there
thing want we what what's which would
"""
_ASKING = set(_ASKS.split())
"""Words that ask, and say nothing of what for."""
_LONGEST = 4  # words of a brand or colour
_LISTED = re.compile(r"\s*(?:,|,?\s+(?P<either>n?or)(?:\s+(?:in|from|by))?)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One thing that must or must not hold, and the words that say so."""

    field: Literal["price", "brand", "color"]
    words: str
    """As the shopper wrote it."""
    values: tuple[str, ...] = ()
    """Of a brand or colour: those of the catalog that are meant."""
    negated: bool = False
    low: float | None = None
    high: float | None = None
    explicit: bool = True
    """Of a price: whether a currency or a word says that it is one. "Under 5" may be an age."""
    start: int = dataclasses.field(default=0, compare=False)
    """Where its words, with a "not" before them, begin in the turn …"""
    stop: int = dataclasses.field(default=0, compare=False)
    """… and end."""

    @property
    def name(self) -> str:
        """The words without their "not"."""
        return self.words.removeprefix("not ")

    def to_filter(self) -> Filter:
        """The filter that it is."""
        condition: Filter = (
            Between("price", self.low, self.high)
            if self.field == "price"
            else AnyOf(self.field, self.values)
        )
        return Not(condition) if self.negated else condition


@dataclass(frozen=True, slots=True)
class Wish:
    """What no filter holds: a phrase, to be found in a product's texts."""

    words: str
    negated: bool = False
    """It must not be there."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What was stated."""

    constraints: tuple[Constraint, ...]
    wishes: tuple[Wish, ...]

    @property
    def text(self) -> str:
        """What to search for: the wishes, and what is not wished for behind them."""
        wanted = [wish.words for wish in self.wishes if not wish.negated]
        refused = [f"without {wish.words}" for wish in self.wishes if wish.negated]
        return " ".join(wanted + refused)

    def to_filter(self, beside: Filter | None = None) -> Filter | None:
        """All constraints together, and another filter beside them; None without any."""
        others = () if beside is None else (beside,)
        clauses = (*(one.to_filter() for one in self.constraints), *others)
        return And(clauses) if clauses else None

    def without(self, given_up: Sequence[Constraint]) -> Needs:
        """The needs without these constraints."""
        kept = tuple(one for one in self.constraints if one not in given_up)
        return replace(self, constraints=kept)


def read_needs(turns: Sequence[str], facets: Facets) -> Needs:
    """The needs that a shopper's turns state, oldest turn first.

    What was said once holds on, until a later turn says otherwise of the same: another price, "in
    red" after "in blue", "not red" after "in red".
    """
    constraints: list[Constraint] = []
    wishes: dict[frozenset[str], Wish] = {}
    for turn in turns:
        stated, wished = _one_turn(turn, facets)
        constraints = [old for old in constraints if not any(_replaces(one, old) for one in stated)]
        constraints += stated
        wishes |= {frozenset(analyze(wish.words)): wish for wish in wished}
    return Needs(tuple(constraints), tuple(wishes.values()))


def _replaces(later: Constraint, earlier: Constraint) -> bool:
    """Whether the later one is to hold instead."""
    if later.field != earlier.field:
        return False
    both_wanted = not (later.negated or earlier.negated)
    return later.field == "price" or both_wanted or bool(set(later.values) & set(earlier.values))


def _one_turn(text: str, facets: Facets) -> tuple[list[Constraint], list[Wish]]:
    """What one turn states."""
    price, left = _price(text)
    named, left = _named(left, facets)
    return [*price, *named], list(_wishes(left))


def _price(text: str) -> tuple[list[Constraint], str]:
    """The bounds of the price, and the text without them, as long as before."""
    found: list[Constraint] = []
    for pattern in (*_BOUNDS, *_MONEYED):
        for match in pattern.finditer(text):
            said = match.groupdict().get("said") or _CURRENCY.search(match.group())
            if said or (pattern in _BOUNDS and _ENDS.match(text, match.end())):
                start, stop = match.span()
                found.append(_bound(match, explicit=bool(said)))
                text = f"{text[:start]},{' ' * (stop - start - 1)}{text[stop:]}"
                break
    return found, text


def _bound(match: re.Match[str], *, explicit: bool) -> Constraint:
    """What one statement says of the price."""
    numbers = {
        name: float(digits.replace(",", ""))
        for name, digits in match.groupdict().items()
        if name in {"low", "high"}
    }
    low, high = numbers.get("low"), numbers.get("high")
    denied = match.groupdict().get("denied") is not None
    if denied and len(numbers) == 1:  # "no more than" is "at most"
        low, high, denied = high, low, False
    return Constraint(
        "price", match.group().strip(), negated=denied, low=low, high=high,
        explicit=explicit, start=match.start(), stop=match.end(),
    )  # fmt: skip


def _wishes(text: str) -> Iterator[Wish]:
    """The phrases between connecting words, without the words that ask."""
    for phrase in _CONNECTED.split(_REFUSED.sub(", not ", text)):
        refused = _REFUSED.match(phrase.strip())
        words = phrase.strip()[refused.end() :] if refused else phrase.strip()
        kept = words.split()
        while kept and _says_nothing(kept[0]):
            kept.pop(0)
        while kept and _says_nothing(kept[-1]):
            kept.pop()
        if kept:
            yield Wish(" ".join(kept), negated=refused is not None)


def _says_nothing(word: str) -> bool:
    bare = word.casefold().strip("\"'()*:")
    return bare in _ASKING or bare in STOPWORDS or not analyze(bare)


def _named(text: str, facets: Facets) -> tuple[list[Constraint], str]:
    """Brands and colours of the catalog that the text names, the longest first, and the rest."""
    whole, words = text, list(_WORD.finditer(text))
    found: list[tuple[int, Constraint]] = []
    taken: list[tuple[int, int]] = []
    for length in range(min(_LONGEST, len(words)), 0, -1):
        for first, last in zip(words, words[length - 1 :], strict=False):
            begin, end = first.start(), last.end()
            if any(start < end and begin < stop for start, stop in taken):
                continue
            one = _value(text[begin:end], facets)
            if one is None:
                continue
            start = refused_from(text, begin)
            if start < begin:
                one = replace(one, words=f"not {one.words}", negated=True)
            found.append((begin, replace(one, start=start, stop=end)))
            taken.append((start, end))
    for begin, end in sorted(taken, reverse=True):
        text = f"{text[:begin]} {text[end:]}"
    named = [one for _, one in sorted(found, key=lambda pair: pair[0])]
    return _either(named, whole), text


def _either(named: Sequence[Constraint], text: str) -> list[Constraint]:
    """The constraints, those that "or" joins as one: "red, blue or green"; "not red or blue"."""
    joined: list[Constraint] = []
    listed: list[Constraint] = []  # the last of them, joined by commas alone so far
    for one in named:
        before = listed[-1] if listed else None
        link = before and _LISTED.fullmatch(text, before.stop, one.start)
        if not before or not link or one.field != before.field or one.negated:
            listed = [one]
        elif link["either"]:
            first, names = listed[0], dict.fromkeys(
                value for each in [*listed, one] for value in each.values
            )  # fmt: skip
            words = text[first.start : one.stop]
            if first.negated:
                words = f"{first.words}{text[first.stop : one.stop]}"
            del joined[len(joined) - len(listed) :]
            one = replace(first, words=words, values=tuple(names), stop=one.stop)  # noqa: PLW2901
            listed = [one]
        else:
            listed.append(one)
        joined.append(one)
    return joined


def refused_from(text: str, begin: int) -> int:
    """Where the "not" stands that refuses what begins there; `begin` where none does."""
    refused = _REFUSED_NEXT.search(text[:begin])
    return begin if refused is None else refused.start()


def _value(text: str, facets: Facets) -> Constraint | None:
    """The constraint that these words are, if they are the catalog's.

    A brand is meant where its whole name stands there, written as a name; a colour where some of
    its names hold the word ("black": "Black", "Matte Black").
    """
    if all(_says_nothing(word) for word in text.split()):
        return None
    if colors := facets.values_with("color", text):
        return Constraint("color", text, colors)
    if not text[0].islower():
        try:
            known = len(facets.holding("brand", text)) > 0
        except FilterError:  # too long for a brand
            return None
        if known:
            return Constraint("brand", text, (text,))
    return None
