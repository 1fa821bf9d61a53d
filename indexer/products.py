"""Products in, in one pass: all that is read of them alone, but for vectors."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.products import OFFERS, PRODUCTS, ProductStore, ProductStoreBuilder
from engine.retrieval.facet_builder import FacetBuilder, offer_values, text_values
from engine.retrieval.facet_columns import OFFERS as OFFER_COLUMNS
from engine.retrieval.facet_columns import TEXTS as TEXT_COLUMNS
from engine.types import AttributeValue, Product
from indexer.catalog.entries import Entry, Fresh
from indexer.progress import Advance, Progress
from indexer.reuse import DIGESTS, Before, Match, Origins, unknown
from indexer.texts import TextIndexes

_CHUNK = 2_048
_ID_RANK = "id_rank.npy"


class ProductWriter:
    """Writes what is read of products alone: first what streams in, then what is made of it all.

    What did not change is taken over from the snapshot before, without being read again.
    """

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
        self._before = before
        self._rows = _Rows()
        self._store = ProductStoreBuilder(folder)
        self._texts = TextIndexes(folder, asked, before)
        self._text_columns = _Columns(folder, TEXT_COLUMNS, before)
        self._offer_columns = _Columns(folder, OFFER_COLUMNS, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._texts.close()

    def read(
        self,
        stream: Iterable[Entry],
        progress: Progress,
        to_encode: Callable[[Product | None], object] = lambda _product: None,
    ) -> NDArray[np.int32]:
        """Read the products, in the order of their rows, and store them.

        Args:
            stream: the products.
            progress: where to report.
            to_encode: called with each product whose text has to be encoded; with None for one
                that is known and was not read.

        Returns:
            For each row, the row before whose vector is its own; -1 where there is none.
        """
        rows = self._rows
        with progress.step("Reading", None) as advance:
            for entry, match in _matched(_counted(stream, advance), self._before):
                self._add(len(rows), entry, match)
                rows.add(match, entry.digest)
                if match.vector < 0:
                    to_encode(entry.product if isinstance(entry, Fresh) else None)
        if len(rows):
            self._finish_store()
        if self._before is None:
            return rows.vectors
        return self._before.origins(rows.vectors)

    def _add(self, row: int, entry: Entry, match: Match) -> None:
        if match.texts >= 0:
            self._texts.keep(row, match.texts)
        elif isinstance(entry, Fresh):
            self._store.add_texts(row, entry.product, match.texts_now)
            self._texts.add(row, entry.product)
        if match.offer < 0:
            self._store.add_offer(row, match.offer_now)
        self._text_columns.add(
            row, match.columns, lambda: text_values(self._product(entry, match.texts))
        )
        self._offer_columns.add(row, match.offer, lambda: offer_values(json.loads(match.offer_now)))

    def _product(self, entry: Entry, was: int) -> Product:
        """A product with its texts, which are known to be those of the row `was` if not read."""
        if isinstance(entry, Fresh):
            return entry.product
        if self._before is None:
            raise ValueError(f"product {entry.id!r} is known of no snapshot")
        (product,) = self._before.snapshot.products.fetch([was])
        return product

    def _finish_store(self) -> None:
        """Take over the products that were kept, and what is made of rows."""
        np.save(self._folder / DIGESTS, self._rows.digests)
        before, store = self._before, self._store
        if before is None:
            store.finish()
            _write_id_rank(self._folder)
            return
        texts, offers = self._rows.texts(len(before)), self._rows.offers(len(before))
        if not texts.unmoved:
            store.take_texts(before.folder, texts.targets())
        if not offers.unmoved:
            store.take_offers(before.folder, offers.targets())
        store.finish()
        if offers.unmoved:
            before.share(self._folder, OFFERS)
        if texts.unmoved:
            before.share(self._folder, PRODUCTS)
        if texts.unmoved and before.whole(_ID_RANK):
            before.share(self._folder, _ID_RANK)
        else:
            _write_id_rank(self._folder)

    def finish(self) -> None:
        """Write the indexes; may run in a thread of its own, after `read`."""
        size = 0 if self._before is None else len(self._before)
        self._texts.finish()
        self._text_columns.finish(self._rows.columns(size))
        self._offer_columns.finish(self._rows.offers(size))


class _Columns:
    """Some of the columns that filters read: what is as it was is taken over."""

    def __init__(self, folder: Path, columns: str, before: Before | None) -> None:
        part = f"facets/{columns}"
        self._folder = folder
        self._part = part
        self._builder = FacetBuilder(folder / part)
        self._before = before if before is not None and before.whole(part) else None

    def add(
        self, row: int, was: int, values: Callable[[], Iterable[tuple[str, AttributeValue]]]
    ) -> None:
        """The next product: `values` gives what is to be noted, unless it stands in row `was`."""
        if was < 0 or self._before is None:
            self._builder.add(row, values())

    def finish(self, origins: Origins) -> None:
        """Write them; `origins` has for each row the row before that had the same values."""
        before = self._before
        if before is not None and origins.unmoved:
            before.share(self._folder, self._part)
            return
        if before is not None:
            self._builder.take(before.folder / self._part, origins.targets())
        self._builder.finish()


class _Rows:
    """What is noted of each row."""

    def __init__(self) -> None:
        self._texts = array("i")
        self._columns = array("i")
        self._offers = array("i")
        self._vectors = array("i")
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, match: Match, digest: bytes) -> None:
        self._texts.append(match.texts)
        self._columns.append(match.columns)
        self._offers.append(match.offer)
        self._vectors.append(match.vector)
        self._digests += digest

    def texts(self, before: int) -> Origins:
        return Origins(np.frombuffer(self._texts, dtype=np.int32), before)

    def columns(self, before: int) -> Origins:
        return Origins(np.frombuffer(self._columns, dtype=np.int32), before)

    def offers(self, before: int) -> Origins:
        return Origins(np.frombuffer(self._offers, dtype=np.int32), before)

    @property
    def vectors(self) -> NDArray[np.int32]:
        return np.frombuffer(self._vectors, dtype=np.int32)

    @property
    def digests(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._digests, dtype=np.uint64).reshape(-1, 2)


def _counted(stream: Iterable[Entry], advance: Advance) -> Iterator[Entry]:
    for entry in stream:
        advance(1)
        yield entry


def _matched(stream: Iterable[Entry], before: Before | None) -> Iterator[tuple[Entry, Match]]:
    """Each product, with what of it is as it was."""
    entries = iter(stream)
    while chunk := list(islice(entries, _CHUNK)):
        if before is None:
            yield from ((entry, unknown(entry)) for entry in chunk if isinstance(entry, Fresh))
        else:
            yield from zip(chunk, before.match(chunk), strict=True)


def _write_id_rank(folder: Path) -> None:
    with closing(ProductStore(folder)) as products:
        np.save(folder / _ID_RANK, products.id_rank())
