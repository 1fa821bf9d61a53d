"""The files of a tantivy index in a snapshot: read by whoever serves, and never written again."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.errors import SnapshotError


def settle(folder: Path, mode: int) -> None:
    """Drop tantivy's locks, and let everybody read who may read the other files."""
    for lock in folder.glob("*.lock"):
        lock.unlink()
    # tantivy lets only the writing user read some; who serves may be another.
    for path in folder.iterdir():
        path.chmod(mode)


@contextlib.contextmanager
def mirrored(folder: Path) -> Iterator[Path]:
    """A temporary folder of links to the files of this one.

    tantivy makes a lock file beside any index it opens, but a snapshot never changes: it may be
    another user's, or on a read-only disk. All files are mapped at opening; then the links may go.
    """
    paths = [path.absolute() for path in folder.iterdir() if path.suffix != ".lock"]
    for path in paths:
        path.open("rb").close()  # tantivy's error would not tell forbidden from damaged
    try:
        mirror = Path(tempfile.mkdtemp(prefix="daogou-"))
    except OSError as error:
        raise SnapshotError(
            f"no folder for temporary files ({error}). Name one that can be written: TMPDIR=FOLDER"
        ) from error
    try:
        for path in paths:
            (mirror / path.name).symlink_to(path)
        yield mirror
    finally:
        # tantivy's watching thread makes one lock file as it starts, perhaps during the first.
        for _ in range(2):
            shutil.rmtree(mirror, ignore_errors=True)
