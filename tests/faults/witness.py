"""A process that searches a store all the while, as a server would, and counts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, Self

from engine.errors import DaogouError
from engine.search import SearchEngine
from engine.settings import Settings
from tests.faults.commands import PATIENCE, context

_QUERIES = ("kettle", "travel mug", "wireless headphones", "tent pegs", "leather belt", "保温杯")
_REST = 0.008  # seconds between two searches: the work that is watched needs the cores too
_LOOKS = 4  # searches between two looks for a newer snapshot

Order = Literal["report", "open", "end"]


@dataclass(slots=True)
class Sighting:
    """What the witness has seen so far."""

    snapshot_id: str = ""
    served: int = 0
    failures: list[str] = field(default_factory=list)
    """Searches that broke, and answers that mixed two states of the shop."""
    refused: str = ""
    """Why what the store pointed to last could not be opened; empty where it could."""


class Witness:
    """The process, as its parent sees it."""

    def __init__(self, store: Path) -> None:
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_watch, args=(store, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def report(self, order: Order = "report") -> Sighting:
        """What it has seen; with `open`, after it tried to open the store's snapshot afresh."""
        self._ours.send(order)
        assert self._ours.poll(PATIENCE), "the witness hangs"
        try:
            sighting = self._ours.recv()
        except EOFError:
            raise AssertionError("the witness died: see standard error") from None
        assert isinstance(sighting, Sighting)
        return sighting

    def serves(self, snapshot_id: str | None) -> Sighting:
        """Wait until it serves this snapshot and one search more was answered from it."""
        deadline = time.monotonic() + PATIENCE
        seen = self.report()
        while seen.snapshot_id != snapshot_id:
            assert time.monotonic() < deadline, f"{seen.snapshot_id} is served, not {snapshot_id}"
            time.sleep(_REST)
            seen = self.report()
        served = seen.served
        while (seen := self.report()).served == served:
            assert time.monotonic() < deadline, "nothing is served"
            time.sleep(_REST)
        assert not seen.failures, seen.failures[:3]
        return seen

    def close(self) -> Sighting:
        """End it; all it has seen."""
        seen = self.report("end")
        self._process.join()
        return seen

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _watch(store: Path, connection: Connection) -> None:
    """Search, follow the store, and answer when asked."""
    seen, prices = Sighting(), dict[str, float]()
    settings = Settings(rerank=False, cache=0, threads=1)
    engine = SearchEngine.open(store, settings)
    while True:
        _search(engine, _QUERIES[seen.served % len(_QUERIES)], seen, prices)
        order = connection.recv() if connection.poll() else None
        if order == "open" or seen.served % _LOOKS == 0:
            try:
                anew = order == "open"
                newer = SearchEngine.open(store, settings) if anew else engine.newer()
                engine, seen.refused = newer or engine, ""
            except DaogouError as error:
                seen.refused = str(error)
        if order is not None:
            connection.send(replace(seen, failures=list(seen.failures)))
        if order == "end":
            return
        time.sleep(_REST)


def _search(engine: SearchEngine, query: str, seen: Sighting, prices: dict[str, float]) -> None:
    """One search. All prices of a state of the shop are one number: two are a mixture."""
    try:
        hits = engine.search(query).hits
    except (DaogouError, OSError, ValueError, LookupError, RuntimeError) as error:
        seen.failures.append(f"{query!r} in {engine.snapshot.id}: {type(error).__name__}: {error}")
    else:
        found = {hit.product.price for hit in hits}
        expected = prices.setdefault(engine.snapshot.id, hits[0].product.price or 0.0)
        if found != {expected}:
            seen.failures.append(f"{query!r} in {engine.snapshot.id}: prices {found}")
        seen.snapshot_id = engine.snapshot.id
    seen.served += 1
