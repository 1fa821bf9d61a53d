"""What the snapshot before knows of a catalog, so that it need not be computed again.

A product is known by its id, its text by being the same, letter for letter: a price that changed
encodes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.checksums import sha256_of
from engine.errors import SnapshotError
from engine.models.folder import ModelInfo
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.text import passage
from engine.types import Product, Rows

_COMPUTED = ("vectors.npy", "passages/")


@dataclass(slots=True)
class Changes:
    """How a catalog differs from the one indexed before, in products."""

    added: int = 0
    changed: int = 0
    """Of another text than before: encoded again, as the added ones are."""
    updated: int = 0
    """Of another price, stock, picture and the like: the text is as it was."""
    kept: int = 0
    """Exactly as they were."""
    removed: int = 0
    encoded: int = 0
    """Texts that were encoded: more than added and changed where the encoder is another one."""
    taken_up: int = 0
    """Of those, texts that a run which was stopped had encoded already."""


class Before:
    """The current snapshot of a store, while the next one is made."""

    def __init__(self, snapshot: Snapshot, *, reusable: bool) -> None:
        """Look into a snapshot.

        Args:
            snapshot: an open one.
            reusable: whether its vectors are what the new encoder would give.
        """
        self.snapshot = snapshot
        self.reusable = reusable
        self.changes = Changes()

    @classmethod
    def open(cls, snapshots: SnapshotStore, encoder: ModelInfo, *, tokens: bool) -> Self | None:
        """What is served now; None where nothing is, or it cannot be read.

        Its vectors are of use where the same encoder made them and every byte of them is whole;
        with `tokens`, where what it made of each token was kept too.
        """
        try:
            snapshot = Snapshot.open(snapshots.current())
        except SnapshotError:
            return None
        if not _whole(snapshot, ("products.sqlite",)):
            return None
        manifest = snapshot.manifest
        made_by = manifest.models["encoder"]
        same = (made_by.fingerprint, made_by.precision) == (encoder.fingerprint, encoder.precision)
        kept = not tokens or any(name.startswith(_COMPUTED[1]) for name in manifest.files)
        return cls(snapshot, reusable=same and kept and _whole(snapshot, _COMPUTED))

    def rows(self, products: Sequence[Product], passages: Sequence[str]) -> Rows:
        """For each product the row whose vector is its own, -1 where it has to be encoded.

        Args:
            products: the next products of the new catalog.
            passages: their texts.
        """
        store, changes = self.snapshot.products, self.changes
        found = store.rows_of(product.id for product in products)
        known = [row for row in found if row is not None]
        before = dict(zip(known, store.fetch(known), strict=True))
        rows = np.full(len(products), -1, dtype=np.int64)
        for place, (product, text, row) in enumerate(zip(products, passages, found, strict=True)):
            if row is None:
                changes.added += 1
                continue
            if passage(before[row]) != text:
                changes.changed += 1
                continue
            if self.reusable:
                rows[place] = row
            if same(before[row], product):
                changes.kept += 1
            else:
                changes.updated += 1
        changes.encoded += int((rows < 0).sum())
        return rows

    def vectors(self, rows: Rows) -> NDArray[np.float16]:
        """The vectors of these rows, shape (rows, dim)."""
        return self.snapshot.vectors[rows]

    def tokens(self, row: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """The kept tokens of a row: see `Passages.kept`."""
        return self.snapshot.passages.kept(row)

    def total(self) -> Changes:
        """How the catalog differs, once every product of it was looked up."""
        changes = self.changes
        matched = changes.changed + changes.updated + changes.kept
        changes.removed = len(self.snapshot) - matched
        return changes

    def close(self) -> None:
        """Close the files."""
        self.snapshot.products.close()


def same(one: Product, other: Product) -> bool:
    """Whether nothing at all differs: unlike for `==`, true is not 1."""
    return one == other and repr(one) == repr(other)


def _whole(snapshot: Snapshot, names: tuple[str, ...]) -> bool:
    """Whether these files are as they were written: opening checks small ones only."""
    files = snapshot.manifest.files
    looked_at = {name: entry for name, entry in files.items() if name.startswith(names)}
    try:
        return all(
            sha256_of(snapshot.folder / name) == one.sha256 for name, one in looked_at.items()
        )
    except OSError:
        return False
