"""A file layer that fails or dies at a chosen moment, beneath one process's every file operation.

Python announces each operation to its audit hooks before it happens (PEP 578) and drops it if a
hook raises. So one hook stands for a disk: nothing of the program is replaced, and it cannot tell
the error from a real one. What native code writes by itself passes unseen; `SizeLimit` and a small
mounted disk are for that.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from engine import clock

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_GROWS = {"open", "os.mkdir", "os.link", "os.symlink", "shutil.copyfile", "sqlite3.connect"}
_FROM = {"os.link", "os.symlink", "shutil.copyfile"}  # whose first path stays as it is
_OTHERS = {"os.rename", "os.remove", "os.rmdir", "os.truncate"}


@dataclass
class Conditions:
    """What a process finds around it; these are the good ones."""

    met: int = field(default=0, init=False)
    """Operations met that change the store."""
    published: int = field(default=0, init=False)
    """Those of them that change more than what is staged aside."""

    def arrange(self) -> None:
        """Make it so, in the process that calls. There is no way back: the process ends with it."""


@dataclass
class FileLayer(Conditions):
    """Counts the operations that change what lies below a folder, and lets all of them happen."""

    folder: Path

    def arrange(self) -> None:
        """Watch from now on."""
        prefix, aside = str(self.folder), str(self.folder / "staging")

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _GROWS | _OTHERS and _changes(event, arguments, prefix):
                self.met += 1
                paths = _paths(event, arguments)
                self.published += any(not path.startswith(aside) for path in paths)
                self.meet(event)

        sys.addaudithook(hook)

    def meet(self, event: str) -> None:
        """Called before each such operation; raises what is to befall it."""


def _changes(event: str, arguments: tuple[Any, ...], prefix: str) -> bool:
    """Whether an operation changes something below the folder."""
    if event == "open" and not int(arguments[2] or 0) & _WRITING:
        return False
    if event in {"os.remove", "os.rmdir"} and arguments[-1] != -1:
        return True  # a tree that is taken down from within
    return any(path.startswith(prefix) for path in _paths(event, arguments))


def _paths(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """The whole paths that an operation changes."""
    changed = arguments[event in _FROM : 2]
    named = [os.fspath(one) for one in changed if isinstance(one, str | os.PathLike)]
    return [str(path) for path in named if str(path).startswith("/")]


@dataclass
class Dies(FileLayer):
    """The end of the process at the n-th operation, without a chance to clean up."""

    at: int
    publishing: bool
    """Whether those are not counted that only change what is staged aside."""
    delay: float
    """Seconds after the operation began; with 0, it never does."""

    def meet(self, event: str) -> None:
        if (self.published if self.publishing else self.met) != self.at:
            return
        if self.delay:  # the alarm, which nobody handles, ends a process as abruptly
            signal.setitimer(signal.ITIMER_REAL, self.delay)
        else:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Fails(FileLayer):
    """An error at the n-th operation, and at every one after it if it lasts."""

    at: int
    number: int
    """Of the error: see `errno`."""
    lasts: bool

    def meet(self, event: str) -> None:
        if self.met == self.at or (self.lasts and self.met > self.at):
            raise OSError(self.number, os.strerror(self.number))


@dataclass
class Fills(FileLayer):
    """A disk with room for so many more bytes."""

    room: int
    _full: int = field(default=0, init=False)

    def arrange(self) -> None:
        self._full = used(self.folder) + self.room
        super().arrange()

    def meet(self, event: str) -> None:
        if event in _GROWS and used(self.folder) >= self._full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def used(folder: Path) -> int:
    """Bytes of all files below a folder, those of several names once."""
    sizes = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # written aside by another thread, and renamed
            state = path.lstat()
            sizes[state.st_ino] = state.st_size
    return sum(sizes.values())


@dataclass
class SizeLimit(Conditions):
    """No file may grow beyond so many bytes: native code meets this too."""

    most: int

    def arrange(self) -> None:
        """Set the limit; the signal that comes with it is ignored by Python."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.most, self.most))


@dataclass
class ClockOff(Conditions):
    """The time of day is off by so many seconds."""

    seconds: float

    def arrange(self) -> None:
        """Shift the clock that the store is written by."""
        then = datetime.now(UTC) + timedelta(seconds=self.seconds)
        mock.patch.object(clock, "now", return_value=then).start()
