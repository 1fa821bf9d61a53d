"""Filters: from what a user writes to the exact set of products allowed.

The command line and `GET` write expressions, `POST` writes JSON; both become one `Filter`, and one
function turns a `Filter` into a `RowSet`. Every retriever is given that set: they cannot disagree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import FilterError
from engine.normal import comparable
from engine.retrieval.dates import dated, span
from engine.retrieval.facet_columns import EXACT_FLOAT
from engine.retrieval.facets import Facets
from engine.types import And, AnyOf, Between, Filter, Not, Or, RowSet

_EXPRESSION = re.compile(
    r"\s*(?P<field>[^=<>!]+?)\s*(?P<operator><=|>=|!=|=)\s*(?P<value>.*?)\s*", re.DOTALL
)
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_RANGE = re.compile(rf"(?=.*\d)(?P<low>{_NUMBER})?\.\.(?P<high>{_NUMBER})?")
MAX_DEPTH = 32
"""How deep "and", "or" and "not" may nest."""

_GRAMMAR = "Write field=value, field!=value, field<=9, field>=9 or field=1..9"
_JSON_RANGE = 'Write {"gte": 10, "lte": 50} or one of them: both bounds are included'
_JSON_NAMES = "A field whose name holds =, <, > or ! is filtered by in JSON: docs/api.md"
_DATES = "Write a date as 2026, 2026-11, 2026-11-24 or 2026-11-24T09:30+01:00"


def parse_filters(expressions: Sequence[str]) -> Filter:
    """The filter that expressions such as `brand=Nike`, `price<=50` and `color!=red` stand for.

    One field with several `=` values allows any of them; everything else must hold together.

    Raises:
        FilterError: an expression does not follow the grammar.
    """
    wanted: dict[str, list[Filter]] = {}
    clauses: list[Filter] = []
    for expression in expressions:
        match = _EXPRESSION.fullmatch(expression)
        if match is None or not match["value"]:
            signs = match is None and not set(expression).isdisjoint("=<>!")
            cure = f"{_GRAMMAR}. {_JSON_NAMES}" if signs else _GRAMMAR
            raise FilterError(f"cannot read the filter {expression!r}. {cure}")
        name, operator, value = match["field"], match["operator"], match["value"]
        if operator == "!=":
            clauses.append(Not(_one(name, value)))
        elif operator == "<=":
            clauses.append(_between(name, None, value))
        elif operator == ">=":
            clauses.append(_between(name, value, None))
        else:
            wanted.setdefault(comparable(name), []).append(_equal(name, value))
    return And((*clauses, *(Or(tuple(any_of)) for any_of in wanted.values())))


def _equal(name: str, value: str) -> Filter:
    """`field=value`, or `field=1..9` with either side left open."""
    bounds = _RANGE.fullmatch(value)
    if bounds:
        return _between(name, bounds["low"], bounds["high"])
    low, parted, high = value.partition("..")
    if dated(name) and parted and (low or high):
        return _between(name, low or None, high or None)
    return _one(name, value)


def _one(name: str, value: object) -> Filter:
    """A field must hold this value; of dates, any moment of the year, month or day it names."""
    if dated(name):
        return Between(name, *_bounds(name, value))
    return AnyOf(name, (_value(name, value),))


def _between(name: str, low: object, high: object) -> Between:
    """The range a field must lie in; None leaves a side open."""
    return Between(
        name,
        None if low is None else _bounds(name, low)[0],
        None if high is None else _bounds(name, high)[1],
    )


def _bounds(name: str, value: object) -> tuple[float, float]:
    """From where to where a bound reaches: one number, or the year, month or day of a date."""
    if dated(name) and isinstance(value, str | int) and (named := span(str(value))):
        return named
    number = _bound(name, value)
    return number, number


def _bound(name: str, value: object) -> float:
    """A finite number, or an error that names the field."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    wanted, cure = ("date", _DATES) if dated(name) else ("number", _GRAMMAR)
    raise FilterError(f"{name} is compared with {value!r}, which is no {wanted}. {cure}")


