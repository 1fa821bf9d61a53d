"""CSV and TSV, after RFC 4180: one bad row never costs the rows after it.

Quotes are believed where they close: a cell over many lines that is too long is one bad row, not as
many rows as it has lines. Whether they do is told by a second look at the file, far ahead if need
be, since the lines in between may be too many to be held.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.errors import CatalogError
from indexer.catalog.rejects import Reason, RowFault
from indexer.catalog.rows.files import MAX_LINE_BYTES, open_text
from indexer.catalog.rows.quotes import Line, LongLine, Place, after, read_lines
from indexer.catalog.rows.table import Row, Table

NULLS = frozenset({"", "nan", "NaN", "None", "null", "NULL", "NaT", "<NA>", "N/A", "n/a", "#N/A"})
"""How pandas, SQL and spreadsheets write that there is nothing."""

_SAID = re.compile(r'"?sep=([,;|\t:^~])"?', re.IGNORECASE)
"""The line before the header by which Excel is told what parts the cells."""
_UTF8_CURE = "save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"


def read_delimited(path: Path, delimiter: str | None = None) -> Table:
    """The table of a CSV or TSV file; the delimiter is told from the header where None.

    A first line like `sep=;` goes before either.

    Raises:
        CatalogError: there is no usable header.
    """
    reader = _Reader(path)
    try:
        columns = reader.header(delimiter)
    except BaseException:
        reader.close()
        raise
    return Table(columns=columns, rows=reader.rows(columns), typed=False, close=reader.close)


class _Lines:
    """The lines of a file as text; those of a row that could not be read can be given back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream = open_text(path)
        self._lines = read_lines(self._stream, b",")
        self._again: deque[Line] = deque()
        self._row: list[Line] = []
        self._ahead: _Ahead | None = None
        self._delimiter = b","
        self.number = 0
        """Of the last line given out."""
        self.undecodable = False
        self.too_long = False

    def close(self) -> None:
        self._stream.close()
        if self._ahead is not None:
            self._ahead.close()

    def part_by(self, delimiter: str) -> None:
        """Name what parts the cells."""
        self._delimiter = delimiter.encode()
        self._lines = read_lines(self._stream, self._delimiter)

    def begin_row(self) -> None:
        """The next line starts a row."""
        self._row.clear()
        self.undecodable = self.too_long = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        begins_row = not self._row
        line = self._next()
        self._row.append(line)
        if isinstance(line, LongLine):
            self.too_long = True
            return line.stand_in(begins_row=begins_row)  # the row is rejected when it ends
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.undecodable = True
            return line.decode("utf-8", "surrogateescape")

    def _next(self) -> Line:
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        return line

    def finish_row(self) -> bool:
        """Pass over what is left of a row of many lines.

        Returns:
            False, nothing read, where it is one line, or its quotes never close.
        """
        place = Place.CELL
        for line in self._row:
            place = after(line, place, self._delimiter)
        if place is Place.QUOTED:
            end = self._end_of_row()
            while end is not None and self.number < end:
                self._next()
            return end is not None
        return place is not Place.BROKEN and len(self._row) > 1

    def _end_of_row(self) -> int | None:
        """The last line of the row, whose quotes are open so far; None where they never close."""
        if not self._path.is_file():  # a pipe is read but once
            return None
        if self._ahead is None:
            self._ahead = _Ahead(open_text(self._path), self._delimiter)
        return self._ahead.end_of_row(self.number - len(self._row) + 1, self.number)

    def retry_after_first(self) -> str:
        """The first line of the row, "" if too long; the lines behind it are read once more."""
        first, *rest = self._row
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)
        return "" if isinstance(first, LongLine) else first.decode("utf-8", "surrogateescape")


class _Ahead:
    """A second look at a file, from one place to the next: no line is read twice."""

    def __init__(self, stream: BinaryIO, delimiter: bytes) -> None:
        self._stream = stream
        self._delimiter = delimiter
        self._number = 0  # of the last line read
        self._looked: tuple[int, int | None] = 0, None  # the row last asked for, and its answer

    def close(self) -> None:
        self._stream.close()

    def end_of_row(self, first: int, last: int) -> int | None:
        """The last line of a row, as far as its quotes tell; None where they never close.

        Args:
            first: the row's first line.
            last: a line of it that ends within quotes.
        """
        looked, end = self._looked
        if looked <= last < self._number:  # within quotes of that row too: they close together
            return end
        place = Place.QUOTED
        for line in read_lines(self._stream, self._delimiter):
            self._number += 1
            if self._number <= last:
                continue
            place = after(line, Place.QUOTED, self._delimiter)
            if place is not Place.QUOTED:
                break
        closed = place not in {Place.QUOTED, Place.BROKEN}
        self._looked = first, self._number if closed else None
        return self._looked[1]


