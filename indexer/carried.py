"""What outlives an index run though no catalog holds it: what shoppers did and asked, and the like.

It is taken over from the snapshot that is served, every byte checked: damage must not pass on.
Where that one is damaged, the newest older one that has it whole gives it, and the run says so.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from engine.errors import CatalogError, SnapshotError
from engine.guide.behaviour import FOLDER as BEHAVIOUR
from engine.guide.evidence import FOLDER as EVIDENCE
from engine.manifest import Manifest, read_manifest
from engine.retrieval.suggestions import ASKED, read_asked
from engine.retrieval.suggestions import FOLDER as SUGGEST
from engine.store import SnapshotStore

PAST_QUERIES = "past-queries"
"""What shoppers asked, among what a snapshot may hold."""

_PLACES = {
    BEHAVIOUR: f"{BEHAVIOUR}/",
    EVIDENCE: f"{EVIDENCE}/",
    PAST_QUERIES: f"{SUGGEST}/{ASKED}",
}


@dataclass(frozen=True, slots=True)
class _Held:
    """A part that a snapshot has, every byte as it was written."""

    folder: Path
    files: tuple[str, ...]


class Carried:
    """Takes parts over from the snapshots of a store, and notes what that came to."""

    def __init__(self, snapshots: SnapshotStore) -> None:
        """Look at the snapshot that is served and those before it; at all where none can be told.

        Args:
            snapshots: the store.
        """
        self.recovered: dict[str, str] = {}
        """Parts of which the snapshot before was damaged, and the older one that gave each."""
        self.lost: list[str] = []
        """Parts of which it was damaged, and no older one has them whole."""
        try:
            current = snapshots.current_id()
        except SnapshotError:
            current = None
        ids = reversed(snapshots.ids())
        self._told = current is not None
        self._folders = [snapshots.path(name) for name in ids if current is None or name <= current]

    def adopt(self, target: Path, *parts: str) -> None:
        """Copy what there is of these parts into the folder of a new snapshot.

        What shoppers did names products by their ids, and what finds answers reads any text: a
        catalog that changed makes neither wrong.
        """
        for part in parts:
            held = self._find(part)
            if held is None:
                continue
            for name in held.files:
                (target / name).parent.mkdir(exist_ok=True)
                shutil.copy2(held.folder / name, target / name)

    def look(self, *, past_queries: bool) -> None:
        """Note what would come of every part, past queries if wanted; nothing is copied."""
        for part in _PLACES:
            if past_queries or part != PAST_QUERIES:
                self._find(part)

    def past_queries(self) -> dict[str, int]:
        """What shoppers asked, by how often, as an earlier run was told."""
        held = self._find(PAST_QUERIES)
        return read_asked(held.folder / SUGGEST) if held else {}

    def _find(self, part: str) -> _Held | None:
        """The part as the newest snapshot has it that has it whole."""
        there = False
        for place, folder in enumerate(self._folders):
            try:
                manifest = read_manifest(folder)
            except SnapshotError:
                there |= _lies_in(folder, part)
                continue
            files = _files(manifest, part)
            if not files:  # there was none, or its loss was told before
                break
            if all(manifest.files[name].is_at(folder / name) for name in files):
                if place or not self._told:
                    self.recovered[part] = folder.name
                return _Held(folder, files)
            there = True
        if there:
            self.lost.append(part)
        return None


def _files(manifest: Manifest, part: str) -> tuple[str, ...]:
    """A part's files in a snapshot; none where they are empty."""
    files = [name for name in manifest.files if name.startswith(_PLACES[part])]
    return tuple(files) if any(manifest.files[name].size for name in files) else ()


def _lies_in(folder: Path, part: str) -> bool:
    """Whether a folder whose manifest is damaged has something of a part."""
    try:
        path = folder / _PLACES[part]
        return any(path.iterdir()) if path.is_dir() else path.stat().st_size > 0
    except OSError:
        return False


def read_queries(path: Path) -> dict[str, int]:
    """What shoppers asked, by how often: each line of the file is one query.

    Raises:
        CatalogError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            return dict(Counter(line.strip() for line in lines if line.strip()))
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(
            f"{path} cannot be read ({error}). Give a UTF-8 file with one query a line"
        ) from error
