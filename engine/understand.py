"""Words → `Query`: what was asked, cleaned, and whether it is printed on a product."""

from __future__ import annotations

import unicodedata

from engine.errors import QueryError
from engine.products import ProductStore
from engine.types import Query

_ZERO_WIDTH_NON_JOINER = "\u200c"  # parts words in Persian; other format characters only hide


def _kept(char: str) -> str:
    """What remains of one character."""
    match unicodedata.category(char):
        case "Cf" if char != _ZERO_WIDTH_NON_JOINER:
            return ""
        case "Cc" | "Cf" | "Cs" | "Co" | "Cn":
            return " "
        case _:
            return char


def clean(text: str) -> str:
    """The text in NFKC, single-spaced, without characters that no one sees.

    Control, private, unassigned and lone surrogate characters part words; soft hyphens, direction
    marks and other format characters vanish. Case stays: the models read it.
    """
    return " ".join("".join(map(_kept, unicodedata.normalize("NFKC", text))).split())


def understand(text: str, products: ProductStore, *, max_chars: int, part: str = "query") -> Query:
    """The query a shopper's words stand for; `part` is what an error calls them.

    Raises:
        QueryError: nothing to search for, or longer than `max_chars`.
    """
    if len(text) > max_chars:
        raise QueryError(
            f"the {part} has {len(text):,} characters, at most {max_chars:,} are searched. "
            "Shorten it, or raise DAOGOU_MAX_QUERY_CHARS",
            part=part,
        )
    cleaned = clean(text)
    if not cleaned:
        raise QueryError(f"the {part} is empty. Say what you are looking for", part=part)
    return Query(cleaned, text, tuple(products.rows_printed(cleaned)))
