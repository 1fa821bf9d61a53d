"""What is learnt of how long work takes."""

from __future__ import annotations

import time

import pytest

from engine.pace import Pace


def test_nothing_known_forbids_nothing() -> None:
    pace = Pace()
    assert pace.expected(1_000) == 0.0
    assert pace.allows(1_000, time.monotonic() + 0.001)
    assert not pace.allows(0, time.monotonic() - 0.001)  # it is over already


def test_work_that_would_end_late_is_not_allowed() -> None:
    pace = Pace()
    with pace.learning(2):
        time.sleep(0.02)
    assert pace.expected(100) >= 1.0
    assert pace.allows(100, None)
    assert pace.allows(100, time.monotonic() + 60)
    assert not pace.allows(100, time.monotonic() + 0.5)


def test_one_slow_moment_does_not_forbid_for_good() -> None:
    pace = Pace()
    with pace.learning(1):
        time.sleep(0.05)
    answers = [pace.allows(1, time.monotonic() + 0.02) for _ in range(60)]
    assert not answers[0]
    assert answers[-1]


def test_work_that_failed_teaches_nothing() -> None:
    pace = Pace()
    with pytest.raises(ValueError, match="broken"), pace.learning(1):
        raise ValueError("broken")
    with pace.learning(0):
        pass
    assert pace.expected(1) == 0.0
