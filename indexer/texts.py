"""What is made of products' texts alone: the keyword index and the suggestions.

A shop changes prices by the minute and texts by the day: where no text differs from those of the
snapshot before, row by row, both are taken over as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Self

from engine.errors import SnapshotError
from engine.retrieval.lexical import FINGERPRINT, LexicalBuilder
from engine.retrieval.suggestions import FOLDER as SUGGEST
from engine.retrieval.suggestions import SuggestionBuilder, is_current, read_asked
from engine.snapshot import Snapshot
from engine.types import Product

LEXICAL = "lexical"


class TextIndexes:
    """Writes both, product by product in row order."""

    def __init__(
        self, folder: Path, asked: Mapping[str, int], before: Snapshot | None = None
    ) -> None:
        """Prepare.

        Args:
            folder: of the new snapshot.
            asked: what shoppers asked, by how often.
            before: an open snapshot whose indexes may be taken over.
        """
        self._folder = folder
        self._suggestions = SuggestionBuilder(folder / SUGGEST, asked)
        self._lexical: LexicalBuilder | None = None
        self._before = before if before is not None and _usable(before, asked) else None
        self._following = None if self._before is None else iter(self._before.products)
        self._same = 0  # products so far whose texts are those of the row before

    def add(self, row: int, product: Product) -> None:
        """The next product."""
        if self._following is not None:
            other = next(self._following, None)
            if other is not None and _texts(other) == _texts(product):
                self._same += 1
                return
            self._catch_up()
        self._write(row, product)

    def finish(self) -> None:
        """Write what is left to write."""
        if self._following is not None and self._before is not None:
            if self._same == len(self._before):
                for part in (LEXICAL, SUGGEST):
                    shutil.copytree(self._before.folder / part, self._folder / part)
                return
            self._catch_up()
        with keyword_faults():
            self._opened().finish()
            self._suggestions.finish()

    def close(self) -> None:
        """End what writes; what was not finished is lost."""
        if self._lexical is not None:
            self._lexical.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _catch_up(self) -> None:
        """Write what was held back in the hope that nothing differs: the texts are the same."""
        self._following = None
        if self._before is not None:
            for row, product in enumerate(islice(self._before.products, self._same)):
                self._write(row, product)

    def _write(self, row: int, product: Product) -> None:
        with keyword_faults():
            self._opened().add(row, product)
        self._suggestions.add(product)

    def _opened(self) -> LexicalBuilder:
        if self._lexical is None:
            self._lexical = LexicalBuilder(self._folder / LEXICAL)
        return self._lexical


def _texts(product: Product) -> tuple[object, ...]:
    """All of a product that either index reads."""
    return (
        product.title, product.description, product.bullet_points, product.brand, product.color,
        product.category, product.sku, product.gtin, repr(product.attributes),
    )  # fmt: skip


def _usable(before: Snapshot, asked: Mapping[str, int]) -> bool:
    """Whether a snapshot's indexes are what would be made of the same texts, and whole."""
    manifest, suggest = before.manifest, before.folder / SUGGEST
    if manifest.lexical_fingerprint != FINGERPRINT or not is_current(suggest):
        return False
    try:
        if read_asked(suggest) != dict(asked):
            return False
    except SnapshotError:
        return False
    entries = {
        name: entry
        for name, entry in manifest.files.items()
        if name.startswith((f"{LEXICAL}/", f"{SUGGEST}/"))
    }
    return all(entry.is_at(before.folder / name) for name, entry in entries.items())


@contextmanager
def keyword_faults() -> Iterator[None]:
    """Name what the keyword index could not write: it raises ValueError on a full disk."""
    try:
        yield
    except ValueError as error:
        raise OSError(str(error)) from error
