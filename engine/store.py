"""A shop's snapshots: published whole, switched by replacing one pointer file.

STORE/CURRENT            id of the snapshot that is served
STORE/snapshots/ID/      published snapshots
STORE/staging/ID/        one being built; whatever a crash left here is swept by the next writer
STORE/writer.lock        held by the one writer; the system drops it when the process dies
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from engine import clock
from engine.errors import (
    SnapshotDamagedError,
    SnapshotError,
    SnapshotNotFoundError,
    StoreLockedError,
)
from engine.manifest import Manifest, check_files, damages, read_manifest, write_manifest
from engine.models.folder import read_model_info

_POINTER = "CURRENT"
_ID = re.compile(r"\d{6,}-\d{8}T\d{6}Z")


@dataclass(frozen=True, slots=True)
class Staging:
    """A snapshot being built aside: where, under which id, and after which one."""

    folder: Path
    id: str
    parent: str | None


class SnapshotStore:
    """Publishes, finds, rolls back and prunes the snapshots of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._snapshots = folder / "snapshots"
        self._staging = folder / "staging"

    def current_id(self) -> str | None:
        """Id of the snapshot that is served, None before the first is published.

        Raises:
            SnapshotDamagedError: the pointer file does not hold an id, or is missing though
                snapshots lie there.
        """
        try:
            name = (self.folder / _POINTER).read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            if not self.ids():
                return None
            raise self._bad_pointer("it is missing") from error
        except (OSError, UnicodeDecodeError) as error:
            raise self._bad_pointer(str(error)) from error
        if name not in self.ids():
            raise self._bad_pointer(f"it names {name!r}")
        return name

    def _bad_pointer(self, reason: str) -> SnapshotDamagedError:
        newest = self.ids()[-1:]
        cure = (
            f"Choose one: daogou snapshots rollback {newest[0]} --store {self.folder}"
            if newest
            else f"Index the catalog again: daogou index CATALOG --store {self.folder}"
        )
        return SnapshotDamagedError(
            f"{self.folder / _POINTER} does not point to a snapshot: {reason}. {cure}"
        )

    def current(self) -> Path:
        """Folder of the snapshot that is served.

        Raises:
            SnapshotNotFoundError: nothing was published yet.
            SnapshotDamagedError: as `current_id`.
        """
        name = self.current_id()
        if name is None:
            raise SnapshotNotFoundError(
                f"{self.folder} holds no index. "
                f"Make one: daogou index CATALOG --store {self.folder}"
            )
        return self.path(name)

    def path(self, snapshot_id: str) -> Path:
        """Folder of a published snapshot."""
        return self._snapshots / snapshot_id

    def ids(self) -> list[str]:
        """Ids of all published snapshots, oldest first."""
        if not self._snapshots.is_dir():
            return []
        names = (path.name for path in self._snapshots.iterdir() if path.is_dir())
        return sorted(name for name in names if _ID.fullmatch(name))

    def manifest(self, snapshot_id: str) -> Manifest:
        """What one snapshot holds.

        Raises:
            SnapshotError: missing, damaged or of another schema.
        """
        return read_manifest(self._existing(snapshot_id))

    def _existing(self, snapshot_id: str) -> Path:
        if snapshot_id not in self.ids():
            known = ", ".join(self.ids()[-5:]) or "none"
            raise SnapshotNotFoundError(
                f"{self.folder} has no snapshot {snapshot_id!r}. It has: {known}"
            )
        return self.path(snapshot_id)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock; the system releases it if the process dies.

        Raises:
            StoreLockedError: another process is writing.
            SnapshotError: the store cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "writer.lock", blocking=False)
            lock.acquire()
        except Timeout as error:
            raise StoreLockedError(
                f"another process is writing to {self.folder}. Run this again when it is done"
            ) from error
        except OSError as error:
            raise SnapshotError(
                f"cannot write to {self.folder}: {error.strerror}. Let this user write there, or "
                "name another folder: --store DIR"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def stage(self) -> Staging:
        """An empty folder to build the next snapshot in. The writer's lock must be held."""
        shutil.rmtree(self._staging, ignore_errors=True)
        sequence = max((int(name.split("-")[0]) for name in self.ids()), default=0) + 1
        # The sequence orders snapshots even when the clock goes backwards.
        name = f"{sequence:06d}-{clock.now():%Y%m%dT%H%M%SZ}"
        folder = self._staging / name
        folder.mkdir(parents=True)
        try:
            parent = self.current_id()
        except SnapshotDamagedError:  # publishing mends the pointer
            parent = None
        return Staging(folder, name, parent)

    def publish(self, staging: Staging, manifest: Manifest, verified: Collection[str] = ()) -> Path:
        """Check every byte, make it durable, and serve it from now on. Returns its folder.

        Files the parent holds with the same content are hard-linked to it. Killed at any
        moment, the store serves either what it served before or all of this.

        Args:
            staging: where it was built.
            manifest: what it holds.
            verified: files that are the parent's own, every byte of them read just now.

        Raises:
            SnapshotDamagedError: a staged file is not what the manifest says.
        """
        self._link_unchanged(staging, manifest, verified)
        write_manifest(staging.folder, manifest)
        check_files(
            staging.folder, read_manifest(staging.folder), every_byte=True, verified=verified
        )
        for path in [*staging.folder.rglob("*"), staging.folder]:
            if path.relative_to(staging.folder).as_posix() not in verified:
                _fsync(path)
        self._snapshots.mkdir(exist_ok=True)
        target = self.path(staging.id)
        staging.folder.rename(target)
        try:
            _fsync(self._snapshots)
            self._point_to(staging.id)
        except OSError:  # a full disk: what is not served must not look published
            target.rename(staging.folder)
            raise
        shutil.rmtree(self._staging, ignore_errors=True)
        return target

    def _link_unchanged(
        self, staging: Staging, manifest: Manifest, verified: Collection[str]
    ) -> None:
        """Replace staged files by hard links where the parent holds the same bytes."""
        if staging.parent is None:
            return
        try:
            before = self.manifest(staging.parent)
        except SnapshotError:
            return  # a damaged or older parent has nothing to share
        for name, entry in manifest.files.items():
            if name in verified:
                continue
            source = self.path(staging.parent) / name
            # Damage must not pass to the next snapshot.
            if before.files.get(name) == entry and entry.is_at(source):
                _link(source, staging.folder / name)

    def _point_to(self, snapshot_id: str) -> None:
        """Replace the pointer in one step, durably."""
        aside = self.folder / f"{_POINTER}.next"
        with aside.open("w", encoding="utf-8") as file:
            file.write(snapshot_id + "\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.folder / _POINTER)
        _fsync(self.folder)

    def rollback(self, snapshot_id: str | None = None) -> str:
        """Serve an earlier snapshot again: the named one, or the one served before the current.

        Returns the id now served.

        Raises:
            SnapshotNotFoundError: there is none to go back to.
            SnapshotDamagedError: the one to go back to is damaged.
            ModelError: this version of daogou does not read its models.
        """
        target = snapshot_id or self._before_current()
        folder = self._existing(target)
        manifest = read_manifest(folder)
        check_files(folder, manifest, every_byte=True)
        for kind in manifest.models:
            read_model_info(folder / "models" / kind, kind=kind)
        self._point_to(target)
        return target

    def _before_current(self) -> str:
        """The current snapshot's parent; where that is gone or unknown, the one before by number.

        By number alone, rolling back twice around a bad snapshot would serve the bad one.
        """
        current = self.current().name
        ids = self.ids()
        earlier = [name for name in ids if name < current]
        with contextlib.suppress(SnapshotDamagedError):
            parent = self.manifest(current).parent
            if parent in earlier:
                return str(parent)
        if not earlier:
            cure = (
                f"Serve a later one: daogou snapshots rollback {ids[-1]} --store {self.folder}"
                if ids[-1] > current
                else f"Make another: daogou index CATALOG --store {self.folder}"
            )
            raise SnapshotNotFoundError(f"{self.folder} has no snapshot before {current}. {cure}")
        return earlier[-1]

    def verify(self, snapshot_id: str | None = None) -> list[str]:
        """Every damage of a snapshot (the current one by default), found by reading every byte."""
        folder = self._existing(snapshot_id) if snapshot_id else self.current()
        try:
            manifest = read_manifest(folder)
        except SnapshotError as error:
            return [str(error)]
        return list(damages(folder, manifest, every_byte=True))

    def prune(self, keep: int) -> list[str]:
        """Delete all but the current and the newest `keep` snapshots; returns the ids deleted.

        Raises:
            SnapshotDamagedError: nothing says which is the current one; nothing is deleted then.
        """
        current = self.current_id()
        ids = self.ids()
        doomed = [name for name in ids[: max(0, len(ids) - keep)] if name != current]
        for name in doomed:
            # Renamed first: a half-deleted snapshot must not look like a published one.
            grave = self._staging / name
            self._staging.mkdir(exist_ok=True)
            self.path(name).rename(grave)
        shutil.rmtree(self._staging, ignore_errors=True)
        return doomed


def _fsync(path: Path) -> None:
    """Make a file's bytes, or a folder's own entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> None:
    """Replace `target` by a hard link to `source`; where the disk has no links, leave the copy."""
    aside = target.with_name(target.name + ".link")
    try:
        os.link(source, aside)
    except OSError:
        return
    aside.replace(target)
