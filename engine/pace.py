"""How long work takes, learnt while it is done, and so whether it can end before a deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_NEW = 0.2  # share of the last observation in the estimate
_FORGOTTEN = 0.9  # what remains of an estimate each time it forbids the work


class Pace:
    """Seconds a unit of work takes, as an exponential moving average. Safe across threads."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._lock = Lock()

    def expected(self, units: int) -> float:
        """Seconds that so many units are likely to take; 0 while nothing is known."""
        return self._seconds * units

    def allows(self, units: int, deadline: float | None) -> bool:
        """Whether so much is likely to be done by `deadline` (`time.monotonic`), None being never.

        Each no makes the estimate a little smaller: one slow moment must not forbid for good what
        would teach otherwise.
        """
        if deadline is None or time.monotonic() + self.expected(units) <= deadline:
            return True
        with self._lock:
            self._seconds *= _FORGOTTEN
        return False

    @contextmanager
    def learning(self, units: int) -> Iterator[None]:
        """Learn from how long so many units take inside."""
        started = time.monotonic()
        yield
        if units:
            seconds = (time.monotonic() - started) / units
            with self._lock:
                known = self._seconds
                self._seconds = seconds if not known else known + _NEW * (seconds - known)
