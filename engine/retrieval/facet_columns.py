"""Facet columns: for each field, which products hold which value.

A column is a list of postings sorted by value: the rows of one brand, or of one price range, are
one slice of a memory-mapped array. Text is compared case-folded; a category counts under each of
its levels and under each path ("Kitchen", "Kettles", "Kitchen > Kettles"). Numbers and text of one
field lie side by side, so that an attribute given as `9` here and `"9 W"` there loses neither.

The same lies there once more in the order of rows, to count what a result holds: an entry names
its term by where the term's postings start, and its number by its place among the field's.

texts/    columns of what products say of themselves
offers/   columns of what the shop makes of them: see `engine.types.OFFER_FIELDS`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.database import ReadOnlyDatabase

TEXTS, OFFERS = "texts", "offers"

DIRECTORY = "fields.sqlite"
"""Where each field's slices of the arrays begin and end, and each term's."""

NUMBER_ENTRY_ROWS, NUMBER_ENTRY_PLACES = "number_entry_rows.npy", "number_entry_places.npy"

MAX_TERM_CHARS = 200
"""Longer texts are prose, not facets: they cannot be filtered by."""

EXACT_FLOAT = 2**53
"""Beyond it neighbouring integers share one float: such numbers are compared as texts."""

ATTRIBUTE_PREFIX = "attributes."


class Part:
    """The files of some columns."""

    def __init__(self, folder: Path) -> None:
        """Open them.

        Raises:
            SnapshotDamagedError: a file is missing, or they do not fit together.
        """
        self.directory = ReadOnlyDatabase(folder / DIRECTORY)
        self.term_rows = open_array(folder / "term_rows.npy", np.int32)
        self.numbers = open_array(folder / "numbers.npy", np.float64)
        terms, numbers = len(self.term_rows), len(self.numbers)
        self.number_rows = open_array(folder / "number_rows.npy", np.int32, rows=numbers)
        self.entry_rows = open_array(folder / "entry_rows.npy", np.int32, rows=terms)
        self.entry_starts = open_array(folder / "entry_starts.npy", np.int32, rows=terms)
        self.number_entries: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None
        """Rows of the fields' numbers, each field's ascending, and their places in it. None in
        snapshots that were made before these were written."""
        if (folder / NUMBER_ENTRY_ROWS).exists():
            self.number_entries = (
                open_array(folder / NUMBER_ENTRY_ROWS, np.int32, rows=numbers),
                open_array(folder / NUMBER_ENTRY_PLACES, np.int32, rows=numbers),
            )


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field's numbers and its entries lie, and how many terms it has."""

    part: Part
    start: int
    stop: int
    terms: int
    entries_start: int
    entries_stop: int


def number_entries(rows: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The rows of a field's numbers in ascending order, and the place of each among them."""
    places = np.argsort(rows, kind="stable").astype(np.int32)
    return rows[places], places


def fields_of(part: Part) -> dict[str, Field]:
    """Where each field of some columns lies, by its name."""
    rows = part.directory.rows("SELECT * FROM field")
    return {name: Field(part, *place) for name, *place in rows}
