"""Facet columns: for each field, which products hold which value.

A column is a list of postings sorted by value: the rows of one brand, or of one price range, are
one slice of a memory-mapped array. Text is compared case-folded; a category counts under each of
its levels and under each path ("Kitchen", "Kettles", "Kitchen > Kettles"). Numbers and text of one
field lie side by side, so that an attribute given as `9` here and `"9 W"` there loses neither.

The same lies there once more in the order of rows, to count what a result holds: an entry names
its term by where the term's postings start.
"""

from __future__ import annotations

import difflib
import sqlite3
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.analysis import analyze
from engine.arrays import open_array
from engine.database import ReadOnlyDatabase, create
from engine.errors import FilterError
from engine.normal import comparable
from engine.types import AttributeValue, Product, Rows

MAX_TERM_CHARS = 200
"""Longer texts are prose, not facets: they cannot be filtered by."""

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

ATTRIBUTE_PREFIX = "attributes."

EXACT_FLOAT = 2**53
"""Beyond it neighbouring integers share one float: such numbers are compared as texts."""

_FLAGS = {"yes": "true", "y": "true", "1": "true", "no": "false", "n": "false", "0": "false"}
"""Ways to say true and false, where the field holds no such text of its own."""

_SCHEMA = """
CREATE TABLE field (name TEXT PRIMARY KEY, start INTEGER, stop INTEGER, terms INTEGER,
                    entries_start INTEGER, entries_stop INTEGER);
CREATE TABLE term (field TEXT, value TEXT, display TEXT, start INTEGER, stop INTEGER,
                   PRIMARY KEY (field, value)) WITHOUT ROWID;
CREATE UNIQUE INDEX term_start ON term (field, start);
"""


def category_terms(category: tuple[str, ...]) -> Iterator[str]:
    """Each level's name, and each path from the top: what a category can be chosen by."""
    for depth, name in enumerate(category, start=1):
        yield name
        if depth > 1:
            yield " > ".join(category[:depth])


def facet_values(product: Product) -> Iterator[tuple[str, AttributeValue]]:
    """Every (field, value) a filter may ask for."""
    for name in ("brand", "color", "currency", "group_id"):
        if text := getattr(product, name):
            yield name, text
    for name in ("price", "rating", "rating_count", "in_stock"):
        if (value := getattr(product, name)) is not None:
            yield name, value
    if product.created_at:
        yield "created_at", datetime.fromisoformat(product.created_at).timestamp()
    yield "category", list(category_terms(product.category))
    for name, value in product.attributes.items():
        yield ATTRIBUTE_PREFIX + comparable(name), value


@dataclass(slots=True)
class _Column:
    """Postings of one field while it is being built: 8 bytes an entry, 12 where it is a number.

    The vocabulary comes on top, about 200 bytes a distinct text.
    """

    codes: dict[str, int] = field(default_factory=dict)
    displays: list[str] = field(default_factory=list)
    term_rows: array[int] = field(default_factory=lambda: array("i"))
    term_codes: array[int] = field(default_factory=lambda: array("i"))
    number_rows: array[int] = field(default_factory=lambda: array("i"))
    numbers: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: int, value: AttributeValue) -> None:
        match value:
            case list():
                for item in {comparable(item): item for item in value}.values():
                    self._add_term(row, item)
            case bool():
                self._add_term(row, "true" if value else "false")
            case str():
                self._add_term(row, value)
            case int() if abs(value) > EXACT_FLOAT:
                self._add_term(row, str(value))
            case _:
                self.number_rows.append(row)
                self.numbers.append(float(value))

    def _add_term(self, row: int, text: str) -> None:
        term = comparable(text)
        if not term or len(term) > MAX_TERM_CHARS:
            return
        code = self.codes.setdefault(term, len(self.displays))
        if code == len(self.displays):
            self.displays.append(text)
        self.term_rows.append(row)
        self.term_codes.append(code)


