"""Where a row of a CSV file ends, told by its quotes alone: nothing of it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import BinaryIO, NamedTuple

from indexer.catalog.rows.files import MAX_LINE_BYTES

_QUOTED_TEXT = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


class Place(Enum):
    """Between two bytes of a row."""

    CELL = auto()
    """Where a cell begins."""
    PLAIN = auto()
    """In a cell without quotes, or behind the row's end."""
    QUOTED = auto()
    """In a quoted cell: at the end of a line, the row goes on."""
    QUOTE = auto()
    """Behind a quote in a quoted cell: it ends the cell, or is the first of two."""
    BROKEN = auto()
    """Behind what breaks the rules of quoting."""


class LongLine(NamedTuple):
    """Of a line that is too long to be held: where one is at its end, by where one was before."""

    from_cell: Place
    from_quoted: Place

    def stand_in(self, *, begins_row: bool) -> str:
        """A short line that has the same effect on what is read behind it."""
        opened = "" if begins_row else '"'  # closes the cell that the row is in
        match self.from_cell if begins_row else self.from_quoted:
            case Place.QUOTED:
                return '"\n' if begins_row else "\n"
            case Place.BROKEN:
                return '""x\n' if begins_row else '"x\n'
            case _:
                return f"{opened}\n"


Line = bytes | LongLine


def read_lines(stream: BinaryIO, delimiter: bytes) -> Iterator[Line]:
    """Every line with its line end, the long ones summed up."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) <= MAX_LINE_BYTES:
            yield line
            continue
        from_cell = after(line, Place.CELL, delimiter)
        from_quoted = after(line, Place.QUOTED, delimiter)
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES)
            from_cell = after(line, from_cell, delimiter)
            from_quoted = after(line, from_quoted, delimiter)
        yield LongLine(from_cell, from_quoted)


def after(line: Line, place: Place, delimiter: bytes) -> Place:
    """Where one is at the end of a line, or of a piece of one."""
    if isinstance(line, LongLine):
        return line.from_quoted if place is Place.QUOTED else line.from_cell
    at = 0
    while at < len(line) and place is not Place.BROKEN:
        if place is Place.QUOTED:
            at = _end_of_text(line, at)
            place = Place.QUOTED if at == len(line) else Place.QUOTE
            at += 1
        elif place is Place.QUOTE:
            place = _behind_quote(line[at : at + 1], delimiter)
            at += 1
        elif place is Place.CELL and line.startswith(b'"', at):
            place = Place.QUOTED
            at += 1
        elif (found := line.find(delimiter + b'"', at)) >= 0:
            place = Place.CELL
            at = found + 1
        else:
            return Place.CELL if line.endswith(delimiter) else Place.PLAIN
    return place


def _end_of_text(line: bytes, start: int) -> int:
    """Where the text of a quoted cell ends in a line."""
    found = _QUOTED_TEXT.match(line, start)
    return found.end() if found else start


def _behind_quote(follows: bytes, delimiter: bytes) -> Place:
    if follows == b'"':
        return Place.QUOTED
    if follows == delimiter:
        return Place.CELL
    return Place.PLAIN if follows in {b"\r", b"\n"} else Place.BROKEN
