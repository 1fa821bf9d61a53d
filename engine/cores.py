"""How much of the machine is ours, and what its CPU can do."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may run on, which in a container may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def cpu_flags() -> frozenset[str]:
    """What the CPU can do, in Linux's words; empty elsewhere."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            said = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        return frozenset()
    return frozenset(said.partition(":")[2].split())


def multiplies_bytes() -> bool:
    """Whether products of bytes are added in one instruction: not on x86 CPUs without VNNI.

    True as well where the CPU does not say what it can do, or is none of x86.
    """
    flags = cpu_flags()
    return "avx2" not in flags or not flags.isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8"})
