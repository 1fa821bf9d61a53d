"""Which queries a model was trained on: their figures prove nothing.

A model folder lists its training queries in `training_queries.txt` by hash, one in each line, so
the model can be given away without them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.errors import EvaluationError

TRAINING_QUERIES = "training_queries.txt"
"""The file in a model's folder."""

MODEL_FOLDERS = {"encoder": "models/encoder", "reranker": "models/reranker", "ranking": "ranking"}
"""Model → its folder in a snapshot."""

_HASH = re.compile(r"[0-9a-f]{16}")


def query_hash(text: str) -> str:
    """16 hex digits that stand for a query; case, width and spacing make no difference."""
    normal = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def write_training_queries(
    folder: Path, queries: Iterable[str], known: frozenset[str] = frozenset()
) -> Path:
    """List the queries in a model's folder, each once, in no telling order; returns the file.

    Args:
        folder: the model's.
        queries: their texts.
        known: hashes to list with theirs: of what the model goes on from.
    """
    path = folder / TRAINING_QUERIES
    lines = sorted({query_hash(text) for text in queries} | known)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")
    return path


def read_training_hashes(folder: Path) -> frozenset[str]:
    """The hashes a model's folder lists; none where it has no list.

    Raises:
        EvaluationError: the list cannot be read, or a line is no hash.
    """
    path = folder / TRAINING_QUERIES
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(
            f"{path} cannot be read ({error}). Publish the model again"
        ) from error
    found = {number: line.strip() for number, line in enumerate(lines, start=1) if line.strip()}
    for number, line in found.items():
        if not _HASH.fullmatch(line):
            raise EvaluationError(
                f"{path}:{number}: {line!r} is no hash of a query (16 hex digits). "
                "Publish the model again"
            )
    return frozenset(found.values())


def trained_before(base: str | Path) -> frozenset[str]:
    """The hashes that a base lists, in its folder or beside its checkpoint; none without a list.

    Args:
        base: Hugging Face id or folder.

    Raises:
        EvaluationError: the list cannot be read, or a line is no hash.
    """
    return read_training_hashes(Path(base)) or read_training_hashes(Path(base).parent)


def seen_by_model(snapshot_folder: Path, queries: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Model → ids of the queries it was trained on, in the order given; only models with any.

    Args:
        snapshot_folder: the folder of one snapshot.
        queries: query id → text.

    Raises:
        EvaluationError: a model's list is damaged.
    """
    hashes = {query_id: query_hash(text) for query_id, text in queries.items()}
    found: dict[str, tuple[str, ...]] = {}
    for model, folder in MODEL_FOLDERS.items():
        trained = read_training_hashes(snapshot_folder / folder)
        seen = tuple(query_id for query_id, own in hashes.items() if own in trained)
        if seen:
            found[model] = seen
    return found


def seen_in_training(snapshot_folder: Path, queries: Mapping[str, str]) -> set[str]:
    """Ids of the queries that any model of the snapshot was trained on.

    Raises:
        EvaluationError: a model's list is damaged.
    """
    return {
        query_id for seen in seen_by_model(snapshot_folder, queries).values() for query_id in seen
    }
