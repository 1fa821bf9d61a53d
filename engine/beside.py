"""Parts of one search side by side, where the catalog is large enough for that to pay."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from engine.cores import usable_cores

T = TypeVar("T")


class Beside:
    """Begins work now, in a thread of its own or in the caller's. Safe to use from many threads."""

    def __init__(self, *, worthwhile: bool) -> None:
        """Prepare.

        Args:
            worthwhile: whether work takes longer than handing it to another thread (0.1 ms). On
                one core it is done by the caller in any case.
        """
        cores = usable_cores()
        self._threads = (
            ThreadPoolExecutor(cores, thread_name_prefix="daogou-beside")
            if worthwhile and cores > 1
            else None
        )

    def begin(self, work: Callable[[], T]) -> Callable[[], T]:
        """Do the work; what is returned waits for its end, and raises what it raised."""
        if self._threads is not None:
            return self._threads.submit(work).result
        done = work()
        return lambda: done
