"""What a query states of price, brand, colour and shelf, how surely, and where it says so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from threading import Lock

import numpy as np
from cachetools import LRUCache

from engine.guide.needs import Constraint, read_needs
from engine.retrieval.facets import Facets
from engine.retrieval.filters import allowed_rows
from engine.retrieval.phrases import words_of
from engine.retrieval.shelves import Shelves
from engine.snapshot import Snapshot
from engine.types import AnyOf, Filter

SURE = 0.8
"""Least confidence from which a statement becomes a filter."""
_SAID = 0.3  # least confidence that is worth saying
_REFUSAL = re.compile(
    r"\b(?:not|no|without|except|never|nothing)\s+(?:in\s+|any\s+)?$", re.IGNORECASE
)
_PROBED = 100  # products with the words that are looked at
_LONGEST = 4  # words of a shelf's name
_REMEMBERED = 20_000  # words whose confidence is kept, about 200 bytes each


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing the words say of a field."""

    field: str
    """price, brand, color or category."""
    words: str
    start: int
    """Where in the query as understood they begin; -1 where they do not stand there as such."""
    stop: int
    value: str
    """As a filter expression has it: `50`, `10..50`, `Nike`."""
    negated: bool
    confidence: float
    """How likely it is meant of the field, by the catalog's products, 0 to 1."""
    condition: Filter
    applied: bool = False
    """Whether only products of which it holds are shown."""


class QueryReader:
    """Reads queries by one snapshot. Safe to use from many threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: LRUCache[tuple[str, str], float] = LRUCache(_REMEMBERED)
        self._lock = Lock()

    def read(self, text: str) -> list[Statement]:
        """What the query states, in the order of its words; nothing is applied."""
        snapshot = self._snapshot
        needs = read_needs([text], snapshot.facets)
        found = [_of_constraint(text, one, self._confidence(one)) for one in needs.constraints]
        taken = [(one.start, one.stop) for one in found]
        if snapshot.shelves.named:
            found += [
                one
                for one in _shelves(text, snapshot.shelves, len(snapshot))
                if not any(one.start < stop and start < one.stop for start, stop in taken)
            ]
        found = [one for one in found if one.confidence >= _SAID]
        return sorted(found, key=lambda one: one.start)

    def _confidence(self, constraint: Constraint) -> float:
        """As `_confidence`, which searches: the words of one catalog come again and again."""
        key = constraint.field, constraint.name.casefold()
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = _confidence(constraint, self._snapshot)
            with self._lock:
                self._known[key] = known
        return known


def without(text: str, statements: list[Statement]) -> str:
    """The query without the words of these statements; as it is where none would be left."""
    left = text
    for one in sorted(statements, key=lambda one: -one.start):
        if one.start >= 0:
            left = f"{left[: one.start]} {left[one.stop :]}"
    return " ".join(left.split()) if words_of(left) else text


def _of_constraint(text: str, constraint: Constraint, confidence: float) -> Statement:
    name = constraint.name
    start = text.casefold().find(name.casefold())
    stop = start + len(name) if start >= 0 else -1
    if constraint.negated and start >= 0 and (refusal := _REFUSAL.search(text[:start])):
        start = refusal.start()
    return Statement(
        field=constraint.field,
        words=text[start:stop] if start >= 0 else constraint.words,
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
    low, high = ("" if one is None else f"{one:g}" for one in (constraint.low, constraint.high))
    return f"{low}..{high}"


def _confidence(constraint: Constraint, snapshot: Snapshot) -> float:
    """How sure it is that the field is meant, and that the catalog can tell.

    A price is as sure as the share of products that have one. A brand or colour is as sure as the
    share, of the products that keyword search finds for its words, that are of it.
    """
    facets: Facets = snapshot.facets
    if constraint.field == "price":
        return float(np.isfinite(facets.numbers("price")).mean())
    (found,) = snapshot.lexical.search([constraint.name], _PROBED)
    if not len(found):
        return 0.0
    holds = allowed_rows(AnyOf(constraint.field, constraint.values), facets).mask
    return float(holds[found.rows].mean())


def _shelves(text: str, shelves: Shelves, size: int) -> list[Statement]:
    """Shelves that the words name whole. A shelf of all products says nothing."""
    folded = text.casefold()
    words = folded.split()
    found: list[Statement] = []
    taken: set[int] = set()
    for length in range(min(_LONGEST, len(words)), 0, -1):
        for at in range(len(words) - length + 1):
            places = set(range(at, at + length))
            name = " ".join(words[at : at + length])
            if places & taken:
                continue
            called = [one for one in shelves.called(name) if one.products < size]
            if not called:
                continue
            taken |= places
            start = len(" ".join(words[:at])) + (at > 0)
            best = called[0]
            share = best.products / sum(one.products for one in called)
            found.append(
                Statement(
                    "category", text[start : start + len(name)], start, start + len(name),
                    best.title, negated=False, confidence=round(share / 2, 3),
                    condition=AnyOf("category", (best.title,)),
                )
            )  # fmt: skip
    return found