def filter_from_json(value: object) -> Filter:
    """The filter of a JSON object.

    `{"brand": ["Nike", "Puma"], "price": {"gte": 10, "lte": 50}}`: every field must hold; a list
    allows any of its values. `"and"` and `"or"` take a list of such objects, `"not"` takes one.

    Raises:
        FilterError: the value is not such an object.
    """
    return _all_of(value, 1)


def _all_of(value: object, depth: int) -> Filter:
    """A JSON filter object that stands `depth` deep."""
    if not isinstance(value, Mapping):
        raise FilterError(f"filters must be JSON objects, not {type(value).__name__}")
    if depth > MAX_DEPTH:
        raise FilterError(f"filters nest at most {MAX_DEPTH} deep")
    return And(tuple(_clause(str(name), content, depth) for name, content in value.items()))


def _clause(name: str, content: object, depth: int) -> Filter:
    """One entry of a JSON filter."""
    match name, content:
        case "and" | "or", list():
            clauses = tuple(_all_of(item, depth + 1) for item in content)
            return And(clauses) if name == "and" else Or(clauses)
        case "and" | "or", _:
            raise FilterError(f"{name!r} takes a list of filters")
        case "not", _:
            return Not(_all_of(content, depth + 1))
        case _, Mapping():
            return _range_clause(name, content)
        case _, list() if dated(name):
            return Or(tuple(_one(name, item) for item in content))
        case _, list():
            return AnyOf(name, tuple(_value(name, item) for item in content))
        case _:
            return _one(name, content)


def _range_clause(name: str, content: Mapping[object, object]) -> Between:
    """`{"gte": 10, "lte": 50}`, either side optional."""
    unknown = set(content) - {"gte", "lte"}
    if unknown or not content:
        found = ", ".join(sorted(map(str, unknown))) or "nothing"
        raise FilterError(f"{name}: a range takes gte and lte, not {found}. {_JSON_RANGE}")
    return _between(name, content.get("gte"), content.get("lte"))


def _value(name: str, value: object) -> str | bool:
    """A text, boolean or number as filters compare it: a whole number as texts write it."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_FLOAT:
        return str(int(value))
    if isinstance(value, int | float) and math.isfinite(value):
        return repr(value)
    raise FilterError(f"{name}: {value!r} is not a text, number, boolean or list of them")


def allowed_rows(condition: Filter, facets: Facets) -> RowSet:
    """Exactly the products that pass the filter; the mask is shared, and cannot be written to.

    Raises:
        FilterError: unknown field or ill-typed value.
    """
    mask = facets.passing.get(condition)
    if mask is None:
        mask = _mask(condition, facets)
        mask.flags.writeable = False
        facets.passing.keep(condition, mask)
    return RowSet(mask)


def _mask(condition: Filter, facets: Facets) -> NDArray[np.bool_]:
    """Which products pass, shape (products,)."""
    match condition:
        case AnyOf(name, values):
            mask = np.zeros(facets.size, dtype=np.bool_)
            facets.field(name)  # an unknown field is an error even with no value asked for
            for value in values:
                mask[facets.holding(name, value)] = True
            return mask
        case Between(name, low, high):
            mask = np.zeros(facets.size, dtype=np.bool_)
            mask[facets.within(name, low, high)] = True
            return mask
        case And(clauses):
            masks = [_mask(clause, facets) for clause in clauses]
            return np.logical_and.reduce(masks) if masks else np.ones(facets.size, dtype=np.bool_)
        case Or(clauses):
            masks = [_mask(clause, facets) for clause in clauses]
            return np.logical_or.reduce(masks) if masks else np.zeros(facets.size, dtype=np.bool_)
        case Not(clause):
            return ~_mask(clause, facets)
