"""The engine behind the API: opened in the background, searched on threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Protocol, Self, TypeVar

import structlog

from engine.cores import usable_cores
from engine.guide.consult import Consultation
from engine.guide.history import Event
from engine.guide.navigate import Navigated
from engine.guide.recommend import Recommendation
from engine.listing import AS_RANKED, View
from engine.pace import Pace
from engine.retrieval.shelves import Shelf
from engine.retrieval.suggestions import Completion
from engine.types import Filter, Mode, Product, SearchResult, Stage

T = TypeVar("T")

_LONGEST_WAIT = 60.0  # seconds
_BUSY = "more searches arrive than can be answered in time. Send this one again in a moment"

log = structlog.get_logger("daogou.api")


class SnapshotView(Protocol):
    """What the API tells about a snapshot."""

    @property
    def id(self) -> str:
        """The snapshot's name."""

    @property
    def created_at(self) -> datetime:
        """When it was published, with a time zone."""

    def __len__(self) -> int: ...


class Engine(Protocol):
    """What the API asks of an engine: `engine.guide.guide.ShoppingGuide` has it."""

    @property
    def snapshot(self) -> SnapshotView:
        """The snapshot searched."""

    def newer(self) -> Self | None:
        """An engine over what the store serves now, ready to answer; None where that is this."""

    def search(
        self,
        text: str,
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
        mode: Mode | None = None,
        view: View = AS_RANKED,
        deadline: float | None = None,
    ) -> SearchResult:
        """One page of the ranking for one query, by `deadline` (`time.monotonic`)."""

    def navigate(
        self,
        text: str,
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
        mode: Mode | None = None,
        view: View = AS_RANKED,
        deadline: float | None = None,
        read: bool = True,
        explain: bool = False,
    ) -> Navigated:
        """`search` for the words as they are understood, and what goes with the page."""

    def suggest(self, typed: str, *, k: int = 8) -> Sequence[Completion]:
        """Ways to go on from what was typed."""

    def categories(self, under: str = "", *, k: int = 100) -> Sequence[Shelf]:
        """The shelves right below one."""

    def product(self, product_id: str) -> Product:
        """The product with that id; raises ProductNotFoundError."""

    def recommend(
        self,
        events: Sequence[Event],
        *,
        k: int = 10,
        filters: Filter | None = None,
        explain: bool = False,
    ) -> Sequence[Recommendation]:
        """Products that suit what one shopper did."""

    def similar(
        self, product_id: str, *, k: int = 10, filters: Filter | None = None
    ) -> Sequence[Product]:
        """The products most like one."""

    def complements(
        self, product_id: str, *, k: int = 10, filters: Filter | None = None
    ) -> Sequence[Product]:
        """The products bought together with one."""

    def ask(
        self,
        question: str,
        *,
        before: Sequence[str] = (),
        products: Sequence[str] = (),
        k: int = 3,
        filters: Filter | None = None,
        explain: bool = False,
    ) -> Consultation:
        """An answer in the catalog's own words."""


class NotReadyError(Exception):
    """The engine is not open: still opening, or it could not be opened."""


class OverloadedError(Exception):
    """There is more to do than can be done in time: this request is better sent again later."""


class Service:
    """One engine and the threads that use it.

    Searching is compute-bound, so there are as many threads as cores (two at least, so that a
    product page does not wait for a slow search): more would share the same cores and make every
    answer late. The threads live as long as the service; what is kept per thread is built once.

    Work that cannot be begun before its deadline is refused: at once, where the queue is full or so
    long that its end is expected later; when its turn comes, where that came too late. So a server
    that is asked for more than it can do answers as much as it can, in time.
    """

    def __init__(
        self, load: Callable[[], Engine], *, timeout: float = 0.3, queue: int = 64
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            load: opens the engine.
            timeout: seconds from a request's arrival to its deadline.
            queue: requests that may wait for a thread.
        """
        self._load = load
        self._timeout = timeout
        self._queue = queue
        self._engine: Engine | None = None
        self._failure: BaseException | None = None
        self._threads = max(2, usable_cores())
        self._executor = ThreadPoolExecutor(self._threads, "daogou-search")
        self._opener = ThreadPoolExecutor(1, "daogou-open", initializer=_yield_to_searches)
        self._pending = 0  # requests that wait or are worked on; only the event loop's thread asks
        self._pace = Pace()

    @property
    def ready(self) -> bool:
        """Whether the engine is open."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The open engine.

        Raises:
            NotReadyError: there is none yet, or it could not be opened.
        """
        if self._engine is None:
            raise NotReadyError(
                "the catalog is being opened. Try again in a moment"
                if self._failure is None
                else "the catalog could not be opened. The server's log says why"
            )
        return self._engine

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return max(0, self._pending - self._threads)

    async def run(self, work: Callable[[Engine, float], T]) -> T:
        """What `work` returns, called with the engine and the deadline (`time.monotonic`).

        It runs on one of the service's threads.

        Raises:
            NotReadyError: the engine is not open.
            OverloadedError: its turn would come, or came, after the deadline.
        """
        engine = self.engine
        deadline = time.monotonic() + self._timeout
        turns = self._pending // self._threads  # each thread's, before this one's
        if self.waiting >= self._queue or not self._pace.allows(turns, deadline):
            raise OverloadedError(_BUSY)

        def begin() -> T:
            if time.monotonic() > deadline:
                raise OverloadedError(_BUSY)
            with self._pace.learning(1):
                return work(engine, deadline)

        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, begin)
        finally:
            self._pending -= 1

    async def open(self) -> None:
        """Open the engine on one of the service's threads; raises what `load` raises."""
        loop = asyncio.get_running_loop()
        self._engine = await loop.run_in_executor(self._executor, self._load)

    def opened(self, failure: BaseException | None) -> None:
        """Note how opening ended."""
        self._failure = failure
        if failure is not None:
            log.error("engine not opened", error=str(failure), kind=type(failure).__name__)
            return
        snapshot = self.engine.snapshot
        log.info("engine opened", snapshot_id=snapshot.id, products=len(snapshot))

    async def follow(self, seconds: float) -> None:
        """Switch to each snapshot that is published from now on; returns when cancelled.

        It is opened and warmed while the engine before goes on answering. What was begun ends on
        that one. A snapshot that cannot be opened is logged, and looked for again ever more rarely.

        Args:
            seconds: between looks at the store.
        """
        loop, wait = asyncio.get_running_loop(), seconds
        while True:
            await asyncio.sleep(wait)
            try:
                newer = await loop.run_in_executor(self._opener, self.engine.newer)
            except Exception as error:  # noqa: BLE001 - whatever it is, the old one goes on
                wait = min(2 * wait, _LONGEST_WAIT)
                log.error(  # noqa: TRY400 - one line, as everything else
                    "snapshot not opened", error=str(error), kind=type(error).__name__
                )
                continue
            wait = seconds
            if newer is not None:
                before, self._engine = self.engine.snapshot.id, newer
                log.info(
                    "snapshot switched",
                    snapshot_id=newer.snapshot.id,
                    before=before,
                    products=len(newer.snapshot),
                )

    def close(self) -> None:
        """Let the threads end; work that waits is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._opener.shutdown(wait=False, cancel_futures=True)


def _yield_to_searches() -> None:
    """Let this thread have the cores only where no search wants them. Linux can; others go on."""
    with contextlib.suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
