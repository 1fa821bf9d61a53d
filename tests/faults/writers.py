"""Faults of who writes: it is killed, it is not alone, its clock is wrong."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import pytest

from engine.errors import StoreLockedError
from tests.faults.commands import Child, Ended, Name
from tests.faults.layer import ClockOff, Dies
from tests.faults.shop import Shop, Step
from tests.faults.stage import COMMANDS, any_step, change

_PUBLISHING = 0.8  # of these kills
_LAST = 6  # operations at the end of a run decide what is served
_DELAY = 2e-4  # seconds in which an operation is surely under way
_YEARS = 10 * 365 * 86_400.0


@dataclass(frozen=True)
class KilledWhileWriting:
    """SIGKILL at one of the operations that change the store: before it, or hardly after."""

    command: Name

    @property
    def name(self) -> str:
        return f"SIGKILL of {self.command} at a file operation"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        if self.command == "prune":
            change(shop, draw)  # else there is nothing to take away
        step = shop.next(self.command, draw)
        run = shop.runs[self.command]
        publishing = draw.random() < _PUBLISHING
        last = run.published if publishing else run.operations
        at = draw.randint(max(1, last - _LAST + 1) if publishing else 1, last)
        delay = draw.choice([0.0, draw.uniform(1e-6, _DELAY)])
        dies = Dies(shop.store, at, publishing, delay)
        return _killed(shop, step, Child(step.command, dies).end())


@dataclass(frozen=True)
class KilledAtAnyMoment:
    """SIGKILL whenever it falls, within native code too."""

    command: Name

    @property
    def name(self) -> str:
        return f"SIGKILL of {self.command} at any moment"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        step = shop.next(self.command, draw)
        with Child(step.command) as child:
            time.sleep(draw.uniform(0, shop.runs[self.command].seconds))
            child.kill()
            return _killed(shop, step, child.end())


def _killed(shop: Shop, step: Step, ended: Ended) -> Step:
    """What must hold after a kill: all of the step or nothing of it, all if it said so."""
    assert ended.error is None, ended.error
    shop.tally["kills"] += 1
    shop.tally["kills that stopped a run early"] += ended.killed
    shop.holds(step, done=True if ended.snapshot_id else None)
    return step


@dataclass(frozen=True)
class SecondWriter:
    """A writer beside one at work, which then goes on or is killed."""

    name: str = "two writers"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        first = any_step(shop, draw)
        second = any_step(shop, draw)
        with Child(first.command, halting=True) as child:
            child.halted()
            if _encodes(first) and draw.random() < 0.5:
                child.proceed()
                child.halted()  # later in its work
            with pytest.raises(StoreLockedError, match="another process is writing"):
                second.command.run()
            shop.holds(second, done=False)
            if draw.random() < 0.5:
                child.kill()
                child.end()
                shop.acknowledge(second, second.command.run())  # it left no lock
                return shop.next(first.command.name, draw)
            child.release()
            shop.acknowledge(first, child.end().snapshot_id)
        return shop.next(draw.choice(COMMANDS), draw)


def _encodes(step: Step) -> bool:
    """Whether reading is not the only step of its run."""
    if step.command.name == "apply":  # of other prices alone, nothing is encoded
        return step.before.products.keys() != step.after.products.keys()
    return step.command.name == "index"


@dataclass(frozen=True)
class ClockBackwards:
    """The clock is set back, and snapshots are made and rolled back by it."""

    name: str = "clock going backwards"

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        before = shop.snapshots.current_id()
        step = any_step(shop, draw)
        seconds = -draw.choice([1.0, 3_600.0, _YEARS]) * draw.uniform(1.0, 2.0)
        ended = Child(step.command, ClockOff(seconds)).end()
        shop.acknowledge(step, ended.snapshot_id)
        assert ended.snapshot_id is not None
        assert before is not None
        manifest = shop.snapshots.manifest(ended.snapshot_id)
        if seconds < -10.0:
            assert manifest.created_at < shop.snapshots.manifest(before).created_at
        assert shop.snapshots.ids()[-2:] == [before, ended.snapshot_id]
        with shop.snapshots.writing():
            assert shop.snapshots.rollback() == before
            shop.witness.serves(before)
            assert shop.snapshots.rollback(ended.snapshot_id) == ended.snapshot_id
        return any_step(shop, draw)
