"""Makes facet columns: see `engine.retrieval.facet_columns`."""

from __future__ import annotations

import re
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

from engine.database import create
from engine.normal import comparable
from engine.retrieval.facet_columns import (
    ATTRIBUTE_PREFIX,
    DIRECTORY,
    EXACT_FLOAT,
    MAX_TERM_CHARS,
    NUMBER_ENTRY_PLACES,
    NUMBER_ENTRY_ROWS,
    Part,
    fields_of,
    number_entries,
)
from engine.types import AttributeValue, Product

_REMEMBERED = 100_000  # values of fields, about 200 bytes each

_SCHEMA = """
CREATE TABLE field (name TEXT PRIMARY KEY, start INTEGER, stop INTEGER, terms INTEGER,
                    entries_start INTEGER, entries_stop INTEGER);
CREATE TABLE term (field TEXT, value TEXT, display TEXT, start INTEGER, stop INTEGER,
                   PRIMARY KEY (field, value)) WITHOUT ROWID;
"""

_INSERT_TERM = "INSERT INTO term VALUES (?, ?, ?, ?, ?)"

_YEAR_OR_MONTH = re.compile(r"\d{4}(?:-\d\d)?", re.ASCII)
_MOMENT = re.compile(
    r"(?P<day>\d{4}-?\d\d-?\d\d)"
    r"(?:[T ](?P<time>[\d:.,]+) ?(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d){0,2})?)?",
    re.ASCII,
)


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
    if (created := moment(offer.get("created_at", ""))) is not None:
        yield "created_at", created.timestamp()


@lru_cache(maxsize=16_384)
def moment(written: str) -> datetime | None:
    """When a date in ISO 8601 is: a year or a month begins it; without a zone it is in UTC.

    A zone may stand apart or be UTC (`2026-05-12 11:36:24 +0200`). None of what is no date.
    """
    if _YEAR_OR_MONTH.fullmatch(written):
        written = f"{written}-01-01"[:10]
    found = _MOMENT.fullmatch(written)
    if found is None:
        return None
    zone = "Z" if found["zone"] in {None, "UTC", "GMT"} else found["zone"]
    try:
        return datetime.fromisoformat(f"{found['day']}T{found['time'] or '00'}{zone}")
    except ValueError:
        return None


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

    def in_row_order(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Rows of the entries, ascending, and what `codes` has for the code of each."""
        rows = np.frombuffer(self.term_rows, np.int32)
        order = np.argsort(rows, kind="stable")
        return rows[order], codes[np.frombuffer(self.term_codes, np.int32)[order]]

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
        part = Part(before)
        with closing(part.directory) as directory:
            terms = directory.rows("SELECT start, value, display FROM term ORDER BY start")
            fields = fields_of(part)
        starts = np.array([start for start, _, _ in terms], dtype=np.int64)
        entries, numbers = rows[part.entry_rows], rows[part.number_rows]
        codes = np.searchsorted(starts, part.entry_starts)
        values = np.asarray(part.numbers)
        for name, at in fields.items():
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
        """Write `fields.sqlite` (the directory) and the arrays its slices point into.

        Terms lie in the order of their names, whichever product came first: where counts are equal,
        facets list them so.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        directory = create(self._folder / DIRECTORY, _SCHEMA)
        term_rows: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        entry_rows: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        entry_starts: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        number_rows: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        numbers: list[NDArray[np.float64]] = [np.empty(0)]
        number_entry_rows: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        number_entry_places: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        term_start = number_start = 0
        fields, terms = list[tuple[object, ...]](), list[tuple[object, ...]]()
        for name, column in sorted(self._columns.items()):
            vocabulary = sorted(column.codes.items())
            places = np.empty(len(vocabulary), np.int32)
            places[[code for _, code in vocabulary]] = np.arange(len(vocabulary), dtype=np.int32)
            rows, codes = column.in_row_order(places)
            counts = np.bincount(codes, minlength=len(vocabulary))
            stops = term_start + np.cumsum(counts)
            terms += _terms(name, column, vocabulary, (stops - counts).tolist(), stops.tolist())
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
            by_row, numbered = number_entries(held[order])
            number_entry_rows.append(by_row)
            number_entry_places.append(numbered)
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
        np.save(self._folder / NUMBER_ENTRY_ROWS, np.concatenate(number_entry_rows))
        np.save(self._folder / NUMBER_ENTRY_PLACES, np.concatenate(number_entry_places))


def _terms(
    name: str,
    column: _Column,
    vocabulary: Sequence[tuple[str, int]],
    starts: Sequence[int],
    stops: Sequence[int],
) -> Iterator[tuple[object, ...]]:
    """The terms that any product has, and where each one's slice begins and ends.

    Args:
        name: of the column.
        column: it.
        vocabulary: its terms and their codes, by name.
        starts: where the slice of each begins.
        stops: where it ends.
    """
    for (term, code), start, stop in zip(vocabulary, starts, stops, strict=True):
        if start < stop:
            yield name, term, column.displays[code], start, stop
