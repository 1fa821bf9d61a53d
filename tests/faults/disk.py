"""A disk of the shop's own: where root may mount it, it can be filled and protected for true."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE = "size=2g"
_KIB = 1024


class Disk:
    """A file system in memory, or, where it may not be mounted, a plain folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        root = sys.platform == "linux" and os.geteuid() == 0
        self.mounted = root and self._mount("tmpfs", _SIZE)

    def _mount(self, *options: str) -> bool:
        kind = ["-t", options[0], "daogou-faults"] if len(options) > 1 else []
        command = ["mount", *kind, "-o", options[-1], str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Room for so many more bytes, within the context."""
        held = shutil.disk_usage(self.folder).used + size
        assert self._mount(f"remount,size={held // _KIB}k"), "cannot shrink the disk"
        try:
            yield
        finally:
            assert self._mount(f"remount,{_SIZE}")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written by those who come now, within the context.

        The same disk is mounted over itself: itself it cannot be protected while a deleted file of
        it is still being read.
        """
        place = str(self.folder)
        subprocess.run(["mount", "--bind", place, place], check=True)
        try:
            assert self._mount("remount,bind,ro")
            yield
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)

    def close(self) -> None:
        """Unmount it."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
