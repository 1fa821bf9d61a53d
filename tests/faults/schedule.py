"""Which faults are staged, in which order."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator

from tests.faults.catalogs import BadRows, ChangingCatalog, EndlessLines
from tests.faults.damages import DamagedFile, DamagedPointer, flipped, truncated
from tests.faults.disks import Breaks, FullByLayer, FullDisk, ReadOnlyDisk, TooLargeFile
from tests.faults.stage import Fault
from tests.faults.writers import (
    ClockBackwards,
    KilledAtAnyMoment,
    KilledWhileWriting,
    SecondWriter,
)

_ROUND: tuple[Fault, ...] = (
    KilledWhileWriting("index"),
    FullByLayer(),
    KilledAtAnyMoment("apply"),
    DamagedFile("file truncated", truncated),
    KilledWhileWriting("publish"),
    ReadOnlyDisk(),
    KilledAtAnyMoment("index"),
    SecondWriter(),
    KilledWhileWriting("apply"),
    DamagedFile("bit flipped", flipped),
    KilledAtAnyMoment("publish"),
    FullDisk(),
    KilledWhileWriting("index"),
    ClockBackwards(),
    KilledWhileWriting("prune"),
    ChangingCatalog(),
    KilledAtAnyMoment("apply"),
    Breaks("read-only disk (file layer)", errno.EROFS, lasts=True),
    KilledWhileWriting("publish"),
    EndlessLines(),
    KilledAtAnyMoment("index"),
    TooLargeFile(),
    KilledWhileWriting("apply"),
    DamagedPointer("pointer damaged", flipped),
    BadRows(1_000),
    Breaks("input/output error", errno.EIO, lasts=False),
)
_LARGE = 100  # faults from which on a suite has the time for a million rows


def schedule(faults: int) -> Iterator[Fault]:
    """So many faults: every kind in turn, the large catalog once."""
    yield BadRows(1_000_000 if faults >= _LARGE else 10_000)
    yield from itertools.islice(itertools.cycle(_ROUND), faults - 1)
