"""A snapshot as one file, and back: a tar archive whose manifest comes first.

Any tar reads it. Nothing in it is compressed: vectors and models would not get smaller.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engine.checksums import FileEntry
from engine.errors import SnapshotDamagedError, SnapshotError
from engine.manifest import CHECKSUM, MANIFEST, Manifest, read_manifest
from engine.store import SnapshotStore
from indexer.build import faults_named, smoke_test, staged

_CHUNK = 1 << 20
_MOST_MANIFEST = 64 << 20  # bytes
_AGAIN = "Export it again, and copy it whole"


def export_snapshot(
    store: Path, out: Path, snapshot_id: str | None = None, *, force: bool = False
) -> Manifest:
    """Write a snapshot into one file, every byte checked; returns what it holds.

    Killed at any moment, `out` is as it was or whole.

    Args:
        store: folder of the snapshots.
        out: the file to write.
        snapshot_id: which one; what is served if left out.
        force: replace a file that is there.

    Raises:
        SnapshotError: there is such a file, it cannot be written, or there is no such snapshot.
        SnapshotDamagedError: a file of the snapshot is not what was written.
    """
    snapshots = SnapshotStore(store)
    name = snapshot_id or snapshots.current().name
    manifest = snapshots.manifest(name)
    if out.exists() and not force:
        raise SnapshotError(f"{out} is there already. Name another file, or replace it: --force")
    aside = out.with_name(f"{out.name}.part")
    try:
        with aside.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for each in (MANIFEST, CHECKSUM):
                    _add(archive, snapshots.path(name) / each, each, None)
                for each, entry in sorted(manifest.files.items()):
                    _add(archive, snapshots.path(name) / each, each, entry)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(out)
    except OSError as error:
        raise SnapshotError(
            f"{out} cannot be written: {error}. Free some space, or name another file"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    return manifest


def _add(archive: tarfile.TarFile, path: Path, name: str, entry: FileEntry | None) -> None:
    """Append one file; with its entry, only as it was written."""
    try:
        with path.open("rb") as file:
            member = tarfile.TarInfo(name)
            member.size, member.mode = os.fstat(file.fileno()).st_size, 0o644
            read = _Reader(file)
            archive.addfile(member, read)
    except FileNotFoundError as error:
        raise SnapshotDamagedError(f"{path} is missing. {_VERIFY}") from error
    if entry is not None and (member.size, read.sha256) != (entry.size, entry.sha256):
        raise SnapshotDamagedError(f"{path} was altered. {_VERIFY}")


_VERIFY = "See what else is damaged: daogou snapshots verify"


class _Reader:
    """A file that is read through, and the checksum of what was."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._hash.update(data)
        return data

    @property
    def sha256(self) -> str:
        """Of everything read so far."""
        return self._hash.hexdigest()


def import_snapshot(source: Path, store: Path, *, threads: int = 0) -> Manifest:
    """Serve from `store` what `export_snapshot` wrote, as a new snapshot; returns its manifest.

    What was served before stays, to go back to. Nothing is published of a file that is damaged, or
    that this daogou cannot search.

    Raises:
        SnapshotDamagedError: a byte is not what was written, or the file is no snapshot.
        SnapshotSchemaError: written by an older or newer daogou.
        SnapshotError: the store cannot be written to; StoreLockedError where another process is.
    """
    snapshots = SnapshotStore(store)
    with snapshots.writing(), faults_named(store), staged(snapshots) as staging:
        with _opened(source) as archive:
            _unpack(archive, staging.folder, source)
        given = read_manifest(staging.folder)
        manifest = given.model_copy(update={"id": staging.id, "parent": staging.parent})
        smoke_test(staging.folder, manifest, threads)
        snapshots.publish(staging, manifest)
    return manifest


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    """The archive; what tarfile or the disk say of it in our words."""
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            yield archive
    except tarfile.TarError as error:
        raise SnapshotDamagedError(f"{source} is damaged: {error}. {_AGAIN}") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename is not None and Path(error.filename) != source:
            raise
        raise SnapshotError(
            f"{source} cannot be read ({error.strerror}). Name what snapshots export wrote"
        ) from error


def _unpack(archive: tarfile.TarFile, folder: Path, source: Path) -> None:
    """Write every member into the folder, compared with the manifest, which comes first."""
    for name in (MANIFEST, CHECKSUM):
        member = archive.next()
        if member is None or member.name != name or member.size > _MOST_MANIFEST:
            raise SnapshotDamagedError(
                f"{source} is no snapshot: it does not begin with {name}. {_AGAIN}"
            )
        _extract(archive, member, folder / name)
    waiting = dict(read_manifest(folder).files)
    while (member := archive.next()) is not None:
        entry = waiting.pop(member.name, None)
        if entry is None or not member.isreg() or member.size != entry.size:
            raise SnapshotDamagedError(
                f"{source}: {member.name!r} is not what the manifest lists. {_AGAIN}"
            )
        path = folder / member.name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise SnapshotDamagedError(f"{source}: {member.name!r} leads elsewhere. {_AGAIN}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if _extract(archive, member, path) != entry.sha256:
            raise SnapshotDamagedError(f"{source}: {member.name} was altered. {_AGAIN}")
    if waiting:
        raise SnapshotDamagedError(
            f"{source} is cut short: {len(waiting)} files are missing, {min(waiting)} among them. "
            f"{_AGAIN}"
        )


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    """Write one member; the checksum of what was written."""
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise SnapshotDamagedError(f"{path.name} is no file in the archive. {_AGAIN}")
    read = _Reader(file)
    with path.open("wb") as out:
        while data := read.read(_CHUNK):
            out.write(data)
    return read.sha256
