"""Facet columns: for each field, which products hold which value.

A column is a list of postings sorted by value: the rows of one brand, or of one price range, are
one slice of a memory-mapped array. Text is compared case-folded; a category counts under each of
its levels and under each path ("Kitchen", "Kettles", "Kitchen > Kettles"). Numbers and text of one
field lie side by side, so that an attribute given as `9` here and `"9 W"` there loses neither.

The same lies there once more in the order of rows, to count what a result holds: an entry names
its term by where the term's postings start.

texts/    columns of what products say of themselves
offers/   columns of what the shop makes of them: see `engine.types.OFFER_FIELDS`
"""

from __future__ import annotations

import difflib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

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

TEXTS, OFFERS = "texts", "offers"

_REMEMBERED = 100_000  # values of fields, about 200 bytes each

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
"""


_NO_ROWS = np.empty(0, dtype=np.int32)
_INSERT_TERM = "INSERT INTO term VALUES (?, ?, ?, ?, ?)"


def category_terms(category: tuple[str, ...]) -> Iterator[str]:
    """Each level's name, and each path from the top: what a category can be chosen by."""
    for depth, name in enumerate(category, start=1):
        yield name
        if depth > 1:
            yield " > ".join(category[:depth])


def text_values(product: Product) -> Iterator[tuple[str, AttributeValue]]:
    """Every (field, value) of a product's texts that a filter may ask for."""
    for name in ("brand", "color", "group_id"):
        if text := getattr(product, name):
            yield name, text
    yield "category", list(category_terms(product.category))
    for name, value in product.attributes.items():
        yield _attribute_field(name), value


def offer_values(offer: Mapping[str, Any]) -> Iterator[tuple[str, AttributeValue]]:
    """Every (field, value) of an offer that a filter may ask for."""
    for name in ("currency", "price", "rating", "rating_count", "in_stock"):
        if (value := offer.get(name)) not in (None, ""):
            yield name, value
    if created := offer.get("created_at"):
        yield "created_at", datetime.fromisoformat(created).timestamp()


@lru_cache(maxsize=16_384)
def _attribute_field(name: str) -> str:
    return ATTRIBUTE_PREFIX + comparable(name)


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

    def take(
        self,
        terms: Sequence[tuple[int, str, str]],
        entries: tuple[NDArray[np.int32], NDArray[np.int32]],
        numbers: tuple[NDArray[np.int32], NDArray[np.float64]],
    ) -> None:
        """Entries of another column: its terms (start, value, display), and codes among them."""
        rows, theirs = entries
        if self.codes:
            codes = []
            for _, term, display in terms:
                code = self.codes.setdefault(term, len(self.displays))
                if code == len(self.displays):
                    self.displays.append(display)
                codes.append(code)
            theirs = np.array(codes, np.int32)[theirs]
        else:
            self.displays = [display for _, _, display in terms]
            self.codes = {term: code for code, (_, term, _) in enumerate(terms)}
        self.term_rows.frombytes(rows.tobytes())
        self.term_codes.frombytes(theirs.tobytes())
        self.number_rows.frombytes(numbers[0].tobytes())
        self.numbers.frombytes(numbers[1].tobytes())

    def in_row_order(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows and codes of the entries, by row."""
        rows = np.frombuffer(self.term_rows, np.int32)
        order = np.argsort(rows, kind="stable")
        return rows[order], np.frombuffer(self.term_codes, np.int32)[order]

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
    """Collects facet columns product by product and writes them to a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, _Column] = {}
        self._met: dict[tuple[str, str], tuple[_Column, int]] = {}  # where a value was noted

    def add(self, row: int, values: Iterable[tuple[str, AttributeValue]]) -> None:
        """Note the values that `text_values` or `offer_values` gives of a product."""
        for name, value in values:
            if type(value) is not str:
                self._column(name).add(row, value)
                continue
            met = self._met.get((name, value))
            if met is None:
                self._note(name, row, value)
            else:
                column, code = met
                column.term_rows.append(row)
                column.term_codes.append(code)

    def _column(self, name: str) -> _Column:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = _Column()
        return column

    def _note(self, name: str, row: int, value: str) -> None:
        """Note a text, and where: most come again."""
        column = self._column(name)
        noted = len(column.term_rows)
        column.add(row, value)
        if len(column.term_rows) > noted:
            if len(self._met) >= _REMEMBERED:
                self._met.clear()
            self._met[name, value] = column, column.term_codes[-1]

    def take(self, before: Path, rows: NDArray[np.int32]) -> None:
        """Note what other columns hold, at new rows: `rows` has each old row's, -1 for none."""
        part = _Part(before)
        with closing(part.directory) as directory:
            terms = directory.rows("SELECT start, value, display FROM term ORDER BY start")
            fields = directory.rows("SELECT * FROM field")
        starts = np.array([start for start, _, _ in terms], dtype=np.int64)
        entries, numbers = rows[part.entry_rows], rows[part.number_rows]
        codes = np.searchsorted(starts, part.entry_starts)
        values = np.asarray(part.numbers)
        for name, *place in fields:
            at = _Field(part, *place)
            first = int(np.searchsorted(starts, at.entries_start))
            moved = entries[at.entries_start : at.entries_stop]
            held = numbers[at.start : at.stop]
            own = codes[at.entries_start : at.entries_stop][moved >= 0] - first
            self._column(name).take(
                terms[first : first + at.terms],
                (moved[moved >= 0], own.astype(np.int32)),
                (held[held >= 0], values[at.start : at.stop][held >= 0]),
            )

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
        fields, terms = list[tuple[object, ...]](), list[tuple[object, ...]]()
        for name, column in sorted(self._columns.items()):
            rows, codes = column.in_row_order()
            counts = np.bincount(codes, minlength=len(column.displays))
            stops = term_start + np.cumsum(counts)
            terms += _terms(name, column, stops - counts, stops)
            if len(terms) >= _REMEMBERED:
                directory.executemany(_INSERT_TERM, terms)
                terms.clear()
            term_rows.append(rows[np.argsort(codes, kind="stable")])
            entry_rows.append(rows)
            entry_starts.append((stops - counts)[codes].astype(np.int32))
            values = np.frombuffer(column.numbers)
            held = np.frombuffer(column.number_rows, np.int32)
            order = np.lexsort((held, values))
            numbers.append(values[order])
            number_rows.append(held[order])
            number_stop, term_stop = number_start + len(order), term_start + len(rows)
            if number_stop > number_start or term_stop > term_start:
                written = int(np.count_nonzero(counts))
                fields.append((name, number_start, number_stop, written, term_start, term_stop))
            term_start, number_start = term_stop, number_stop
        directory.executemany("INSERT INTO field VALUES (?, ?, ?, ?, ?, ?)", fields)
        directory.executemany(_INSERT_TERM, terms)
        directory.execute("CREATE UNIQUE INDEX term_start ON term (field, start)")
        directory.execute("COMMIT")
        directory.close()
        np.save(self._folder / "term_rows.npy", np.concatenate(term_rows))
        np.save(self._folder / "entry_rows.npy", np.concatenate(entry_rows))
        np.save(self._folder / "entry_starts.npy", np.concatenate(entry_starts))
        np.save(self._folder / "number_rows.npy", np.concatenate(number_rows))
        np.save(self._folder / "numbers.npy", np.concatenate(numbers))


