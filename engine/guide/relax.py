"""Where nothing is left: which condition to give up, and how many products there are then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

from engine.numbers import number_range
from engine.retrieval.dates import date_range, dated
from engine.types import And, AnyOf, Between, Filter, Not, Or

_MOST_CLAUSES = 8  # of a filter that are tried
_COUNTED = 8  # ways whose results are counted, a search each
_OFFERED = 3


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One way to find something after all."""

    given_up: tuple[str, ...]
    """Conditions in words, or the words of the query that the catalog lacks."""
    products: int
    """How many results there are then."""
    filters: Filter | None = None
    """What is left of the filter."""
    query: str | None = None
    """What is left of the query, where words are given up."""


def relax_filter(
    filters: Filter,
    passing: Callable[[Filter | None], int],
    results: Callable[[Filter | None], int],
) -> list[Relaxation]:
    """The fewest conditions to give up so that something is found; those that leave most first.

    Args:
        filters: under which nothing is found.
        passing: how many products pass another.
        results: how many of them are found for the words: asked for the widest only.
    """
    clauses = _clauses(filters)
    for many in (1, 2):
        ways = []
        for dropped in combinations(range(min(len(clauses), _MOST_CLAUSES)), many):
            kept = tuple(one for place, one in enumerate(clauses) if place not in dropped)
            rest = And(kept) if kept else None
            if products := passing(rest):
                words = tuple(wording(clauses[place]) for place in dropped)
                ways.append(Relaxation(words, products, rest))
        ways.sort(key=lambda way: -way.products)
        counted = [replace(way, products=results(way.filters)) for way in ways[:_COUNTED]]
        found = [way for way in counted if way.products]
        if found:
            return sorted(found, key=lambda one: -one.products)[:_OFFERED]
    return []


def _clauses(condition: Filter) -> list[Filter]:
    """The conditions that must hold together."""
    match condition:
        case And(clauses):
            return [inner for clause in clauses for inner in _clauses(clause)]
        case Or((only,)):
            return _clauses(only)
        case _:
            return [condition]


def wordings(filters: Filter) -> tuple[str, ...]:
    """The conditions of a filter that must hold together, each in words."""
    return tuple(map(wording, _clauses(filters)))


def wording(condition: Filter) -> str:
    """The condition in words: as a filter expression where it is one."""
    match condition:
        case AnyOf(name, values):
            said = " or ".join(f"{name}={_said(value)}" for value in values)
        case Between(name, low, high):
            said = f"{name}={(date_range if dated(name) else number_range)(low, high)}"
        case Not(AnyOf(name, values)):
            said = " and ".join(f"{name}!={_said(value)}" for value in values)
        case Not(clause):
            said = f"not ({wording(clause)})"
        case And(clauses):
            said = " and ".join(map(wording, clauses))
        case Or(clauses):
            said = " or ".join(map(wording, clauses))
    return said


def _said(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()
