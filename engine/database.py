"""SQLite files that never change: one read-only connection a thread."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from engine.errors import SnapshotDamagedError

_CHUNK = 500  # below SQLite's smallest limit on bound values


class ReadOnlyDatabase:
    """Reads a finished SQLite file from any thread, memory-mapped and without locks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one query on this thread's own connection.

        Raises:
            SnapshotDamagedError: the file is not a database, or lacks what is asked for.
        """
        try:
            return self._connection().execute(sql, values)
        except sqlite3.DatabaseError as error:
            raise SnapshotDamagedError(
                f"{self._path} cannot be read ({error}). Roll back with: daogou snapshots rollback"
            ) from error

    def select_in(self, sql: str, keys: Iterable[object]) -> Iterable[Any]:
        """The rows of `sql`, whose `(?)` stands for any number of keys."""
        wanted = list(keys)
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            yield from self.execute(sql.replace("(?)", f"({','.join('?' * len(part))})"), part)

    def close(self) -> None:
        """Close this thread's connection; other threads' close with them."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            del self._local.connection

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            address = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(address, uri=True, check_same_thread=False)
            connection.execute("PRAGMA mmap_size = 1099511627776")
            self._local.connection = connection
        return connection


def create(path: Path, schema: str) -> sqlite3.Connection:
    """A new database within one open transaction; the writer commits and closes it.

    No journal: files are fsynced whole when the snapshot is published, and thrown away before that.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {schema} BEGIN;"
    )
    return connection
