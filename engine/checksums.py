"""Whether a file still is what was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class FileEntry(BaseModel):
    """Size in bytes and SHA-256 of one file, as it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """The entry of a file as it is now."""
        return cls(size=path.stat().st_size, sha256=sha256_of(path))

    def is_at(self, path: Path) -> bool:
        """Whether the file there still is what was recorded."""
        try:
            return path.stat().st_size == self.size and sha256_of(path) == self.sha256
        except OSError:
            return False


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
