"""Where a row ends is where Python's reader says it does, whatever the pieces it is told by."""

from __future__ import annotations

import csv

from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.catalog.rows.quotes import Place, after

LINES = st.lists(st.text('a,"', max_size=8), min_size=1, max_size=5)


def lines_of_first_row(lines: list[str]) -> int | str:
    """How many lines the first row has, or what is wrong with it."""
    parser = csv.reader(lines, strict=True)
    try:
        next(parser)
    except csv.Error as error:
        return "open" if "end of data" in str(error) else f"broken in {parser.line_num}"
    return parser.line_num


@settings(max_examples=500, deadline=None)
@given(LINES, st.integers(0, 9))
def test_a_row_ends_where_the_parser_says(lines: list[str], cut: int) -> None:
    lines = [f"{line}\n" for line in lines]
    place, found = Place.CELL, "open"
    for number, line in enumerate(lines, start=1):
        for piece in (line[:cut], line[cut:]):
            place = after(piece.encode(), place, b",")
        if place is not Place.QUOTED:
            ended = place is not Place.BROKEN
            assert lines_of_first_row(lines) == (number if ended else f"broken in {number}")
            return
    assert lines_of_first_row(lines) == found