class FacetBuilder:
    """Collects facet columns product by product, in row order, and writes them to a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, _Column] = {}

    def add(self, row: int, product: Product) -> None:
        """Note every value of the product."""
        for name, value in facet_values(product):
            self._columns.setdefault(name, _Column()).add(row, value)

    def finish(self) -> None:
        """Write `fields.sqlite` (the directory) and the arrays its slices point into."""
        self._folder.mkdir(parents=True, exist_ok=True)
        directory = create(self._folder / "fields.sqlite", _SCHEMA)
        term_rows: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        entry_rows: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        entry_starts: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        number_rows: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        numbers: list[NDArray[np.float64]] = [np.empty(0)]
        term_start = number_start = 0
        for name, column in sorted(self._columns.items()):
            rows, counts = _by_term(column)
            starts = _write_terms(directory, name, column, counts, term_start)
            term_rows.append(rows)
            entry_rows.append(np.frombuffer(column.term_rows, np.int32))
            entry_starts.append(starts[np.frombuffer(column.term_codes, np.int32)])
            order = np.argsort(np.frombuffer(column.numbers), kind="stable")
            numbers.append(np.frombuffer(column.numbers)[order])
            number_rows.append(np.frombuffer(column.number_rows, np.int32)[order])
            number_stop = number_start + len(order)
            directory.execute(
                "INSERT INTO field VALUES (?, ?, ?, ?, ?, ?)",
                (
                    name, number_start, number_stop, len(column.displays),
                    term_start, term_start + len(rows),
                ),
            )  # fmt: skip
            term_start, number_start = term_start + len(rows), number_stop
        directory.execute("COMMIT")
        directory.close()
        np.save(self._folder / "term_rows.npy", np.concatenate(term_rows))
        np.save(self._folder / "entry_rows.npy", np.concatenate(entry_rows))
        np.save(self._folder / "entry_starts.npy", np.concatenate(entry_starts))
        np.save(self._folder / "number_rows.npy", np.concatenate(number_rows))
        np.save(self._folder / "numbers.npy", np.concatenate(numbers))


def _by_term(column: _Column) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The column's rows grouped by term code, and how many each code has."""
    codes = np.frombuffer(column.term_codes, dtype=np.int32)
    rows = np.frombuffer(column.term_rows, dtype=np.int32)
    return rows[np.argsort(codes, kind="stable")], np.bincount(
        codes, minlength=len(column.displays)
    )


def _write_terms(
    directory: sqlite3.Connection, name: str, column: _Column, counts: NDArray[np.int64], start: int
) -> NDArray[np.int32]:
    """Write where each term's slice of `term_rows` begins and ends; where each begins, by code."""
    stops = start + np.cumsum(counts)
    directory.executemany(
        "INSERT INTO term VALUES (?, ?, ?, ?, ?)",
        (
            (name, term, column.displays[code], int(stops[code] - counts[code]), int(stops[code]))
            for term, code in sorted(column.codes.items())
        ),
    )
    return (stops - counts).astype(np.int32)


@dataclass(frozen=True, slots=True)
class _Field:
    """Where a field's numbers and its entries lie, and how many terms it has."""

    start: int
    stop: int
    terms: int
    entries_start: int = 0
    entries_stop: int = 0


