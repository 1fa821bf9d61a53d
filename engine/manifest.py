"""The manifest of a snapshot: what belongs to it, and whether that is still so."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.checksums import FileEntry, sha256_of
from engine.errors import (
    SnapshotDamagedError,
    SnapshotError,
    SnapshotNotFoundError,
    SnapshotSchemaError,
)

SCHEMA_VERSION = 3
"""Raised whenever a snapshot written before can no longer be read."""

MANIFEST = "manifest.json"
CHECKSUM = "manifest.sha256"

SMALL_FILE = 64 * 2**20
"""Files up to this size (bytes) are checksummed at every open: 43 ms for the largest, measured."""

_ROLL_BACK = "Roll back with: daogou snapshots rollback --store STORE"


class ModelEntry(BaseModel):
    """Which model a snapshot was made with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fingerprint: str
    precision: str


class Manifest(BaseModel):
    """What a snapshot holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = "daogou-snapshot"
    schema_version: int = SCHEMA_VERSION
    id: str
    parent: str | None
    created_at: datetime
    daogou_version: str
    source: str
    products: int
    rejected: int
    """Rows that gave no product in the run of `daogou index` or `daogou apply` that made it."""
    dim: int
    lexical_fingerprint: str
    models: dict[str, ModelEntry]
    ranking: ModelEntry | None = None
    """The learned final ranking, where the snapshot has one."""
    files: dict[str, FileEntry]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files.values())


def describe_files(
    folder: Path, known: Mapping[str, FileEntry] = MappingProxyType({})
) -> dict[str, FileEntry]:
    """Size and checksum of every file below the folder, by relative path.

    Those that are `known` are not read again.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: known[name] if name in known else FileEntry.of(path)
        for name, path in names.items()
        if name not in {MANIFEST, CHECKSUM}
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its checksum into the folder."""
    content = manifest.model_dump_json(indent=1).encode()
    (folder / MANIFEST).write_bytes(content)
    line = f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n"
    (folder / CHECKSUM).write_text(line, encoding="ascii")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a snapshot, checked against its own checksum.

    Raises:
        SnapshotNotFoundError: the folder is not there.
        SnapshotDamagedError: the manifest is missing, altered or not one of ours.
        SnapshotSchemaError: written by an older or newer daogou.
        SnapshotError: this user may not read it.
    """
    if not folder.is_dir():
        raise SnapshotNotFoundError(f"there is no snapshot at {folder}")
    try:
        content = (folder / MANIFEST).read_bytes()
        recorded = (folder / CHECKSUM).read_bytes()
    except PermissionError as error:
        raise SnapshotError(
            f"{folder} cannot be read ({error.strerror}). "
            "Let the user who serves it read the whole store"
        ) from error
    except OSError as error:
        raise SnapshotDamagedError(
            f"{folder} is not a daogou snapshot: {error}. {_ROLL_BACK}"
        ) from error
    expected = f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()
    if recorded != expected:
        raise SnapshotDamagedError(
            f"{folder / MANIFEST} was altered after it was written. {_ROLL_BACK}"
        )
    _check_schema(folder, content)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise SnapshotDamagedError(
            f"{folder / MANIFEST} is not a daogou manifest: {error}"
        ) from error


class _Header(BaseModel):
    """The part of a manifest that every schema version shares."""

    format: str
    schema_version: int


def _check_schema(folder: Path, content: bytes) -> None:
    """Refuse what this version cannot read, before reading the rest."""
    try:
        header = _Header.model_validate_json(content)
    except ValidationError as error:
        raise SnapshotDamagedError(
            f"{folder / MANIFEST} is not a daogou manifest: {error}"
        ) from error
    if header.format != "daogou-snapshot":
        raise SnapshotDamagedError(f"{folder} holds a {header.format!r}, not a daogou snapshot")
    if header.schema_version < SCHEMA_VERSION:
        raise SnapshotSchemaError(
            f"{folder} has schema {header.schema_version}, this daogou reads {SCHEMA_VERSION}. "
            "Upgrade it by indexing the catalog again: daogou index CATALOG --store STORE"
        )
    if header.schema_version > SCHEMA_VERSION:
        raise SnapshotSchemaError(
            f"{folder} has schema {header.schema_version}, this daogou reads {SCHEMA_VERSION}. "
            "Install a newer one: pip install --upgrade daogou"
        )


def damages(
    folder: Path, manifest: Manifest, *, every_byte: bool, verified: Container[str] = ()
) -> Iterator[str]:
    """What is wrong with the files, one sentence each; nothing when all is well.

    Sizes are always compared, checksums for files up to `SMALL_FILE`, or for all with `every_byte`,
    which also names files that do not belong: they are no reason to stop serving. Of those that
    were `verified` just now, only sizes are.
    """
    if every_byte:
        present = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        listed = {*manifest.files, MANIFEST, CHECKSUM}
        for name in sorted({path.as_posix() for path in present} - listed):
            yield f"{name} does not belong to it"
    for name, entry in sorted(manifest.files.items()):
        path = folder / name
        try:
            size = path.stat().st_size
            if size != entry.size:
                yield f"{name} has {size:,} bytes instead of {entry.size:,}"
            elif name in verified:
                continue
            elif (every_byte or size <= SMALL_FILE) and sha256_of(path) != entry.sha256:
                yield f"{name} was altered"
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"


def check_files(
    folder: Path, manifest: Manifest, *, every_byte: bool, verified: Container[str] = ()
) -> None:
    """Compare the files with the manifest, as `damages` does.

    Raises:
        SnapshotDamagedError: names up to five damaged files.
    """
    found = list(damages(folder, manifest, every_byte=every_byte, verified=verified))
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise SnapshotDamagedError(
            f"{folder} is damaged: {'; '.join(found[:5])}{more}. {_ROLL_BACK}"
        )
