"""Files that two snapshots have in common: one set of bytes on the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path


def share(source: Path, target: Path, names: Iterable[str]) -> None:
    """Hard-link files into another folder, over what is there; copy where the disk has no links."""
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            os.link(source / name, path)
        except OSError:
            shutil.copy2(source / name, path)
