"""What the snapshot before knows of a catalog, so that it need not be computed again.

A product is known by its id, its texts by being the same, letter for letter: a price that changed
reads and encodes nothing. What is taken over is verified first: damage must not pass on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from engine.arrays import open_array
from engine.checksums import FileEntry
from engine.cores import usable_cores
from engine.errors import SnapshotDamagedError, SnapshotError
from engine.manifest import Manifest, ModelEntry, read_manifest
from engine.products import OFFERS, PRODUCTS, offer_of, product_of, texts_of
from engine.retrieval.facet_builder import text_values
from engine.snapshot import Snapshot
from engine.store import SnapshotStore
from engine.text import passage
from engine.types import Product
from indexer.catalog.entries import Entry, Fresh, Known, KnownRows
from indexer.sharing import share

DIGESTS = "sources.npy"
_COMPUTED = ("vectors.npy", "passages")


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


class Match(NamedTuple):
    """What of a product is as it was; rows are those of the snapshot before, -1 for none."""

    id: str
    texts: int
    """Row of the same texts."""
    columns: int
    """Row whose texts have the same values in the columns that filters read."""
    offer: int
    """Row of the same offer."""
    vector: int
    """Row whose vector is the product's own."""
    offer_now: str
    """As `offer_of` gives it."""
    texts_now: str
    """As `texts_of` gives them; empty where `texts` has a row."""


def unknown(entry: Fresh) -> Match:
    """The match of a product of which nothing is known."""
    product = entry.product
    return Match(product.id, -1, -1, -1, -1, offer_of(product.to_dict()), texts_of(product))


class Before:
    """A snapshot, while the next one is made. Every byte of it is read once, beside other work."""

    def __init__(self, snapshot: Snapshot, checks: Mapping[str, Future[bool]], why: str) -> None:
        """Look into a snapshot.

        Args:
            snapshot: an open one, its products whole.
            checks: whether each of its files is as it was written; awaited when it is asked for.
            why: its vectors are not what the new encoder would give, whole or not; empty if they
                are.
        """
        self.snapshot = snapshot
        self.changes = Changes()
        self._checks = checks
        self._why = why

    @classmethod
    def open(cls, folder: Path, encoder: ModelEntry, *, tokens: bool) -> Self:
        """The snapshot in a folder, its products whole.

        Its vectors are of use where the same encoder made them and every byte of them is whole;
        with `tokens`, where what it made of each token was kept too.

        Raises:
            SnapshotError: it cannot be read, or its products are damaged.
        """
        manifest = read_manifest(folder)
        checks = _checks(folder, manifest)
        try:
            _refuse_damaged(folder, checks, (PRODUCTS, OFFERS, DIGESTS))
        except SnapshotError:
            _cancel(checks)
            raise
        made_by = manifest.models["encoder"]
        same = (made_by.fingerprint, made_by.precision) == (encoder.fingerprint, encoder.precision)
        kept = not tokens or any(name.startswith("passages/") for name in manifest.files)
        why = "" if same else "they were encoded by another encoder"
        why = why if kept else why or "what the encoder makes of each token was not kept"
        return cls(Snapshot(folder, manifest), checks, why)

    def __len__(self) -> int:
        return len(self.snapshot)

    @property
    def folder(self) -> Path:
        """Of the snapshot."""
        return self.snapshot.folder

    def files(self, *parts: str) -> list[str]:
        """The snapshot's files that are, or lie in, one of these."""
        folders = tuple(f"{part}/" for part in parts)
        return [
            name
            for name in self.snapshot.manifest.files
            if name in parts or name.startswith(folders)
        ]

    def whole(self, *parts: str) -> bool:
        """Whether the snapshot has all of these parts, every byte as it was written."""
        return all(map(self.files, parts)) and all(map(self._is_whole, self.files(*parts)))

    def check(self) -> None:
        """Wait until every byte was read.

        Raises:
            SnapshotDamagedError: a file is not as it was written.
        """
        _refuse_damaged(self.folder, self._checks, self._checks)

    def _is_whole(self, name: str) -> bool:
        return self._checks[name].result()

    def share(self, target: Path, *parts: str) -> None:
        """Have another folder hold these parts too."""
        share(self.folder, target, self.files(*parts))

    def shared(self, target: Path) -> dict[str, FileEntry]:
        """The files that another folder shares with this one, all of them whole."""
        files = self.snapshot.manifest.files
        return {
            name: entry
            for name, entry in files.items()
            if self._is_whole(name)
            and (target / name).exists()
            and (target / name).samefile(self.folder / name)
        }

    @property
    def why(self) -> str:
        """Why its vectors cannot be used; empty where they can."""
        if self._why or all(map(self._is_whole, self.files(*_COMPUTED))):
            return self._why
        return "their vectors, or what was kept of their tokens, were damaged"

    @property
    def reusable(self) -> bool:
        """Whether its vectors, and kept tokens, are what the new encoder would give.

        They are by far the largest files: it takes long to say, and is best asked for last.
        """
        return not self.why

    @cached_property
    def digests(self) -> NDArray[np.uint64]:
        """Of what each row's texts were read from: see `Digests`; shape (products, 2)."""
        return open_array(self.folder / DIGESTS, np.uint64, dimensions=2, rows=len(self), width=2)

    @property
    def known(self) -> KnownRows:
        """The rows of a catalog that need not be read."""
        return KnownRows(self.digests)

    def match(self, entries: Sequence[Entry]) -> list[Match]:
        """What of each product is as it was; counted in `changes`.

        Args:
            entries: the next products of the new catalog.
        """
        store = self.snapshot.products
        fresh = [entry.product.id for entry in entries if isinstance(entry, Fresh)]
        rows = dict(zip(fresh, store.rows_of(fresh), strict=True))
        bodies = store.bodies(row for row in rows.values() if row is not None)
        offers = store.offers(entry.row for entry in entries if isinstance(entry, Known))
        matches = []
        for entry in entries:
            if isinstance(entry, Known):
                match = self._known(entry, offers[entry.row])
            elif (row := rows[entry.product.id]) is None:
                self.changes.added += 1
                match = unknown(entry)
            else:
                match = self._compared(unknown(entry), entry, row, *bodies[row])
            matches.append(match)
        return matches

    def origins(self, vectors: NDArray[np.int32]) -> NDArray[np.int32]:
        """Rows whose vector is a product's own, as matched; -1 throughout where any is damaged."""
        origins = vectors if self.reusable else np.full_like(vectors, -1)
        self.changes.encoded = int((origins < 0).sum())
        return origins

    def _known(self, entry: Known, offer: str) -> Match:
        now = offer if entry.offer is None else entry.offer
        return self._same_texts(entry.id, entry.row, now, offer)

    def _compared(self, now: Match, entry: Fresh, row: int, texts: str, offer: str) -> Match:
        """A product that was read, with what stood in its row."""
        if now.texts_now == texts:
            return self._same_texts(now.id, row, now.offer_now, offer)
        was = product_of(texts, offer)
        now = now._replace(
            columns=row if _values(was) == _values(entry.product) else -1,
            offer=row if now.offer_now == offer else -1,
        )
        if passage(was) != passage(entry.product):
            self.changes.changed += 1
            return now
        self.changes.updated += 1
        return now._replace(vector=-1 if self._why else row)

    def _same_texts(self, product_id: str, row: int, now: str, offer: str) -> Match:
        if now == offer:
            self.changes.kept += 1
        else:
            self.changes.updated += 1
        same = row if now == offer else -1
        return Match(product_id, row, row, same, -1 if self._why else row, now, "")

    def total(self) -> Changes:
        """How the catalog differs, once every product of it was looked up."""
        changes = self.changes
        matched = changes.changed + changes.updated + changes.kept
        changes.removed = len(self) - matched
        return changes

    def close(self) -> None:
        """Close the files, and leave unread what nobody asked for."""
        _cancel(self._checks)
        self.snapshot.products.close()


