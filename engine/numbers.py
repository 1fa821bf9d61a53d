"""Numbers as a reader writes them, and as a filter expression has them."""

from __future__ import annotations

import numpy as np


def plain_number(number: float) -> str:
    """All digits, never an exponent: 12.0 is `12`, 1234567.5 is `1234567.5`."""
    return np.format_float_positional(number, trim="-")


def number_range(low: float | None, high: float | None) -> str:
    """`10..50`; without the bound that is None, `10..` or `..50`."""
    bounds = ("" if one is None else plain_number(one) for one in (low, high))
    return "..".join(bounds)
