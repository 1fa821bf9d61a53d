"""What a query states of price, brand, colour, shelf and more, how surely, and where it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from threading import Lock

import numpy as np
from cachetools import LRUCache, cached

from engine.guide.grounding import Grounded, ground, is_price
from engine.guide.needs import Constraint, read_needs, refused_from
from engine.guide.spans import Span, SpanTagger, shipped_tagger
from engine.numbers import number_range
from engine.retrieval.phrases import words_of
from engine.retrieval.shelves import Shelf
from engine.snapshot import Snapshot
from engine.types import AnyOf, Filter

SURE = 0.8
"""Least confidence from which a statement becomes a filter."""
_FIRM = {"price", "brand"}
_SEARCHED = {"brand", "color"}
_SAID = 0.3  # least confidence that is worth saying
_PROBED = 100  # products with the words that are looked at
_LONGEST = 4  # words of a shelf's name
_REMEMBERED = 10_000  # names, what the catalog makes of them: about 0.5 KB each


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing the words say of a field."""

    field: str
    """price, brand, color, category, or an attribute by its name."""
    words: str
    start: int
    """Where in the words that were read they begin …"""
    stop: int
    """… and end."""
    value: str
    """As a filter expression has it: `50`, `10..50`, `Nike`; "red or black" where either will do.
    """
    negated: bool
    confidence: float
    """How likely it is meant of the field, by the catalog's products, 0 to 1."""
    condition: Filter
    applied: bool = False
    """Whether only products of which it holds are shown."""

    def meets(self, other: Statement) -> bool:
        """Whether both are of one word."""
        return self.start < other.stop and other.start < self.stop


class QueryReader:
    """Reads queries by one snapshot. Safe to use from many threads."""

    def __init__(self, snapshot: Snapshot, tagger: SpanTagger | None = None) -> None:
        """Read with this tagger of spans; the shipped one if left out."""
        self._snapshot = snapshot
        self._tagger = tagger or shipped_tagger()
        # The words of one catalog come again and again.
        self._ground = cached(LRUCache(_REMEMBERED), lock=Lock())(
            partial(ground, facets=snapshot.facets)
        )
        self._share = cached(LRUCache(_REMEMBERED), lock=Lock())(partial(_share, snapshot=snapshot))

    def read(self, text: str) -> list[Statement]:
        """What the query states, in the order of its words; nothing is applied."""
        snapshot = self._snapshot
        needs = read_needs([text], snapshot.facets)
        found = [
            _of_constraint(text, one, self._confidence(text, one)) for one in needs.constraints
        ]
        shelves = _shelves(text, snapshot.shelves.called, len(snapshot))
        found += [one for one in shelves if not any(map(one.meets, found))]
        spans = self._tagger.tag(text)
        named = list(self._named(text, spans))
        found = [one for one in _merged(found, spans, named) if one.confidence >= _SAID]
        return sorted(found, key=lambda one: one.start)

    def _named(self, text: str, spans: Sequence[Span]) -> Iterator[Statement]:
        """What the spans say that the catalog knows, but for what is refused."""
        for span in spans:
            found = self._ground(span.type, span.text)
            if found is not None and refused_from(text, span.start) == span.start:
                yield self._of_span(span, found)

    def _of_span(self, span: Span, found: Grounded) -> Statement:
        """What the span says, as sure as the tagger is.

        A brand or colour is meant too where the products found for the words have it: either is
        enough (of what was tried the likeliest, on queries that the tagger had not seen).
        """
        confidence = span.confidence
        if found.field in _SEARCHED:
            share = self._share(found.field, span.text, found.values)
            confidence = 1 - (1 - confidence) * (1 - share)
        return Statement(
            found.field, span.text, span.start, span.stop,
            found.values[0] if len(found.values) == 1 else span.text,
            negated=False, confidence=round(confidence, 3), condition=found.condition,
        )  # fmt: skip

    def _confidence(self, text: str, constraint: Constraint) -> float:
        """How sure it is that the field is meant, and that the catalog can tell.

        A price is as sure as the share of products that have one, half as sure where it may be
        something else; a brand or colour: see `_share`.
        """
        if constraint.field == "price":
            beside = f"{text[: constraint.start]} {text[constraint.stop :]}"
            return self._priced / (1 if is_price(constraint, beside, self._snapshot) else 2)
        return self._share(constraint.field, constraint.name, constraint.values)

    @cached_property
    def _priced(self) -> float:
        """The share of products that have a price."""
        return float(np.isfinite(self._snapshot.facets.numbers("price")).mean())


def _share(field: str, name: str, values: tuple[str, ...], snapshot: Snapshot) -> float:
    """Of the products that keyword search finds for a name, the share that has the values."""
    rows = snapshot.lexical.typical(name, _PROBED)
    if not len(rows):
        return 0.0
    return float(snapshot.facets.having(field, values, rows).mean())


def _merged(
    stated: Sequence[Statement], spans: Sequence[Span], named: Sequence[Statement]
) -> Iterator[Statement]:
    """What was stated by the catalog's words alone, and what spans name, each once.

    A price, a refusal and a brand written as a name stand as they are. A colour or a shelf is
    doubted as far as the tagger is sure that the words name something else.
    """
    kept = [one for one in stated if one.negated or one.field in _FIRM]
    yield from kept
    new = [one for one in named if not any(map(one.meets, kept))]
    yield from new
    for one in stated:
        if one in kept or any(map(one.meets, new)):
            continue
        doubts = [span for span in spans if one.start < span.stop and span.start < one.stop]
        doubt = max((span.confidence for span in doubts), default=0.0)
        yield replace(one, confidence=round(one.confidence * (1 - doubt), 3))


def without(text: str, statements: list[Statement]) -> str:
    """The query without the words of these statements; as it is where none would be left."""
    left = text
    for one in sorted(statements, key=lambda one: -one.start):
        left = f"{left[: one.start]} {left[one.stop :]}"
    return " ".join(left.split()) if words_of(left) else text


def _of_constraint(text: str, constraint: Constraint, confidence: float) -> Statement:
    start, stop = constraint.start, constraint.stop
    return Statement(
        field=constraint.field,
        words=text[start:stop],
        start=start,
        stop=stop,
        value=_value(constraint),
        negated=constraint.negated,
        confidence=round(confidence, 3),
        condition=constraint.to_filter(),
    )


def _value(constraint: Constraint) -> str:
    """The bounds or the value as a filter expression has them."""
    if constraint.field != "price":
        return constraint.name
    return number_range(constraint.low, constraint.high)


def _shelves(
    text: str, called: Callable[[Sequence[str]], Mapping[str, Sequence[Shelf]]], size: int
) -> list[Statement]:
    """Shelves that the words name whole. A shelf of all products says nothing."""
    words = list(re.finditer(r"\S+", text))
    parts = [
        (at, length, " ".join(word[0].casefold() for word in words[at : at + length]))
        for length in range(min(_LONGEST, len(words)), 0, -1)
        for at in range(len(words) - length + 1)
    ]
    known = called([name for _, _, name in parts])
    found: list[Statement] = []
    taken: set[int] = set()
    for at, length, name in parts:
        places = set(range(at, at + length))
        meant = [one for one in known.get(name, ()) if one.products < size]
        if meant and not places & taken:
            taken |= places
            start, stop = words[at].start(), words[at + length - 1].end()
            best = meant[0]
            share = best.products / sum(one.products for one in meant)
            found.append(
                Statement(
                    "category", text[start:stop], start, stop,
                    best.title, negated=False, confidence=round(share / 2, 3),
                    condition=AnyOf("category", (best.title,)),
                )
            )  # fmt: skip
    return found
