"""What indexing reads of a catalog: products, or the word that their texts are those of before.

A row is known again by a digest of all it says of a product's texts, and of how it is read. Where
the snapshot before has that digest, only the offer is converted: four fifths of reading are saved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.types import OFFER_FIELDS, Product

READING = "4"
"""Version of what a row's values become: raise it with any change to that, or rows that were read
before keep what they became then."""

NO_DIGEST = bytes(16)
"""The digest of what is not known again."""

_json = json.JSONEncoder(ensure_ascii=False, default=repr).encode
_WHOLE = np.dtype("V16")


@dataclass(frozen=True, slots=True)
class Fresh:
    """A product as the catalog has it now."""

    product: Product
    digest: bytes = NO_DIGEST
    """Of what its texts were read from."""


@dataclass(frozen=True, slots=True)
class Known:
    """A product whose texts are those of a row of the snapshot before."""

    id: str
    row: int
    offer: str | None
    """As `offer_of` gives it; None where it is that row's too."""
    digest: bytes


Entry = Fresh | Known


class KnownRows:
    """The digests of the snapshot before; asked in its own order, an answer is one comparison."""

    def __init__(self, digests: NDArray[np.uint64]) -> None:
        """Take the digests by row, shape (products, 2)."""
        self._digests = digests
        self._bytes = np.ascontiguousarray(digests).reshape(-1).view(np.uint8).data
        self._next = 0
        self._sorted: tuple[NDArray[np.void], NDArray[np.int64]] | None = None

    def row(self, digest: bytes) -> int:
        """The row that has this digest; -1 where none has."""
        if digest == NO_DIGEST:
            return -1
        size = len(NO_DIGEST)
        if self._bytes[size * self._next : size * (self._next + 1)] == digest:
            found = self._next
        else:
            found = self._search(digest)
        if found >= 0:
            self._next = found + 1
        return found

    def digest(self, row: int) -> bytes:
        """The digest of a row."""
        return bytes(self._bytes[len(NO_DIGEST) * row : len(NO_DIGEST) * (row + 1)])

    def _search(self, digest: bytes) -> int:
        if self._sorted is None:
            whole = np.ascontiguousarray(self._digests).view(_WHOLE).ravel()
            order = np.argsort(whole, kind="stable")
            self._sorted = whole[order], order
        digests, rows = self._sorted
        at = int(np.searchsorted(digests, np.frombuffer(digest, dtype=_WHOLE)[0]))
        there = at < len(digests) and digests[at].tobytes() == digest
        return int(rows[at]) if there else -1


class Digests:
    """Makes the digests of the rows of one way of reading."""

    def __init__(self, *how: object) -> None:
        """Take all that decides what a row's values become, beside the values."""
        self._key = hashlib.sha256(repr((READING, *how)).encode()).digest()

    def of(self, values: Mapping[str, Any], others: list[tuple[str, Any]]) -> bytes:
        """The digest of what a row says of a product's texts.

        Args:
            values: by field, as they stand in the row.
            others: what becomes attributes.
        """
        texts = {name: value for name, value in values.items() if name not in OFFER_FIELDS}
        try:
            content = _json([texts, others])
        except (TypeError, ValueError, RecursionError):
            return NO_DIGEST  # no row like this is known again
        encoded = content.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(encoded, digest_size=len(NO_DIGEST), key=self._key).digest()
