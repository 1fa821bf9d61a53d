"""The form in which texts are compared for being the same: filter values, SKUs, field names."""

from __future__ import annotations

import unicodedata


def comparable(text: str) -> str:
    """The text in NFKC, case-folded and single-spaced: what two spellings of one value share."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())
