"""What time it is, and where the time of a search goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime


def now() -> datetime:
    """The time of day, in UTC. It may go backwards: nothing is ordered by it."""
    return datetime.now(UTC)


class Clock:
    """Adds up the time of each stage and shares it among the queries of a batch."""

    def __init__(self, queries: int) -> None:
        self._queries = max(1, queries)
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Count what happens inside as time of this stage."""
        started = time.perf_counter()
        yield
        self._seconds[str(name)] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds a query, by stage, rounded to microseconds."""
        share = 1000 / self._queries
        return {name: round(spent * share, 3) for name, spent in self._seconds.items()}
