"""How much of the machine is ours, and what it can do."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may run on, which in a container may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def cpu_features() -> frozenset[str]:
    """What the CPU can do, in the names Linux has for it; empty elsewhere."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def adds_bytes() -> bool:
    """Whether the CPU adds up products of 8-bit numbers in one instruction; True if unknown.

    VNNI and AMX of x86, the dot product and matrix instructions of ARM. Without them int8 is
    slower than float32, and less exact: sums of two products are cut off at 16 bits.
    """
    return not cpu_features() or bool(cpu_features() & _ADDING_BYTES)


_ADDING_BYTES = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
