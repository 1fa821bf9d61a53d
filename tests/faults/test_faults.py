"""Whatever befalls it, the store serves one whole snapshot, and a repeated run mends the rest."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.faults.census import FAULTS, SEED, Census
from tests.faults.schedule import schedule
from tests.faults.shop import Shop
from tests.faults.stage import Fault

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        pytest.param(number, fault, id=f"fault-{number:04d} {fault.name}")
        for number, fault in enumerate(schedule(FAULTS))
    ],
)
def test_fault(number: int, fault: Fault, shops: Callable[[], Shop], census: Census) -> None:
    with census.counting(number, fault.name):
        shop = shops()
        step = fault.stage(shop, random.Random(f"{SEED}: {number}"))
        shop.repeat(step)


def test_the_faults_struck(census: Census) -> None:
    """Kills that came too late, and a witness that saw nothing, would prove nothing."""
    if census.staged.total() + census.skipped.total() < FAULTS:
        pytest.skip("only some of the faults were staged")
    tally = census.tally
    assert tally["kills that stopped a run early"] >= tally["kills"] // 2
    assert tally["disks whose failure stopped a run"] >= tally["disks that failed"] // 2
