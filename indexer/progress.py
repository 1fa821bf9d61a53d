"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress


class Advance(Protocol):
    """Tells a step that so many more items are done."""

    def __call__(self, done: int, /) -> None:
        """Count `done` more items."""


class Progress(Protocol):
    """Where long work reports its steps."""

    def step(self, name: str, total: int | None) -> AbstractContextManager[Advance]:
        """A step of `total` items (None where unknown) that ends with the context."""


class Silent:
    """Reports to nobody: for libraries, tests and `--json`."""

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        """A step that nobody watches."""
        yield lambda _: None


class Bars:
    """Draws a bar with the time left on standard error, one step under another."""

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Advance]:
        """A step drawn as a bar; without a total, as a running count."""
        columns = [SpinnerColumn(), TextColumn("{task.description:<10}"), BarColumn()]
        columns += [MofNCompleteColumn(), TimeElapsedColumn()]
        if total is not None:
            columns += [TextColumn("left"), TimeRemainingColumn()]
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(name, total=total)
            yield lambda done: bars.advance(task, done)
