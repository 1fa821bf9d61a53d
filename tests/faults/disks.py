"""Faults of the disk: it is full, it cannot be written to, it breaks."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass

import pytest

from engine.errors import SnapshotError
from tests.faults.commands import Child, Ended
from tests.faults.layer import Fails, Fills, SizeLimit, used
from tests.faults.shop import Shop, Step
from tests.faults.stage import any_step

_UNMOUNTED = "only root may mount a disk"


def _refused(shop: Shop, step: Step, ended: Ended, *reasons: int) -> Step:
    """What must hold after a disk failed: said and undone, or done although it failed."""
    assert not ended.killed
    shop.tally["disks that failed"] += 1
    shop.tally["disks whose failure stopped a run"] += ended.error is not None
    if ended.error is not None:
        assert any(os.strerror(one) in ended.error for one in reasons) or (
            "database or disk is full" in ended.error or "disk I/O error" in ended.error
        ), ended.error
        assert str(shop.store) in ended.error, f"no place is named: {ended.error}"
    shop.holds(step, done=True if ended.error is None else None)
    return step


@dataclass(frozen=True)
class FullByLayer:
    """No space left after some bytes: a failing file layer."""

    name: str = "disk full (file layer)"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        step = any_step(shop, draw)
        room = draw.randint(0, used(shop.snapshots.current()))
        ended = Child(step.command, Fills(shop.store, room)).end()
        return _refused(shop, step, ended, errno.ENOSPC)


@dataclass(frozen=True)
class TooLargeFile:
    """No file may grow beyond some bytes: what native code writes fails as well."""

    name: str = "disk full (file size limit)"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        step = any_step(shop, draw)
        ended = Child(step.command, SizeLimit(draw.randint(1, 24_000))).end()
        return _refused(shop, step, ended, errno.EFBIG)


@dataclass(frozen=True)
class FullDisk:
    """A disk that really is full, for every writer."""

    name: str = "disk full (mounted)"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        if not shop.disk.mounted:
            pytest.skip(_UNMOUNTED)
        step = any_step(shop, draw)
        pages = draw.randint(0, 2 * used(shop.snapshots.current()) // 4_096)
        with shop.disk.room(4_096 * pages):
            ended = Child(step.command).end()
            _refused(shop, step, ended, errno.ENOSPC)
        return step


@dataclass(frozen=True)
class Breaks:
    """One operation fails, or all do from then on."""

    name: str
    number: int
    lasts: bool

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        step = any_step(shop, draw)
        at = draw.randint(1, shop.runs[step.command.name].operations)
        ended = Child(step.command, Fails(shop.store, at, self.number, self.lasts)).end()
        return _refused(shop, step, ended, self.number)


@dataclass(frozen=True)
class ReadOnlyDisk:
    """A disk that may only be read: serving goes on and can begin; writing says why not."""

    name: str = "read-only disk (mounted)"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        if not shop.disk.mounted:
            pytest.skip(_UNMOUNTED)
        step = any_step(shop, draw)
        with shop.disk.read_only():
            with pytest.raises(SnapshotError, match=r"cannot write to .*Read-only file system"):
                step.command.run()
            assert shop.witness.report("open").refused == ""
            shop.holds(step, done=False)
        return step
