"""What a run that was stopped has encoded, for the next one to take up.

STORE/encoded/key.json     what it was encoded with
STORE/encoded/NUMBER.npz   some texts' digests, vectors and kept tokens: written aside, then renamed

A block is whole or not there; one that a failing disk tore is left out by its checksums (those of
the zip format). All of it goes once a snapshot is published.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import read_array
from numpy.typing import NDArray

from engine.arrays import HEADERS
from engine.models.folder import ModelInfo
from engine.models.tokens import PASSAGE_TOKENS
from engine.text import PASSAGE_TEMPLATE

FOLDER = "encoded"
_KEY = "key.json"
_DIGEST = 16  # bytes of SHA-256

Kept = tuple[NDArray[np.int8], NDArray[np.float32]]
"""The tokens of a passage and their scales: see `engine.models.tokens.quantise`."""


class Taken(NamedTuple):
    """What was encoded of some texts before, those that were."""

    places: NDArray[np.int64]
    """Of the texts."""
    vectors: NDArray[np.float16]
    tokens: list[Kept]
    """Empty where none are kept."""


class Checkpoint:
    """Encoded texts beside a store, which must be held for writing, or only be looked at."""

    def __init__(
        self, store: Path, encoder: ModelInfo, *, tokens: bool, only_look: bool = False
    ) -> None:
        """Open what is there; what another model made goes, and what a failing disk tore.

        Args:
            store: folder of the snapshots.
            encoder: what encodes.
            tokens: whether the tokens of passages are kept.
            only_look: leave everything where it is: the store is not held.
        """
        self._only_look = only_look
        self._folder = store / FOLDER
        key = {
            "encoder": encoder.fingerprint,
            "precision": encoder.precision,
            "template": PASSAGE_TEMPLATE,
            "tokens": PASSAGE_TOKENS if tokens else 0,
        }
        self._key = json.dumps(key, sort_keys=True)
        self._with_tokens = tokens
        self._blocks: list[Path] = []
        self._digests = np.empty(0, dtype=f"V{_DIGEST}")  # ascending
        self._found = np.empty((0, 2), dtype=np.int64)  # block and place of each
        self._open_block: tuple[int, dict[str, NDArray[np.generic]]] | None = None
        self._read()

    def __len__(self) -> int:
        return len(self._digests)

    def has(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these texts are known."""
        return self._rows(texts) >= 0

    def take(self, texts: Sequence[str]) -> Taken:
        """What is known of these texts."""
        places = []
        vectors = []
        tokens: list[Kept] = []
        for place, row in enumerate(self._rows(texts).tolist()):
            if row < 0:
                continue
            number, at = self._found[row].tolist()
            block = self._block(number)
            places.append(place)
            vectors.append(block["vectors"][at])
            if self._with_tokens:
                own = slice(*block["starts"][at : at + 2].tolist())
                tokens.append((block["tokens"][own], block["scales"][own]))  # type: ignore[arg-type]
        found = np.array(vectors, dtype=np.float16)
        return Taken(np.array(places, dtype=np.int64), found, tokens)

    def add(
        self, texts: Sequence[str], vectors: NDArray[np.float16], tokens: Sequence[Kept]
    ) -> None:
        """Keep what was encoded; durable against a kill, not against a power cut."""
        if not texts:
            return
        self._folder.mkdir(exist_ok=True)
        if not (self._folder / _KEY).exists():
            (self._folder / _KEY).write_text(self._key, encoding="utf-8")
        parts: dict[str, NDArray[np.generic]] = {"digests": _digests(texts), "vectors": vectors}
        if self._with_tokens:
            lengths = [len(scales) for _, scales in tokens]
            parts["starts"] = np.concatenate([[0], np.cumsum(lengths)])
            parts["tokens"] = np.concatenate([each for each, _ in tokens])
            parts["scales"] = np.concatenate([scales for _, scales in tokens])
        used = [int(path.stem) for path in self._folder.glob("*.npz")]
        number = max(used, default=-1) + 1
        aside = self._folder / "next"
        with aside.open("wb") as file:
            np.savez(file, **parts)  # type: ignore[arg-type]
        aside.replace(self._folder / f"{number:06d}.npz")

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read(self) -> None:
        """Note what the blocks hold."""
        try:
            same = (self._folder / _KEY).read_text(encoding="utf-8") == self._key
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            if not self._only_look:
                self.clear()
            return
        digests, found = [], []
        for path in sorted(self._folder.glob("*.npz")):
            own = _load(path, ("digests",))
            if own is None:
                if not self._only_look:
                    path.unlink(missing_ok=True)
                continue
            count = len(own["digests"])
            digests.append(own["digests"])
            found.append(np.column_stack([np.full(count, len(self._blocks)), np.arange(count)]))
            self._blocks.append(path)
        if digests:
            every, first = np.unique(np.concatenate(digests), return_index=True)
            self._digests, self._found = every, np.concatenate(found)[first]

    def _rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """For each text where it is noted, -1 where it is not."""
        rows = np.full(len(texts), -1, dtype=np.int64)
        if len(self._digests) and texts:
            digests = _digests(texts)
            near = np.minimum(np.searchsorted(self._digests, digests), len(self._digests) - 1)
            same = self._digests[near] == digests
            rows[same] = near[same]
            for number in np.unique(self._found[rows[same], 0]).tolist():
                if not self._block(number):  # torn after all
                    gone = same & (self._found[near, 0] == number)
                    rows[gone] = -1
        return rows

    def _block(self, number: int) -> dict[str, NDArray[np.generic]]:
        """A block's arrays; empty where it cannot be read."""
        if self._open_block is None or self._open_block[0] != number:
            names = ("vectors", "starts", "tokens", "scales") if self._with_tokens else ("vectors",)
            self._open_block = number, _load(self._blocks[number], names) or {}
        return self._open_block[1]


def _digests(texts: Iterable[str]) -> NDArray[np.void]:
    """The first bytes of each text's SHA-256."""
    each = [hashlib.sha256(text.encode("utf-8", "replace")).digest()[:_DIGEST] for text in texts]
    return np.frombuffer(b"".join(each), dtype=f"V{_DIGEST}")


def _load(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.generic]] | None:
    """Arrays of a block; None where it was torn."""
    try:
        with HEADERS, zipfile.ZipFile(path) as block:
            return {name: _array(block, name) for name in names}
    except Exception:  # noqa: BLE001 - a flipped bit of a zip's header may raise anything
        return None


def _array(block: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    """An array of a block. It is read whole first: that compares its checksum."""
    array: NDArray[np.generic] = read_array(BytesIO(block.read(f"{name}.npy")), allow_pickle=False)
    return array
