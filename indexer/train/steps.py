"""Steps of long work that are not done twice: each leaves a marker with what it was done with."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from engine.checksums import sha256_of


class Steps:
    """The steps done in one folder."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda _: None) -> None:
        """Keep markers in a folder.

        Args:
            folder: made when the first step is done.
            say: told what is done and what was done before.
        """
        self._folder = folder
        self._say = say

    def run(
        self,
        name: str,
        made_with: object,
        work: Callable[[], object],
        forget: Callable[[], object] = lambda: None,
        *,
        leaves: Path | None = None,
    ) -> None:
        """Do the work, unless it was done with the same before and what it left is there.

        Args:
            name: of the step, and of its marker.
            made_with: JSON types: whatever decides the result.
            work: leaves its result on disk; goes on from what a kill left of it.
            forget: called before where what is left was made with something else.
            leaves: where the result is; not looked for if left out.
        """
        marker = self._folder / f"{name}.json"
        digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()
        there = leaves is None or leaves.exists()
        if there and marker.is_file() and json.loads(marker.read_bytes())["digest"] == digest:
            self._say(f"{name}: done before")
            return
        marker.unlink(missing_ok=True)  # what it marked is about to change
        begun = self._folder / f"{name}.begun"
        if begun.is_file() and begun.read_text(encoding="ascii") != digest:
            forget()
        _write(begun, digest)
        started = time.monotonic()
        work()
        seconds = round(time.monotonic() - started, 1)
        _write(marker, json.dumps({"digest": digest, "seconds": seconds}))
        self._say(f"{name}: done in {seconds:.0f} s")


def _write(path: Path, text: str) -> None:
    """Write aside, then replace: a kill leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".fresh")
    with fresh.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def state_of(path: Path) -> str:
    """Hex digest of a file, or of every file below a folder; "" where there is none."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    lines = [f"{each.relative_to(path)} {sha256_of(each)}\n" for each in files]
    return hashlib.sha256("".join(lines).encode("utf-8", "replace")).hexdigest() if lines else ""