def served_before(
    snapshots: SnapshotStore, encoder: ModelEntry, *, tokens: bool
) -> tuple[Before | None, str]:
    """What a store serves, as `Before.open` opens it; None, and why, where it cannot be read.

    Where nothing was published yet, there is no reason either.
    """
    try:
        if snapshots.current_id() is None:
            return None, ""
        return Before.open(snapshots.current(), encoder, tokens=tokens), ""
    except SnapshotError as error:
        return None, f"the snapshot before cannot be read ({error})"


def _values(product: Product) -> str:
    """What columns hold of a product's texts; where two are the same, so are the values.

    True is not 1 here, as it is in Python.
    """
    return repr(list(text_values(product)))


def _checks(folder: Path, manifest: Manifest) -> dict[str, Future[bool]]:
    """Whether each file is as it was written.

    Hashing leaves Python's lock, so that all is read while the catalog is.
    """
    files = manifest.files
    first = sorted(files, key=lambda name: name.startswith(_COMPUTED))  # the largest last
    threads = ThreadPoolExecutor(usable_cores())
    checks = {name: threads.submit(files[name].is_at, folder / name) for name in first}
    threads.shutdown(wait=False)
    return checks


def _cancel(checks: Mapping[str, Future[bool]]) -> None:
    """Leave unread what nobody asked for."""
    for check in checks.values():
        check.cancel()


def _refuse_damaged(folder: Path, checks: Mapping[str, Future[bool]], names: Iterable[str]) -> None:
    """Wait until these files were read.

    Raises:
        SnapshotDamagedError: one is not as it was written.
    """
    damaged = [name for name in names if name not in checks or not checks[name].result()]
    if damaged:
        more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
        raise SnapshotDamagedError(
            f"{folder} is damaged: {', '.join(damaged[:5])}{more} was altered, or cannot be read. "
            "Roll back with: daogou snapshots rollback --store STORE"
        )


class Origins:
    """For each new row, the row before that the same part of a product stood in; -1 for none."""

    def __init__(self, rows: NDArray[np.int32], before: int) -> None:
        """Take the rows, shape (products,), and how many products there were before."""
        self.rows = rows
        self._before = before

    @property
    def unmoved(self) -> bool:
        """Whether all is where it was, and nothing else was there."""
        return len(self.rows) == self._before and bool((self.rows == np.arange(self._before)).all())

    def targets(self) -> NDArray[np.int32]:
        """For each row before, the new one; -1 where its product has none, shape (before,)."""
        targets = np.full(self._before, -1, dtype=np.int32)
        taken = np.flatnonzero(self.rows >= 0)
        targets[self.rows[taken]] = taken
        return targets
