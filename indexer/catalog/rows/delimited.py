"""CSV and TSV, after RFC 4180: one bad row never costs the rows after it."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.errors import CatalogError
from indexer.catalog.rejects import Reason, RowFault
from indexer.catalog.rows.files import MAX_LINE_BYTES, open_text, read_lines
from indexer.catalog.rows.table import Row, Table

NULLS = frozenset({"", "nan", "NaN", "None", "null", "NULL", "NaT", "<NA>", "N/A", "n/a", "#N/A"})
"""How pandas, SQL and spreadsheets write that there is nothing."""

_UTF8_CURE = "save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"


def read_delimited(path: Path, delimiter: str | None = None) -> Table:
    """The table of a CSV or TSV file; the delimiter is told from the header where None.

    Raises:
        CatalogError: there is no usable header.
    """
    reader = _Reader(path, open_text(path))
    try:
        columns = reader.header(delimiter)
    except BaseException:
        reader.close()
        raise
    return Table(columns=columns, rows=reader.rows(columns), typed=False, close=reader.close)


class _Lines:
    """The lines of a file as text; those of a row that could not be read can be given back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = read_lines(stream)
        self._again: deque[bytes | None] = deque()
        self._row: list[bytes | None] = []
        self.number = 0
        """Of the last line given out."""
        self.undecodable = False
        self.too_long = False

    def begin_row(self) -> None:
        """The next line starts a row."""
        self._row.clear()
        self.undecodable = self.too_long = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.number += 1
        self._row.append(line)
        if line is None:
            self.too_long = True
            return "\n"  # ends an unquoted row; inside quotes the row is rejected when it ends
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.undecodable = True
            return line.decode("utf-8", "surrogateescape")

    def retry_after_first(self) -> str:
        """The first line of the row; the lines behind it are read once more."""
        first, *rest = self._row
        self._again.extendleft(reversed(rest))
        self.number -= len(rest)
        return (first or b"").decode("utf-8", "surrogateescape")


class _Reader:
    """Rows of a delimited file."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._path = path
        self._stream = stream
        self._lines = _Lines(stream)
        self._delimiter = ","

    def close(self) -> None:
        self._stream.close()

    def header(self, delimiter: str | None) -> tuple[str, ...]:
        """The names of the columns; decides the delimiter."""
        line = next((line for line in self._lines if line.strip()), "").removeprefix("\ufeff")
        if not line:
            raise CatalogError(f"{self._path} is empty. Its first line must name the columns")
        if self._lines.undecodable or self._lines.too_long:
            raise CatalogError(f"{self._path}: the header line is not UTF-8 text: {_UTF8_CURE}")
        if "\r" in line.rstrip("\r\n"):
            raise CatalogError(
                f"{self._path} has old Mac line ends. Convert them: tr '\\r' '\\n' < FILE > NEW"
            )
        self._delimiter = delimiter or _likely_delimiter(line)
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
                detail = f"a line has more than {MAX_LINE_BYTES:,} bytes"
                yield Row(number, fault=RowFault(Reason.LINE_TOO_LONG, detail))
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
        """A row that breaks the quoting rules: only its first line is given up.

        A quote that is never closed would swallow the rows behind it. In a tab-separated line that
        has the right number of cells without quoting, the quotes are text (12" in an export).
        """
        too_long = self._lines.too_long
        line = self._lines.retry_after_first().rstrip("\r\n")
        cells = line.split("\t")
        if self._delimiter == "\t" and len(cells) == len(columns) and not too_long:
            return self._row(number, columns, cells)
        if "field limit" in error:
            return Row(number, fault=RowFault(Reason.OVER_LONG, error))
        detail = f"{error}: a quote inside a quoted cell is written twice"
        return Row(number, fault=RowFault(Reason.MALFORMED_CSV, detail))


def _likely_delimiter(header: str) -> str:
    """The delimiter that the header line uses most, quoted names aside; the comma otherwise."""
    outside = "".join(header.split('"')[::2])
    return max(",;\t", key=outside.count)


def _encoding_fault(values: dict[str, str]) -> RowFault:
    """Which cell of an undecodable row is to blame."""
    for name, cell in values.items():
        if not cell.isascii() and any("\udc80" <= char <= "\udcff" for char in cell):
            shown = cell.encode("utf-8", "backslashreplace").decode("utf-8")[:80]
            return RowFault(Reason.BAD_ENCODING, f"{shown!r} is not UTF-8: {_UTF8_CURE}", name)
    return RowFault(Reason.BAD_ENCODING, f"not UTF-8: {_UTF8_CURE}")
