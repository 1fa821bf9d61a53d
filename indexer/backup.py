"""A snapshot as one file, and back: a tar archive whose manifest comes first.

Any tar reads it. Nothing in it is compressed: vectors and models would not get smaller.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, Self

from engine.checksums import FileEntry
from engine.errors import SnapshotDamagedError, SnapshotError
from engine.manifest import CHECKSUM, MANIFEST, Manifest, read_manifest
from engine.store import SnapshotStore
from indexer.build import faults_named, staged
from indexer.making import smoke_test

_CHUNK = 1 << 20
_MOST_MANIFEST = 64 << 20  # bytes
_AGAIN = "Export it again, and copy it whole"
_NAME = "Name what snapshots export wrote"
_VERIFY = "See what else is damaged: daogou snapshots verify"
_ROOM = "Free some space, or name another file"


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
    try:
        _refuse(out, force=force)
        # Nobody else's name, and the rights of any new file: mkstemp's are for its owner alone.
        aside = out.with_name(f"{out.name}.{secrets.token_hex(8)}.part")
        try:
            with aside.open("xb") as file:
                _write(file, snapshots.path(name), manifest)
            aside.replace(out)
        finally:
            with suppress(OSError):  # where nothing may be written, nothing was left behind
                aside.unlink(missing_ok=True)
    except OSError as error:
        raise SnapshotError(f"{out} cannot be written: {error}. {_ROOM}") from error
    return manifest


def _refuse(out: Path, *, force: bool) -> None:
    """Refuse a place that is taken.

    Raises:
        SnapshotError: it is a folder, or a file that is not to be replaced.
    """
    if out.is_dir():
        raise SnapshotError(f"{out} is a folder. Name a file in it: {out / 'snapshot.tar'}")
    if out.exists() and not force:
        raise SnapshotError(f"{out} is there already. Name another file, or replace it: --force")


def _write(file: BinaryIO, folder: Path, manifest: Manifest) -> None:
    """Write a snapshot's files, every byte checked, and see to it that they last."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for each in (MANIFEST, CHECKSUM):
            _add(archive, folder / each, each, None)
        for each, entry in sorted(manifest.files.items()):
            _add(archive, folder / each, each, entry)
    file.flush()
    os.fsync(file.fileno())


def _add(archive: tarfile.TarFile, path: Path, name: str, entry: FileEntry | None) -> None:
    """Append one file; with its entry, only as it was written."""
    if not path.exists():
        raise SnapshotDamagedError(f"{path} is missing. {_VERIFY}")
    with _Source(path, _VERIFY) as file:
        member = tarfile.TarInfo(name)
        member.size, member.mode = file.size, 0o644
        read = _Hashed(file)
        archive.addfile(member, read)
    if entry is not None and (member.size, read.sha256) != (entry.size, entry.sha256):
        raise SnapshotDamagedError(f"{path} was altered. {_VERIFY}")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """The next bytes."""


