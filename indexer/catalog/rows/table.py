"""What every file format is read as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from indexer.catalog.rejects import RowFault


@dataclass(frozen=True, slots=True)
class Row:
    """One row as its file holds it: a value a column, absent ones left out or None."""

    number: int
    """From 1. Text files: the line where the row starts, as an editor shows it (the header of a CSV
    file is line 1). Parquet: the place among the file's rows."""
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: RowFault | None = None
    """Why the row could not be read; `values` is empty or partial then."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file, in order, read as they are asked for."""

    columns: tuple[str, ...]
    """Every column; of JSON Lines, those of the first rows."""
    rows: Iterator[Row]
    typed: bool
    """False where all values are text, and numbers must be told from it (CSV, TSV)."""
    fixed: bool = True
    """False where later rows may bring more columns (JSON Lines)."""
    cure: str = ""
    """What to do if no column is the id or the title; empty where nothing is known."""
    close: Callable[[], None] = lambda: None
    """Closes the file, read to its end or not."""
