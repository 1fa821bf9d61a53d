"""Which product ids were read before, for catalogs whose ids do not fit in memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.errors import CatalogError
from indexer.catalog.rejects import Reason, RowFault

_MOST_HELD = 100_000
"""Ids held in a dictionary, about 25 MB: far quicker than what comes after."""

# A private temporary database: it lies in its 64 MiB cache until that is full, then in a temporary
# file that goes with the connection. At 10 million ids a dictionary would take 1 GB and more.
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
CREATE TABLE seen (id TEXT PRIMARY KEY, file INTEGER, row INTEGER) WITHOUT ROWID;
BEGIN;
"""


class SeenIds:
    """The ids of the products read so far, and where each was first."""

    def __init__(self) -> None:
        self._files: list[Path] = []
        self._held: dict[str, tuple[int, int]] | None = {}
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)

    def begin(self, file: Path) -> None:
        """Ids noted from now on come from this file."""
        self._files.append(file)

    def note(self, product_id: str, row: int) -> None:
        """Remember the id.

        Raises:
            RowFault: it was there before; the detail says where.
            CatalogError: the disk is full.
        """
        place = (len(self._files) - 1, row)
        if self._held is not None:
            if self._held.setdefault(product_id, place) is not place:
                raise RowFault(Reason.DUPLICATE_ID, self._first(product_id), "id")
            if len(self._held) > _MOST_HELD:
                self._store([(held, *where) for held, where in self._held.items()])
                self._held = None
        elif not self._store([(product_id, *place)]):
            raise RowFault(Reason.DUPLICATE_ID, self._first(product_id), "id")

    def _store(self, places: list[tuple[str, int, int]]) -> int:
        """Write ids into the database; returns how many were not there."""
        try:
            written = self._database.executemany(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", places
            )
        except sqlite3.OperationalError as error:
            raise CatalogError(
                f"cannot remember the product ids ({error}). Free space in the temporary folder, "
                "or name another in SQLITE_TMPDIR"
            ) from error
        return written.rowcount

    def _first(self, product_id: str) -> str:
        """Where the id was read first."""
        if self._held is not None:
            file, row = self._held[product_id]
        else:
            file, row = self._database.execute(
                "SELECT file, row FROM seen WHERE id = ?", (product_id,)
            ).fetchone()
        return f"first in {self._files[file]}, row {row}"

    def close(self) -> None:
        """Forget them all, and free the disk they took."""
        self._database.close()