class _Source:
    """A file to read from: what the disk says of it is told as its own fault, not the target's."""

    def __init__(self, path: Path, cure: str) -> None:
        """Open it.

        Raises:
            SnapshotError: it cannot be read, now or later; with what to do then.
        """
        self._path = path
        self._cure = cure
        with self._faults_named():
            self._file = path.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @contextmanager
    def _faults_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SnapshotError(
                f"{self._path} cannot be read ({error.strerror or error}). {self._cure}"
            ) from error

    @property
    def size(self) -> int:
        """In bytes."""
        with self._faults_named():
            return os.fstat(self._file.fileno()).st_size

    def read(self, size: int, /) -> bytes:
        """The next bytes.

        Raises:
            SnapshotError: the disk does not give them.
            tarfile.ReadError: more are asked for than any header has: its length is damaged.
        """
        if not 0 <= size <= _CHUNK:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        with self._faults_named():
            return self._file.read(size)

    def seek(self, place: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place."""
        with self._faults_named():
            return self._file.seek(place, whence)

    def tell(self) -> int:
        """Where it is."""
        with self._faults_named():
            return self._file.tell()


class _Hashed:
    """A file that is read through, and the checksum of what was."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = _CHUNK, /) -> bytes:
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
            given = _unpack(archive, staging.folder, source)
        manifest = given.model_copy(update={"id": staging.id, "parent": staging.parent})
        _try(staging.folder, manifest, threads, source)
        snapshots.publish(staging, manifest)
    return manifest


def _try(folder: Path, manifest: Manifest, threads: int, source: Path) -> None:
    """Search what came out of the archive, before a shopper does.

    Raises:
        SnapshotDamagedError: whoever wrote it wrote what cannot be searched.
    """
    try:
        smoke_test(folder, manifest, threads)
    # Bytes that are as their checksums say may still be any: so native code calls what it reads.
    except (SnapshotDamagedError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise SnapshotDamagedError(
            f"{source} holds what cannot be searched ({error}). {_AGAIN}"
        ) from error


@contextmanager
def _opened(source: Path) -> Iterator[tarfile.TarFile]:
    """The archive, to be unpacked; what is wrong with it in our words.

    Raises:
        SnapshotDamagedError: it is none, or not whole.
        SnapshotError: it cannot be read.
    """
    with _Source(source, _NAME) as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[call-overload]
                yield archive
        # Of headers that make no sense tarfile says so in any of these ways.
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise SnapshotDamagedError(f"{source} is damaged: {error}. {_AGAIN}") from error


def _unpack(archive: tarfile.TarFile, folder: Path, source: Path) -> Manifest:
    """Write every member into the folder, compared with the manifest, which comes first."""
    for name in (MANIFEST, CHECKSUM):
        member = archive.next()
        if member is None or member.name != name or not 0 <= member.size <= _MOST_MANIFEST:
            raise SnapshotDamagedError(
                f"{source} is no snapshot: it does not begin with {name}. {_AGAIN}"
            )
        _extract(archive, member, folder / name, source)
    manifest = _manifest(folder, source)
    waiting = dict(manifest.files)
    while (member := archive.next()) is not None:
        entry = waiting.pop(member.name, None)
        if entry is None or not member.isreg() or member.size != entry.size:
            raise SnapshotDamagedError(
                f"{source}: {member.name!r} is not what the manifest lists. {_AGAIN}"
            )
        path = folder / member.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if _extract(archive, member, path, source) != entry.sha256:
            raise SnapshotDamagedError(f"{source}: {member.name} was altered. {_AGAIN}")
    if waiting:
        raise SnapshotDamagedError(
            f"{source} is cut short: {len(waiting)} files are missing, {min(waiting)} among them. "
            f"{_AGAIN}"
        )
    return manifest


def _manifest(folder: Path, source: Path) -> Manifest:
    """The manifest that came out of the archive; what it lists lies inside the folder.

    Raises:
        SnapshotDamagedError: it is damaged, or lists what cannot be a snapshot's file.
        SnapshotSchemaError: written by an older or newer daogou.
    """
    try:
        manifest = read_manifest(folder)
    except SnapshotDamagedError as error:  # which names a folder that is about to go
        raise SnapshotDamagedError(f"{source}: its manifest is damaged. {_AGAIN}") from error
    names = manifest.files.keys()
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in sorted(names):
        if not _stays_inside(name) or name in folders | {MANIFEST, CHECKSUM}:
            raise SnapshotDamagedError(
                f"{source}: its manifest lists {name!r}, which is no file of a snapshot. {_AGAIN}"
            )
    return manifest


def _stays_inside(name: str) -> bool:
    """Whether a path is relative, and leads nowhere but below where it begins."""
    path = PurePosixPath(name)
    plain = str(path) == name and not path.is_absolute() and ".." not in path.parts
    return plain and path != PurePosixPath() and not {"\0", "\\", ":"} & set(name)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, source: Path) -> str:
    """Write one member; the checksum of what was written."""
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise SnapshotDamagedError(f"{source}: {member.name!r} is no file. {_AGAIN}")
    read = _Hashed(file)
    with path.open("wb") as out:
        while data := read.read(_CHUNK):
            out.write(data)
    return read.sha256
