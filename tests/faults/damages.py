"""Faults of what was written: cut short, or one bit of it another."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.errors import SnapshotDamagedError, SnapshotError
from engine.manifest import CHECKSUM, MANIFEST
from engine.snapshot import Snapshot
from tests.faults.shop import Shop, Step
from tests.faults.stage import change

Harm = Callable[[bytes, random.Random], bytes]


def truncated(content: bytes, draw: random.Random) -> bytes:
    """The beginning of it."""
    return content[: draw.randrange(len(content))]


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One bit is another."""
    place = draw.randrange(len(content))
    bit = bytes([content[place] ^ 1 << draw.randrange(8)])
    return content[:place] + bit + content[place + 1 :]


@dataclass(frozen=True)
class DamagedFile:
    """A file of the snapshot that is served is damaged; perhaps of the one before as well.

    The damage lies in a new file of the same name: a running server keeps what it has open, as it
    does when a disk gives back something else on the next read.
    """

    name: str
    harm: Harm

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        before, offer = shop.snapshots.current(), shop.offer
        change(shop, draw)
        current, step = shop.snapshots.current(), shop.next("index", draw)
        entries = shop.snapshots.manifest(current.name).files
        wholes = {name for name, entry in entries.items() if entry.size}
        name = draw.choice(sorted(wholes | {MANIFEST, CHECKSUM}))
        both = draw.random() < 0.3 and (before / name).exists()
        for folder in (current, before) if both else (current,):
            self._damage(folder / name, draw)

        assert shop.snapshots.verify(), f"{name} is damaged and passes for whole"
        with pytest.raises(SnapshotError, match=r"daogou (snapshots rollback|index)"):
            Snapshot.open(current)
        assert "daogou" in shop.witness.report("open").refused  # the old one is served on
        shop.witness.serves(current.name)
        self._refused(shop, shop.next("apply", draw))
        if name not in {MANIFEST, CHECKSUM} and not name.startswith("ranking/"):
            self._refused(shop, shop.next("publish", draw))
        with shop.snapshots.writing():
            if both:
                with pytest.raises(SnapshotDamagedError, match="daogou snapshots rollback"):
                    shop.snapshots.rollback(before.name)
            else:
                shop.snapshots.rollback(before.name)
                assert shop.served() == offer
                shop.witness.serves(before.name)
        return step

    def _refused(self, shop: Shop, step: Step) -> None:
        """Assert that nothing is made of what is damaged."""
        before = shop.snapshots.current_id()
        with pytest.raises(SnapshotError, match=r"daogou (snapshots rollback|index)"):
            step.command.run()
        assert shop.snapshots.current_id() == before

    def _damage(self, path: Path, draw: random.Random) -> None:
        content = path.read_bytes()
        aside = path.with_name(path.name + ".damaged")
        aside.write_bytes(self.harm(content, draw))
        aside.replace(path)


@dataclass(frozen=True)
class DamagedPointer:
    """The pointer to what is served is damaged."""

    name: str
    harm: Harm

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        change(shop, draw)
        path, step = shop.store / "CURRENT", shop.next("index", draw)
        known, content = shop.snapshots.ids(), path.read_bytes()
        path.write_bytes(self.harm(content, draw))
        try:
            found = shop.snapshots.current().name
        except SnapshotDamagedError:
            newest = known[-1]
            assert f"daogou snapshots rollback {newest}" in shop.witness.report("open").refused
            shop.witness.serves(newest)
            with shop.snapshots.writing():
                shop.snapshots.rollback(newest)
            shop.holds(step, done=False)
        else:  # what was cut off is a line end, or one bit makes it the id before: whole as well
            assert found in known
            assert shop.snapshots.verify() == []
        return step
