"""SQLite files that never change: a few read-only connections, shared by all threads."""

from __future__ import annotations

import contextlib
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, LifoQueue
from types import MappingProxyType
from typing import Any

from engine.errors import SnapshotDamagedError

CONNECTIONS = 8
"""How many threads may read one file at the same moment; more wait their turn."""

_CHUNK = 500  # below SQLite's smallest limit on bound values


class ReadOnlyDatabase:
    """Reads a finished SQLite file from any thread, memory-mapped and without locks.

    Every connection is open from the start: the file may be deleted while it is being read, as a
    pruned snapshot is.
    """

    def __init__(self, path: Path, beside: Mapping[str, Path] = MappingProxyType({})) -> None:
        """Open a file, and others whose tables are named `NAME.table`."""
        self._path = path
        # The one used last is used next: each maps the file for itself.
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue()
        self.close = weakref.finalize(self, _close_all, self._idle)
        """Close every connection; happens by itself when the last user is gone."""
        for _ in range(CONNECTIONS):
            with self._damage_named():
                self._idle.put(_connect(path, beside))

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Every row of one query.

        Raises:
            SnapshotDamagedError: the file is not a database, or lacks what is asked for.
        """
        with self._borrow() as connection:
            return connection.execute(sql, values).fetchall()

    def rows_in(self, sql: str, keys: Iterable[object], *before: object) -> list[Any]:
        """Every row of `sql`, whose `(?)` stands for any number of keys.

        Args:
            sql: it may ask for other values in front of the keys, none behind.
            keys: what `(?)` stands for.
            before: the other values.
        """
        wanted = list(keys)
        found: list[Any] = []
        for start in range(0, len(wanted), _CHUNK):
            part = wanted[start : start + _CHUNK]
            asked = sql.replace("(?)", f"({','.join('?' * len(part))})")
            found += self.rows(asked, [*before, *part])
        return found

    def stream(self, sql: str) -> Iterator[Any]:
        """The rows of one query, one at a time, for results too large to hold."""
        with self._borrow() as connection:
            yield from connection.execute(sql)

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[sqlite3.Connection]:
        connection = self._idle.get()
        try:
            with self._damage_named():
                yield connection
        finally:
            self._idle.put(connection)

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise SnapshotDamagedError(
                f"{self._path} cannot be read ({error}). Roll back with: daogou snapshots rollback"
            ) from error


def _connect(path: Path, beside: Mapping[str, Path]) -> sqlite3.Connection:
    """A connection that has really opened the files: SQLite waits for the first query to do so."""
    connection = sqlite3.connect(address(path), uri=True, check_same_thread=False)
    for name, other in beside.items():
        connection.execute(f"ATTACH ? AS {name}", (address(other),))
    connection.execute("PRAGMA mmap_size = 1099511627776")
    for name in ("main", *beside):
        connection.execute(f"SELECT count(*) FROM {name}.sqlite_master").fetchone()  # noqa: S608 - ours
    return connection


def address(path: Path) -> str:
    """How SQLite is told to read a file that nobody writes any more."""
    return f"{path.absolute().as_uri()}?mode=ro&immutable=1"


def _close_all(connections: LifoQueue[sqlite3.Connection]) -> None:
    with contextlib.suppress(Empty):
        while True:
            connections.get_nowait().close()


def create(path: Path, schema: str) -> sqlite3.Connection:
    """A new database within one open transaction; the writer commits and closes it.

    No journal: files are fsynced whole when the snapshot is published, and thrown away before that.
    """
    connection = sqlite3.connect(path.absolute().as_uri(), uri=True, isolation_level=None)
    connection.executescript(
        f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {schema} BEGIN;"
    )
    return connection
