"""The form in which texts are compared for being the same: filter values, SKUs, field names."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_REPEATED = 80  # characters: longer values are seldom met twice


def comparable(text: str) -> str:
    """The text in NFKC, case-folded and single-spaced: what two spellings of one value share."""
    return _known(text) if len(text) <= _REPEATED else _compare(text)


def _compare(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


_known = lru_cache(maxsize=65_536)(_compare)
