"""Reads facet columns: see `engine.retrieval.facet_columns`."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from engine.analysis import analyze
from engine.errors import FilterError
from engine.normal import comparable
from engine.retrieval.facet_columns import (
    ATTRIBUTE_PREFIX,
    MAX_TERM_CHARS,
    OFFERS,
    TEXTS,
    Field,
    Part,
    fields_of,
    number_entries,
)
from engine.types import Filter, Rows

MAX_VOCABULARY = 20_000
"""Values of a field whose words are kept in memory, about 0.5 KB each."""

FIELDS = (
    "brand",
    "color",
    "category",
    "currency",
    "group_id",
    "price",
    "rating",
    "rating_count",
    "in_stock",
    "created_at",
)
"""Fields of `Product` that can be filtered by; attributes come beside them."""

_FLAGS = {"yes": "true", "y": "true", "1": "true", "no": "false", "n": "false", "0": "false"}
"""Ways to say true and false, where the field holds no such text of its own."""

_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_MOST = float(np.finfo(np.float32).max)
_NO_ROWS = np.empty(0, dtype=np.int32)
_KEPT_BYTES, _MOST_KEPT = 64_000_000, 64  # of masks, a byte a product; filters may be long too


class Passing:
    """What filters let pass, for those asked for last. Safe to use from many threads.

    The same come with every page, order and facet; of ten million products, to find what costs at
    most 20 takes 50 ms.
    """

    def __init__(self) -> None:
        self._masks: LRUCache[Filter, NDArray[np.bool_]] = LRUCache(
            _KEPT_BYTES, getsizeof=lambda mask: max(mask.nbytes, _KEPT_BYTES // _MOST_KEPT)
        )
        self._lock = Lock()

    def get(self, condition: Filter) -> NDArray[np.bool_] | None:
        """Which products pass, (products,); None where that is not known."""
        with self._lock:
            return self._masks.get(condition)

    def keep(self, condition: Filter, mask: NDArray[np.bool_]) -> None:
        """Remember which products pass, if there is room for it."""
        with self._lock, contextlib.suppress(ValueError):
            self._masks[condition] = mask


class Facets:
    """Reads facet columns. Safe to use from many threads; postings stay in memory-mapped files."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        """How many products the snapshot has."""
        self._fields: dict[str, Field] = fields_of(Part(folder / TEXTS)) | fields_of(
            Part(folder / OFFERS)
        )
        self._vocabularies: dict[str, tuple[list[str], dict[str, set[int]]]] = {}  # when asked for
        self._laid_out: dict[str, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}  # likewise
        self._places: dict[str, NDArray[np.int32]] = {}  # likewise
        self.passing = Passing()
        """Which products pass the filters that were asked for last."""

    def field(self, name: str) -> str:
        """The column a filter's field name stands for; attributes may be named bare.

        Raises:
            FilterError: no product has such a field.
        """
        column = self._column(name)
        if column is not None:
            return column
        folded = comparable(name)
        names = {column.removeprefix(ATTRIBUTE_PREFIX) for column in self._fields}
        close = difflib.get_close_matches(folded, names, n=3) or sorted(names & set(FIELDS))
        raise FilterError(f"no product has a field {name!r}. Did you mean {', '.join(close)}?")

    def has(self, name: str) -> bool:
        """Whether `field` knows the name."""
        return self._column(name) is not None

    def _column(self, name: str) -> str | None:
        folded = comparable(name)
        for column in (folded, ATTRIBUTE_PREFIX + folded):
            if column in self._fields:
                return column
        return folded if folded in FIELDS else None  # known, though no product may carry it

    def holding(self, name: str, value: str | bool) -> NDArray[np.int32]:
        """Rows whose field holds this value: text without case, numbers as numbers.

        Raises:
            FilterError: unknown field, a field of numbers only asked for a text, or a text longer
                than `MAX_TERM_CHARS`.
        """
        column = self.field(name)
        text = _term(name, value)
        rows = self._postings(column, text)
        place = self._fields.get(column)
        if place is None or place.start == place.stop:
            return rows if len(rows) else self._postings(column, _FLAGS.get(text, text))
        number = _number(text, nearest=not place.terms)
        if number is not None:
            return np.concatenate([rows, self.within(name, number, number)])
        if not place.terms:
            raise FilterError(f"{name} holds numbers, not {value!r}. Give {name}=10..50")
        return rows

    def _postings(self, column: str, term: str) -> NDArray[np.int32]:
        """Rows whose column holds this term."""
        place = self._fields.get(column)
        if place is None:
            return _NO_ROWS
        found = place.part.directory.rows(
            "SELECT start, stop FROM term WHERE field = ? AND value = ?", (column, term)
        )
        return place.part.term_rows[slice(*found[0])] if found else _NO_ROWS

    def values_with(self, name: str, text: str) -> tuple[str, ...]:
        """The field's values, as the catalog writes them, in which every word of a text stands.

        None where the field has more than `MAX_VOCABULARY` values: then they are no names.
        """
        column, wanted = self.field(name), set(analyze(text))
        if column not in self._vocabularies:
            self._vocabularies[column] = self._vocabulary(column)
        values, holding = self._vocabularies[column]
        if not wanted or not wanted <= holding.keys():
            return ()
        fewest, *others = sorted((holding[word] for word in wanted), key=len)
        found = fewest.intersection(*others)
        return tuple(values[place] for place in sorted(found))

    def _vocabulary(self, column: str) -> tuple[list[str], dict[str, set[int]]]:
        """Every value of a column, and for each word the places of those it stands in."""
        place = self._fields.get(column)
        if place is None or place.terms > MAX_VOCABULARY:
            return [], {}
        found = place.part.directory.rows("SELECT display FROM term WHERE field = ?", (column,))
        values = [display for (display,) in found]
        holding: dict[str, set[int]] = {}
        for number, value in enumerate(values):
            for word in analyze(value):
                holding.setdefault(word, set()).add(number)
        return values, holding

    def within(self, name: str, low: float | None, high: float | None) -> NDArray[np.int32]:
        """Rows whose number lies within the bounds, both included.

        Raises:
            FilterError: unknown field, or one that holds no numbers.
        """
        column = self.field(name)
        place = self._fields.get(column)
        if place is None:
            return _NO_ROWS
        if place.start == place.stop:
            raise FilterError(f"{name} holds no numbers to compare. Give {name}=VALUE")
        numbers = place.part.numbers[place.start : place.stop]
        start = 0 if low is None else int(np.searchsorted(numbers, low, side="left"))
        stop = len(numbers) if high is None else int(np.searchsorted(numbers, high, side="right"))
        return place.part.number_rows[place.start + start : place.start + max(start, stop)]

    def entries(self, column: str, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The terms that rows have in a column: (n,) places in `rows`, and (n,) terms.

        A term is named by where its postings start: see `display`.
        """
        place = self._fields.get(column)
        if place is None:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        within = place.part.entry_rows[place.entries_start : place.entries_stop]
        places, found = _found(within, rows)
        return places, place.part.entry_starts[place.entries_start + found]

    def groups(self, rows: Rows) -> NDArray[np.int64]:
        """What product each row is a variant of, (n,): a row without a group is one alone."""
        keys = -1 - rows.astype(np.int64)
        places, groups = self.entries("group_id", rows)
        keys[places] = groups
        return keys

    def having(self, name: str, values: Iterable[str], rows: Rows) -> NDArray[np.bool_]:
        """Which of these rows have any of these texts in a field, (rows,): see `holding`.

        What it takes grows with the rows asked about, not with the catalog.

        Raises:
            FilterError: unknown field, or a text longer than `MAX_TERM_CHARS`.
        """
        column = self.field(name)
        having = np.zeros(len(rows), dtype=np.bool_)
        if place := self._fields.get(column):
            found = place.part.directory.rows_in(
                "SELECT start FROM term WHERE field = ? AND value IN (?)",
                {_term(name, value) for value in values},
                column,
            )
            places, starts = self.entries(column, rows)
            having[places[np.isin(starts, [start for (start,) in found])]] = True
        return having

    def display(self, column: str, start: int) -> str:
        """The term of a column whose postings start there, as the catalog writes it."""
        ((found,),) = self._fields[column].part.directory.rows(
            "SELECT display FROM term WHERE field = ? AND start = ?", (column, start)
        )
        return str(found)

    def numbers_of(self, column: str, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The numbers that rows have in a column, ascending, and the place in `rows` of each.

        What it takes grows with the rows asked about, not with the catalog.
        """
        place = self._fields.get(column)
        if place is None:
            return np.empty(0), np.empty(0, np.int64)
        within, numbered = self._number_entries(column, place)
        places, found = _found(within, rows)
        at = numbered[found]
        order = np.argsort(at, kind="stable")
        return place.part.numbers[place.start : place.stop][at[order]], places[order]

    def _number_entries(
        self, column: str, place: Field
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The rows of a column's numbers, ascending, and the places of those numbers."""
        held = slice(place.start, place.stop)
        if place.part.number_entries is not None:
            rows, places = place.part.number_entries
            return rows[held], places[held]
        if column not in self._laid_out:
            self._laid_out[column] = number_entries(place.part.number_rows[held])
        return self._laid_out[column]

    def numbers(self, name: str) -> NDArray[np.float32]:
        """The field's number of every product, NaN where it has none; shape (size,).

        Rounded, and no larger than a float of 32 bits may be: sort by `places`.
        """
        column = np.full(self.size, np.nan, dtype=np.float32)
        if place := self._fields.get(name):
            held = slice(place.start, place.stop)
            column[place.part.number_rows[held]] = place.part.numbers[held].clip(-_MOST, _MOST)
        return column

    def places(self, name: str) -> NDArray[np.int32]:
        """Each product's place by the field's number, equal numbers sharing one; shape (size,).

        Ascending from 0, and -1 where a product has no number. Laid out when first asked for and
        then kept, 4 bytes a product: half of what the numbers would take, and as exact.
        """
        if name not in self._places:
            column = np.full(self.size, -1, dtype=np.int32)
            if place := self._fields.get(name):
                held = slice(place.start, place.stop)
                numbers = place.part.numbers[held]
                places = np.zeros(len(numbers), dtype=np.int32)
                np.cumsum(numbers[1:] != numbers[:-1], dtype=np.int32, out=places[1:])
                column[place.part.number_rows[held]] = places
            self._places[name] = column
        return self._places[name]


def _found(within: NDArray[np.int32], rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where rows stand among ascending ones, perhaps more than once: (n,) places in both."""
    asked = rows.astype(within.dtype)  # of another type, NumPy would convert all that is held
    first = np.searchsorted(within, asked, side="left")
    many = np.searchsorted(within, asked, side="right") - first
    places = np.repeat(np.arange(len(rows)), many)
    offsets = np.arange(len(places)) - np.repeat(np.cumsum(many) - many, many)
    return places, np.repeat(first, many) + offsets


def _term(name: str, value: str | bool) -> str:
    """The term a filter value asks for.

    Raises:
        FilterError: the text is too long, or not valid Unicode.
    """
    text = comparable(value) if isinstance(value, str) else str(value).lower()
    if len(text) > MAX_TERM_CHARS:
        raise FilterError(f"{name}: texts over {MAX_TERM_CHARS} characters are no filter values")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise FilterError(f"{name}: {text!r} is not valid Unicode text. Write it in UTF-8")
    return text


def _number(text: str, *, nearest: bool) -> float | None:
    """The number a text spells, or None where it spells none that is finite.

    None as well of a whole number that no float holds, unless the `nearest` one will do: where a
    field holds texts, such numbers are among them.
    """
    try:
        number = float(text)
        exact = nearest or not _WHOLE.fullmatch(text) or int(text) == int(number)
    except (ValueError, OverflowError):
        return None
    return number if exact and math.isfinite(number) else None
