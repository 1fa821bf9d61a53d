"""What is made of all products' texts together: each has a part in it.

Keyword index, suggestions, shelves, and the records of what was read of each product, to be read
again when others have changed. Where no text differs from those of the snapshot
before, row by row, all of it is taken over as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

from engine.errors import SnapshotError
from engine.retrieval.lexical import FINGERPRINT, LexicalBuilder
from engine.retrieval.shelves import ShelfBuilder
from engine.retrieval.suggestions import FOLDER as SUGGEST
from engine.retrieval.suggestions import SuggestionBuilder, is_current, read_asked
from engine.types import Product
from indexer.records import FOLDER as RECORDS
from indexer.records import Record, RecordBuilder, Records
from indexer.reuse import Before

LEXICAL, SHELVES = "lexical", "shelves"
_ROOM = 1 << 20  # bytes that a disk has if it is not full
PARTS = (LEXICAL, SUGGEST, SHELVES, RECORDS)


class TextIndexes:
    """Writes them, product by product in row order."""

    def __init__(
        self, folder: Path, asked: Mapping[str, int], before: Before | None = None
    ) -> None:
        """Prepare.

        Args:
            folder: of the new snapshot.
            asked: what shoppers asked, by how often.
            before: what may be taken over from.
        """
        self._folder = folder
        self._asked = asked
        self._before = before
        self._files = ExitStack()
        self._records = None if before is None else _records(before)
        if self._records is not None:
            self._files.callback(self._records.close)
        self._held: int | None = None  # rows so far whose texts are those of the same row before
        if before is not None and self._records is not None and _usable(before, asked):
            self._held = 0
        self._builders: _Builders | None = None

    def add(self, row: int, product: Product) -> None:
        """The next product, whose texts are new."""
        record = Record.of(product)
        self._caught_up().add(row, record, record.line())

    def keep(self, row: int, was: int) -> None:
        """The next product, whose texts stood in the row `was` of the snapshot before."""
        if self._held is not None and was == row:
            self._held += 1
        elif self._records is not None:
            self._caught_up().take(row, self._records.line(was))
        elif self._before is not None:
            (product,) = self._before.snapshot.products.fetch([was])
            self.add(row, product)

    def finish(self) -> None:
        """Write what is left to write."""
        if self._before is not None and self._held == len(self._before):
            self._before.share(self._folder, *PARTS)
        else:
            self._caught_up().finish()

    def close(self) -> None:
        """End what writes; what was not finished is lost."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _caught_up(self) -> _Builders:
        """What writes; what was held back in the hope that nothing differs is written first."""
        if self._builders is None:
            self._builders = _Builders(self._folder, self._asked)
            self._files.callback(self._builders.close)
            if self._held is not None and self._records is not None:
                for row in range(self._held):
                    self._builders.take(row, self._records.line(row))
                self._held = None
        return self._builders


class _Builders:
    """One of each kind."""

    def __init__(self, folder: Path, asked: Mapping[str, int]) -> None:
        self._folder = folder
        with keyword_faults(folder):
            self._lexical = LexicalBuilder(folder / LEXICAL)
        self._suggestions = SuggestionBuilder(folder / SUGGEST, asked)
        self._shelves = ShelfBuilder(folder / SHELVES)
        self._records = RecordBuilder(folder / RECORDS)

    def take(self, row: int, line: bytes) -> None:
        self.add(row, Record.read(line), line)

    def add(self, row: int, record: Record, line: bytes) -> None:
        with keyword_faults(self._folder):
            self._lexical.add(row, record.terms)
        self._suggestions.add(record.naming)
        self._shelves.add(record.naming.category)
        self._records.add(line)

    def finish(self) -> None:
        self._records.finish()
        with keyword_faults(self._folder), ThreadPoolExecutor(1) as beside:
            lexical = beside.submit(self._lexical.finish)  # which waits for tantivy's own threads
            self._suggestions.finish()
            self._shelves.finish()
            lexical.result()

    def close(self) -> None:
        self._lexical.close()
        self._records.close()


def _records(before: Before) -> Records | None:
    """What was read of the texts before, where all that has to be whole for it is."""
    if not before.whole(RECORDS):
        return None
    try:
        return Records(before.folder / RECORDS, len(before))
    except SnapshotError:
        return None


def _usable(before: Before, asked: Mapping[str, int]) -> bool:
    """Whether a snapshot's indexes are what would be made of the same texts, and whole."""
    suggest = before.folder / SUGGEST
    if before.snapshot.manifest.lexical_fingerprint != FINGERPRINT or not before.whole(*PARTS):
        return False
    try:
        return is_current(suggest) and read_asked(suggest) == dict(asked)
    except SnapshotError:
        return False


@contextmanager
def keyword_faults(folder: Path) -> Iterator[None]:
    """Name what the keyword index could not write.

    It raises ValueError on a full disk, and where one of its own threads met that, not even says
    so: then the disk is asked.

    Raises:
        OSError: what went wrong, as far as it can be told.
    """
    try:
        yield
    except ValueError as error:
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
        raise OSError(str(error)) from error
