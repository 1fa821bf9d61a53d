"""Arrays that lie in a snapshot: memory-mapped, never copied whole."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import SnapshotDamagedError


def open_array(path: Path, dtype: type[np.generic], dimensions: int = 1) -> NDArray[Any]:
    """The array in a `.npy` file, memory-mapped and read-only.

    Raises:
        SnapshotDamagedError: the file is missing, or holds something else.
    """
    try:
        # The view is of the same pages; each slice of a `memmap` takes ten times as long to make.
        array: NDArray[Any] = np.load(path, mmap_mode="r").view(np.ndarray)
    except (OSError, ValueError, EOFError, TokenError) as error:
        raise SnapshotDamagedError(
            f"{path} does not hold an array ({error}). Roll back with: daogou snapshots rollback"
        ) from error
    if array.dtype != dtype or array.ndim != dimensions:
        raise SnapshotDamagedError(
            f"{path} holds {array.dtype} in {array.ndim} dimensions, not {np.dtype(dtype)} in "
            f"{dimensions}. Roll back with: daogou snapshots rollback"
        )
    return array


def places_in(
    ascending: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each wanted number stands among ascending ones, and whether it does; (wanted,) each."""
    places = np.searchsorted(ascending, wanted)
    there = places < len(ascending)
    there[there] = ascending[places[there]] == wanted[there]
    return places, there
