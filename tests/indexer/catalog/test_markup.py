"""Text comes out as a person would read it, and what shoppers search for survives."""

from __future__ import annotations

import time

import pytest

from indexer.catalog.markup import clean_line, clean_text
from indexer.catalog.rejects import RowFault

SEARCHED_FOR = (
    "1/2 in pipe",
    "12in pan",
    "12-inch pan",
    '12" pan',
    "WH-1000XM4",
    "5'x7' rug",
    "size <M>",
    "x < 5 and y > 3",
    "I <3 tea",
    "Black&gold",
    "AT&T",
    "R&D; lab",
    "€9.99 • 50% off™",
    "真空保温杯 500ml",
    "كوب سفر",
    "👩‍🍳 apron",
)


@pytest.mark.parametrize("text", SEARCHED_FOR)
def test_what_shoppers_search_for_survives(text: str) -> None:
    assert clean_line(text) == text
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<p>Warm &amp; soft.</p><p>Washable.</p>", "Warm & soft.\nWashable."),
        ("H<sub>2</sub>O <b>bottle</b>", "H2O bottle"),
        ("<table><tr><td>Width</td><td>12 in</td></tr></table>", "Width 12 in"),
        ('<ul class="a>b"><li>one<li>two</ul>', "one\ntwo"),
        ("a<!-- <p>hidden --> b<script>if (a<b) x()</script>c", "a bc"),
        ("first<br/>second<BR>third", "first\nsecond\nthird"),
        ("&lt;p&gt;escaped &lt;b&gt;markup&lt;/b&gt;&lt;/p&gt;", "escaped markup"),
        ("&amp;amp; is written &amp;", "&amp; is written &"),
        ("caf&#233; &#x1F600;", "café 😀"),
        ("one\r\n\r\n  two\tthree ", "one\ntwo three"),
        ("never closed <!-- comment", "never closed <!-- comment"),
        ("never closed <p", "never closed <p"),
    ],
)
def test_markup_becomes_text(given: str, expected: str) -> None:
    assert clean_text(given) == expected


def test_control_characters_go_and_spaces_become_one() -> None:
    assert clean_line("a\x00b\u00a0\u3000 c\x1bd\u202ee\u00adf\ufeff") == "ab c" + "def"


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(RowFault, match="not Unicode"):
        clean_line("broken \ud83d here")


@pytest.mark.parametrize(
    "piece", ["<p ", "<!--", "<script>", '<p "', "<p '\"", "&amp", "<", "<a href='", "</"]
)
def test_broken_markup_takes_linear_time(piece: str) -> None:
    def spent(copies: int) -> float:
        text = piece * copies
        started = time.process_time()
        clean_text(text)
        return time.process_time() - started

    assert spent(20_000) < 1.0
