"""Folders that commands write whole: which may be replaced, and how."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from engine.errors import SettingsError

CARD = "README.md"
"""The model card in every such folder."""


def replaceable(out: Path, info: str, *beside: str) -> Path:
    """The folder by its full name, where writing it costs nothing but a former one of its kind.

    Asked before any work: nobody waits for a result that has no place.

    Args:
        out: as it was named; nothing need be there.
        info: name of the file that a folder of this kind is known by.
        beside: names of the files beside it and the card; `*` stands for any characters.

    Raises:
        SettingsError: it is no folder, it cannot be replaced, or it holds something else.
    """
    folder = out.resolve()
    if folder == Path.cwd() or folder.is_mount():
        raise SettingsError(
            f"--out: {out} cannot be replaced: it is the current folder, or a disk of its own. "
            "Name a folder in it"
        )
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--out: {out} is no folder. Name another")
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    ours = (info, CARD, *beside)
    foreign = [
        path.name
        for path in there
        if not (path.is_file() and any(fnmatchcase(path.name, name) for name in ours))
    ]
    if there and not (folder / info).is_file():
        foreign = foreign or [there[0].name]
    if foreign:
        raise SettingsError(
            f"--out: {out} holds {foreign[0]!r}, which would be lost. "
            "Name a new folder, or move what is in this one elsewhere"
        )
    return folder


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A fresh folder that replaces `out` when the block succeeds and is gone when it fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as aside:
        fresh = Path(aside) / "fresh"
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rename(Path(aside) / "before")
        fresh.rename(out)
