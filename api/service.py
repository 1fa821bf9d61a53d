"""The engine behind the API: opened in the background, searched on threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Protocol, TypeVar

import structlog

from engine.cores import usable_cores
from engine.types import Filter, Product, SearchResult, Stage

T = TypeVar("T")

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
    """What the API asks of an engine: `engine.search.SearchEngine` has it."""

    @property
    def snapshot(self) -> SnapshotView:
        """The snapshot searched."""

    def search(
        self,
        text: str,
        *,
        k: int = 10,
        offset: int = 0,
        filters: Filter | None = None,
        stage: Stage | None = None,
    ) -> SearchResult:
        """One page of the ranking for one query."""

    def product(self, product_id: str) -> Product:
        """The product with that id; raises ProductNotFoundError."""


class NotReadyError(Exception):
    """The engine is not open: still opening, or it could not be opened."""


class Service:
    """One engine and the threads that use it.

    Searching is compute-bound, so there are as many threads as cores (two at least, so that a
    product page does not wait for a slow search): more would share the same cores and make every
    answer late. The threads live as long as the service; what is kept per thread is built once.
    """

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._load = load
        self._engine: Engine | None = None
        self._failure: BaseException | None = None
        self._executor = ThreadPoolExecutor(max(2, usable_cores()), "daogou-search")

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

    async def run(self, work: Callable[[Engine], T]) -> T:
        """What `work` returns, called with the engine on one of the service's threads.

        Raises:
            NotReadyError: the engine is not open.
        """
        engine = self.engine
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, engine)

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

    def close(self) -> None:
        """Let the threads end; work that waits is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
