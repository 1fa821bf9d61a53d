"""What every kind of fault has in common."""

from __future__ import annotations

import random
from typing import Protocol

from tests.faults.commands import Name
from tests.faults.shop import Shop, Step

COMMANDS: tuple[Name, ...] = ("index", "apply", "publish")


class Fault(Protocol):
    """One kind of fault."""

    @property
    def name(self) -> str:
        """What the kind is called in the report."""

    def stage(self, shop: Shop, draw: random.Random) -> Step:
        """Let it happen and assert what must hold at once; the step that must then succeed."""


def any_step(shop: Shop, draw: random.Random) -> Step:
    """A change by one of the commands."""
    return shop.next(draw.choice(COMMANDS), draw)


def change(shop: Shop, draw: random.Random) -> None:
    """The shop goes on by one whole change, so that there is a snapshot before the current one."""
    step = any_step(shop, draw)
    shop.acknowledge(step, step.command.run())
