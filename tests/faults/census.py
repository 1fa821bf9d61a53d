"""What a run of the suite has staged and seen, to be told at its end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

FAULTS = int(os.environ.get("DAOGOU_FAULTS", "50"))
SEED = int(os.environ.get("DAOGOU_FAULT_SEED", "17"))


@dataclass(slots=True)
class Census:
    """Counts over all shops of a run."""

    staged: Counter[str] = field(default_factory=Counter)
    """Faults by kind."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Those that this machine cannot stage, and why."""
    tally: Counter[str] = field(default_factory=Counter)
    """What the faults did."""
    failures: Counter[str] = field(default_factory=Counter)
    """Faults after which something did not hold, by kind."""
    searches: int = 0
    failed_searches: int = 0

    @contextmanager
    def counting(self, number: int, kind: str) -> Iterator[None]:
        """Count a fault staged here; what fails says how to repeat it.

        Raises:
            whatever is raised inside, with a note.
        """
        try:
            yield
            self.staged[kind] += 1
        except pytest.skip.Exception as reason:
            self.skipped[f"{kind}: {reason.msg}"] += 1
            raise
        except (Exception, pytest.fail.Exception) as error:
            self.staged[kind] += 1
            self.failures[kind] += 1
            error.add_note(
                f"fault {number} of seed {SEED}: {kind}. Again: DAOGOU_FAULTS={FAULTS} "
                f"DAOGOU_FAULT_SEED={SEED} pytest tests/faults -k fault-{number:04d}"
            )
            raise

    def lines(self) -> Iterator[str]:
        """The report."""
        yield f"faults staged: {self.staged.total():,} (seed {SEED})"
        for counter in (self.staged, self.tally):
            yield from (f"  {count:6,}  {what}" for what, count in sorted(counter.items()))
        yield from (f"  not staged: {one}, {count:,}" for one, count in self.skipped.items())
        yield f"searches served meanwhile: {self.searches:,}, failed: {self.failed_searches:,}"
        yield f"failures: {self.failures.total():,}"
