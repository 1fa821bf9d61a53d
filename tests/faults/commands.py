"""Runs of the commands that change a store, each in a process that can be killed."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal, Self

from engine.errors import DaogouError
from engine.store import SnapshotStore
from indexer.apply import apply_changes
from indexer.build import IndexOptions, index_catalog
from indexer.progress import Advance, Progress, Silent
from indexer.publish import publish
from tests.faults.layer import Conditions

Name = Literal["index", "apply", "publish", "prune"]

# Every child starts with the libraries loaded, so that faults land in the work itself.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.faults.commands", "engine.search"])

PATIENCE = 60.0
"""Seconds after which a process that says nothing is taken for hung."""

_KILLED = {-signal.SIGKILL, -signal.SIGALRM}
_STEPS = 10
"""More than any run has."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command with what it reads: a catalog, changes, or a ranking."""

    name: Name
    store: Path
    source: Path
    encoder: Path

    def run(self, progress: Progress | None = None) -> str:
        """Do it here; the id of the snapshot that is served when it is done."""
        bare = IndexOptions(encoder=self.encoder, reranker=None, ranking=None, threads=1)
        progress = progress or Silent()
        match self.name:
            case "index":
                return index_catalog(self.source, self.store, bare, progress).snapshot_id
            case "apply":
                return apply_changes(self.source, self.store, bare, progress).snapshot_id
            case "publish":
                return publish(
                    self.store, ranking=self.source, threads=1, progress=progress
                ).snapshot_id
            case "prune":
                snapshots = SnapshotStore(self.store)
                with snapshots.writing():
                    snapshots.prune(keep=1)
                return snapshots.current().name


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a run."""

    snapshot_id: str | None = None
    """What it said it serves: from then on that must not be lost."""
    error: str | None = None
    """What it said it could not do."""
    met: int = 0
    published: int = 0
    """Operations that its file layer saw: see `Conditions`."""

    @property
    def killed(self) -> bool:
        """Whether it died before it said anything."""
        return self.snapshot_id is None and self.error is None


class Halting:
    """Reports that a step began, and goes on when told to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Advance]:
        self._connection.send(name)
        self._connection.recv()
        yield lambda _: None


class Child:
    """A command running in a process of its own."""

    def __init__(
        self, command: Command, conditions: Conditions | None = None, *, halting: bool = False
    ) -> None:
        self._ours, theirs = context.Pipe()
        self._process: ForkServerProcess = context.Process(
            target=_perform, args=(command, conditions or Conditions(), theirs, halting)
        )
        self._process.start()
        theirs.close()

    def halted(self) -> str:
        """Wait for a step to begin; its name."""
        assert self._ours.poll(PATIENCE), "the run hangs"
        word = self._ours.recv()
        assert isinstance(word, str), f"the run has no such step: {word}"
        return word

    def proceed(self) -> None:
        """Let it go on from where it halted."""
        self._ours.send("go on")

    def release(self) -> None:
        """Let it go on to its end."""
        for _ in range(_STEPS):
            self.proceed()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> Ended:
        """Wait for its end.

        Raises:
            AssertionError: it hangs, or broke with an error that nobody raised on purpose.
        """
        self._process.join(PATIENCE)
        code = self._process.exitcode
        self._process.kill()
        assert code is not None, "the run hangs"
        said = Ended()
        while said.killed and self._ours.poll():
            try:
                word = self._ours.recv()
            except EOFError:
                break
            said = word if isinstance(word, Ended) else said
        self._ours.close()
        assert code in {0, *_KILLED}, f"the run broke with exit code {code}: see standard error"
        assert code or not said.killed, "the run ended without a word"
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _perform(
    command: Command, conditions: Conditions, connection: Connection, halting: bool
) -> None:
    """What the process does."""
    conditions.arrange()
    progress = Halting(connection) if halting else Silent()
    try:
        served = command.run(progress)
    except DaogouError as error:
        connection.send(Ended(error=f"{type(error).__name__}: {error}"))
    else:
        connection.send(Ended(served, met=conditions.met, published=conditions.published))