class Facets:
    """Reads facet columns. Safe to use from many threads; postings stay in memory-mapped files."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        """How many products the snapshot has."""
        self._directory = ReadOnlyDatabase(folder / "fields.sqlite")
        self._fields: dict[str, _Field] = {
            name: _Field(*place) for name, *place in self._directory.rows("SELECT * FROM field")
        }
        self._vocabularies: dict[str, tuple[list[str], dict[str, set[int]]]] = {}  # when asked for
        self._term_rows = open_array(folder / "term_rows.npy", np.int32)
        self._number_rows = open_array(folder / "number_rows.npy", np.int32)
        self._numbers = open_array(folder / "numbers.npy", np.float64)
        self.counts = (folder / "entry_rows.npy").is_file()
        """Whether what a result holds can be counted: not in a snapshot of daogou 0.1.0 or before.
        """
        if self.counts:
            self._entry_rows = open_array(folder / "entry_rows.npy", np.int32)
            self._entry_starts = open_array(folder / "entry_starts.npy", np.int32)

    def field(self, name: str) -> str:
        """The column a filter's field name stands for; attributes may be named bare.

        Raises:
            FilterError: no product has such a field.
        """
        folded = comparable(name)
        for column in (folded, ATTRIBUTE_PREFIX + folded):
            if column in self._fields:
                return column
        if folded in FIELDS:
            return folded  # known, but no product of this catalog carries it
        names = {column.removeprefix(ATTRIBUTE_PREFIX) for column in self._fields}
        close = difflib.get_close_matches(folded, names, n=3) or sorted(names & set(FIELDS))
        raise FilterError(f"no product has a field {name!r}. Did you mean {', '.join(close)}?")

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
        number = _number(text)
        if number is not None:
            return np.concatenate([rows, self.within(name, number, number)])
        if not place.terms:
            raise FilterError(f"{name} holds numbers, not {value!r}. Give {name}=10..50")
        return rows

    def _postings(self, column: str, term: str) -> NDArray[np.int32]:
        """Rows whose column holds this term."""
        found = self._directory.rows(
            "SELECT start, stop FROM term WHERE field = ? AND value = ?", (column, term)
        )
        return self._term_rows[slice(*found[0])] if found else self._term_rows[:0]

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
        found = self._directory.rows("SELECT display FROM term WHERE field = ?", (column,))
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
            return self._number_rows[:0]
        if place.start == place.stop:
            raise FilterError(f"{name} holds no numbers to compare. Give {name}=VALUE")
        numbers = self._numbers[place.start : place.stop]
        start = 0 if low is None else int(np.searchsorted(numbers, low, side="left"))
        stop = len(numbers) if high is None else int(np.searchsorted(numbers, high, side="right"))
        return self._number_rows[place.start + start : place.start + max(start, stop)]

    def entries(self, column: str, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The terms that rows have in a column: (n,) places in `rows`, and (n,) terms.

        A term is named by where its postings start: see `display`.
        """
        place = self._fields.get(column)
        if place is None or not self.counts:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        within = self._entry_rows[place.entries_start : place.entries_stop]
        first = np.searchsorted(within, rows, side="left")
        many = np.searchsorted(within, rows, side="right") - first
        places = np.repeat(np.arange(len(rows)), many)
        offsets = np.arange(len(places)) - np.repeat(np.cumsum(many) - many, many)
        found = place.entries_start + np.repeat(first, many) + offsets
        return places, self._entry_starts[found]

    def display(self, column: str, start: int) -> str:
        """The term of a column whose postings start there, as the catalog writes it."""
        ((found,),) = self._directory.rows(
            "SELECT display FROM term WHERE field = ? AND start = ?", (column, start)
        )
        return str(found)

    def numbers_among(
        self, column: str, among: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """The column's numbers, ascending, of the rows in a mask (size,), and those rows."""
        place = self._fields.get(column)
        if place is None:
            return np.empty(0), np.empty(0, np.int32)
        rows = self._number_rows[place.start : place.stop]
        kept = np.flatnonzero(among[rows])
        return self._numbers[place.start : place.stop][kept], rows[kept]

    def numbers(self, name: str) -> NDArray[np.float32]:
        """The field's number of every product, NaN where it has none; shape (size,)."""
        column = np.full(self.size, np.nan, dtype=np.float32)
        if place := self._fields.get(name):
            held = slice(place.start, place.stop)
            column[self._number_rows[held]] = self._numbers[held]
        return column


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


def _number(text: str) -> float | None:
    """The number a text spells, or None where a float cannot hold it exactly enough to compare."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) <= EXACT_FLOAT else None