class _Reader:
    """Rows of a delimited file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = _Lines(path)
        self._delimiter = ","

    def close(self) -> None:
        self._lines.close()

    def header(self, delimiter: str | None) -> tuple[str, ...]:
        """The names of the columns; decides the delimiter."""
        line = self._next_line().removeprefix("\ufeff")
        if said := _SAID.fullmatch(line.rstrip("\r\n")):
            delimiter = said[1]
            line = self._next_line()
        if not line:
            raise CatalogError(f"{self._path} is empty. Its first line must name the columns")
        if self._lines.undecodable or self._lines.too_long:
            raise CatalogError(f"{self._path}: the header line is not UTF-8 text: {_UTF8_CURE}")
        if "\r" in line.rstrip("\r\n"):
            raise CatalogError(
                f"{self._path} has old Mac line ends. Convert them: tr '\\r' '\\n' < FILE > NEW"
            )
        self._delimiter = delimiter or _likely_delimiter(line)
        self._lines.part_by(self._delimiter)
        try:
            names = next(csv.reader([line], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            raise CatalogError(
                f"{self._path}: the header line cannot be read ({error}). Check its quotes"
            ) from error
        columns = tuple(name.strip() for name in names)
        twice = sorted({name for name in columns if name and columns.count(name) > 1})
        if twice:
            raise CatalogError(
                f"{self._path} has two columns named {twice[0]!r}. Rename one of them"
            )
        return columns

    def _next_line(self) -> str:
        """The next line that is not blank; empty at the end."""
        return next((line for line in self._lines if line.strip()), "")

    def rows(self, columns: tuple[str, ...]) -> Iterator[Row]:
        """Every row that is not blank."""
        lines = self._lines
        parser = csv.reader(lines, delimiter=self._delimiter, strict=True)
        while True:
            lines.begin_row()
            number = lines.number + 1
            try:
                cells = next(parser)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._mended(number, columns, str(error))
                continue
            if lines.too_long:
                yield _line_too_long(number)
            elif cells:
                yield self._row(number, columns, cells)

    def _row(self, number: int, columns: tuple[str, ...], cells: list[str]) -> Row:
        if len(cells) != len(columns):
            detail = f"{len(cells)} cells under {len(columns)} columns"
            return Row(number, fault=RowFault(Reason.COLUMN_COUNT, detail))
        values = {
            name: cell
            for name, cell in zip(columns, cells, strict=True)
            if name and cell not in NULLS
        }
        fault = _encoding_fault(values) if self._lines.undecodable else None
        return Row(number, values, fault)

    def _mended(self, number: int, columns: tuple[str, ...], error: str) -> Row:
        """A row that cannot be read: of one that breaks the quoting rules only its first line goes.

        A quote that is never closed would swallow the rows behind it. In a tab-separated line that
        has the right number of cells without quoting, the quotes are text (12" in an export).
        """
        too_long, over_long = self._lines.too_long, "field limit" in error
        over = RowFault(Reason.OVER_LONG, f"a cell has over {csv.field_size_limit():,} characters")
        if over_long and self._lines.finish_row():
            return Row(number, fault=over)
        line = self._lines.retry_after_first().rstrip("\r\n")
        cells = line.split("\t")
        if self._delimiter == "\t" and len(cells) == len(columns) and not too_long:
            return self._row(number, columns, cells)
        if too_long and not line:
            return _line_too_long(number)
        if len(line) > csv.field_size_limit():
            return Row(number, fault=over)
        error = "its quotes never close" if over_long else error
        detail = f"{error}: a quote inside a quoted cell is written twice"
        return Row(number, fault=RowFault(Reason.MALFORMED_CSV, detail))


def _line_too_long(number: int) -> Row:
    detail = f"a line has more than {MAX_LINE_BYTES:,} bytes"
    return Row(number, fault=RowFault(Reason.LINE_TOO_LONG, detail))


def _likely_delimiter(header: str) -> str:
    """The delimiter that the header line uses most, quoted names aside; the comma otherwise.

    A bar parts only what nothing else does: it may stand in a name (`Size|Fit`).
    """
    outside = "".join(header.split('"')[::2])
    likely = max(",;\t", key=outside.count)
    return likely if likely in outside or "|" not in outside else "|"


def _encoding_fault(values: dict[str, str]) -> RowFault:
    """Which cell of an undecodable row is to blame."""
    for name, cell in values.items():
        if not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell):
            shown = cell.encode("utf-8", "backslashreplace").decode("utf-8")[:80]
            return RowFault(Reason.BAD_ENCODING, f"{shown!r} is not UTF-8: {_UTF8_CURE}", name)
    return RowFault(Reason.BAD_ENCODING, f"not UTF-8: {_UTF8_CURE}")
