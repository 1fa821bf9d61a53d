"""Which product ids were read before, for catalogs whose ids do not fit in memory."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.errors import CatalogError
from indexer.catalog.rejects import Reason, RowFault

# A private temporary database: it lies in its 64 MiB cache until that is full, then in a temporary
# file that goes with the connection. A Python set is quicker, but takes 0.9 GB at 10 million ids.
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
        place = (product_id, len(self._files) - 1, row)
        try:
            insert = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", place)
        except sqlite3.OperationalError as error:
            raise CatalogError(
                f"cannot remember the product ids ({error}). Free space in the temporary folder, "
                "or name another in SQLITE_TMPDIR"
            ) from error
        if not insert.rowcount:
            raise RowFault(Reason.DUPLICATE_ID, self._first(product_id), "id")

    def _first(self, product_id: str) -> str:
        """Where the id was read first."""
        file, row = self._database.execute(
            "SELECT file, row FROM seen WHERE id = ?", (product_id,)
        ).fetchone()
        return f"first in {self._files[file].name}, row {row}"

    def close(self) -> None:
        """Forget them all, and free the disk they took."""
        self._database.close()