def _terms(
    name: str, column: _Column, starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> Iterator[tuple[object, ...]]:
    """The column's terms that any product has: where each one's slice begins and ends, by code."""
    begin, end, displays = starts.tolist(), stops.tolist(), column.displays
    for term, code in sorted(column.codes.items()):
        if begin[code] < end[code]:
            yield name, term, displays[code], begin[code], end[code]


class _Part:
    """The files of some columns."""

    def __init__(self, folder: Path) -> None:
        self.directory = ReadOnlyDatabase(folder / "fields.sqlite")
        self.term_rows = open_array(folder / "term_rows.npy", np.int32)
        self.numbers = open_array(folder / "numbers.npy", np.float64)
        terms, numbers = len(self.term_rows), len(self.numbers)
        self.number_rows = open_array(folder / "number_rows.npy", np.int32, rows=numbers)
        self.entry_rows = open_array(folder / "entry_rows.npy", np.int32, rows=terms)
        self.entry_starts = open_array(folder / "entry_starts.npy", np.int32, rows=terms)


@dataclass(frozen=True, slots=True)
class _Field:
    """Where a field's numbers and its entries lie, and how many terms it has."""

    part: _Part
    start: int
    stop: int
    terms: int
    entries_start: int
    entries_stop: int


class Facets:
    """Reads facet columns. Safe to use from many threads; postings stay in memory-mapped files."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        """How many products the snapshot has."""
        self._fields: dict[str, _Field] = {
            name: _Field(part, *place)
            for part in (_Part(folder / TEXTS), _Part(folder / OFFERS))
            for name, *place in part.directory.rows("SELECT * FROM field")
        }
        self._vocabularies: dict[str, tuple[list[str], dict[str, set[int]]]] = {}  # when asked for

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
        first = np.searchsorted(within, rows, side="left")
        many = np.searchsorted(within, rows, side="right") - first
        places = np.repeat(np.arange(len(rows)), many)
        offsets = np.arange(len(places)) - np.repeat(np.cumsum(many) - many, many)
        found = place.entries_start + np.repeat(first, many) + offsets
        return places, place.part.entry_starts[found]

    def display(self, column: str, start: int) -> str:
        """The term of a column whose postings start there, as the catalog writes it."""
        ((found,),) = self._fields[column].part.directory.rows(
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
        rows = place.part.number_rows[place.start : place.stop]
        kept = np.flatnonzero(among[rows])
        return place.part.numbers[place.start : place.stop][kept], rows[kept]

    def numbers(self, name: str) -> NDArray[np.float32]:
        """The field's number of every product, NaN where it has none; shape (size,)."""
        column = np.full(self.size, np.nan, dtype=np.float32)
        if place := self._fields.get(name):
            held = slice(place.start, place.stop)
            column[place.part.number_rows[held]] = place.part.numbers[held]
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
