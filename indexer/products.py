"""Products in, in one pass: all that is read of them alone, but for vectors."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.products import OFFERS, PRODUCTS, ProductStore, ProductStoreBuilder
from engine.retrieval.facets import OFFERS as OFFER_COLUMNS
from engine.retrieval.facets import FacetBuilder, offer_values
from indexer.catalog.entries import Entry, Fresh
from indexer.progress import Progress
from indexer.reuse import DIGESTS, Before, Match, Origins, unknown
from indexer.texts import TextIndexes

_CHUNK = 2_048
_OFFER_COLUMNS = f"facets/{OFFER_COLUMNS}"
_ID_RANK = "id_rank.npy"


class Written(NamedTuple):
    """What was written."""

    products: int
    vectors: NDArray[np.int32]
    """For each row, the row before whose vector is its own; -1 where there is none."""


def write_products(
    folder: Path,
    stream: Iterable[Entry],
    progress: Progress,
    asked: Mapping[str, int],
    before: Before | None = None,
) -> Written:
    """Write what is read of products alone.

    What did not change is taken over from the snapshot before, without being read again.

    Args:
        folder: of the new snapshot.
        stream: the products, in the order of their rows.
        progress: where to report.
        asked: what shoppers asked, by how often.
        before: what may be taken over from.
    """
    rows = _Rows()
    columns_whole = before is not None and before.whole(_OFFER_COLUMNS)
    with (
        closing(ProductStoreBuilder(folder)) as store,
        TextIndexes(folder, asked, before) as texts,
        progress.step("Reading", None) as advance,
    ):
        columns = FacetBuilder(folder / _OFFER_COLUMNS)
        for entry, match in _matched(stream, before):
            row = len(rows)
            if match.texts >= 0:
                texts.keep(row, match.texts)
            elif isinstance(entry, Fresh):
                store.add_texts(row, entry.product, match.texts_now)
                texts.add(row, entry.product)
            if match.offer < 0:
                store.add_offer(row, match.offer_now)
            if match.offer < 0 or not columns_whole:
                columns.add(row, offer_values(json.loads(match.offer_now)))
            rows.add(match, entry.digest)
            advance(1)
        if not len(rows):
            return Written(0, rows.vectors)
        _finish(folder, rows, _Writers(store, texts, columns), before)
    return Written(len(rows), rows.vectors)


class _Rows:
    """What is noted of each row."""

    def __init__(self) -> None:
        self._texts = array("i")
        self._offers = array("i")
        self._vectors = array("i")
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, match: Match, digest: bytes) -> None:
        self._texts.append(match.texts)
        self._offers.append(match.offer)
        self._vectors.append(match.vector)
        self._digests += digest

    def texts(self, before: int) -> Origins:
        return Origins(np.frombuffer(self._texts, dtype=np.int32), before)

    def offers(self, before: int) -> Origins:
        return Origins(np.frombuffer(self._offers, dtype=np.int32), before)

    @property
    def vectors(self) -> NDArray[np.int32]:
        return np.frombuffer(self._vectors, dtype=np.int32)

    @property
    def digests(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._digests, dtype=np.uint64).reshape(-1, 2)


def _matched(stream: Iterable[Entry], before: Before | None) -> Iterator[tuple[Entry, Match]]:
    """Each product, with what of it is as it was."""
    entries = iter(stream)
    while chunk := list(islice(entries, _CHUNK)):
        if before is None:
            yield from ((entry, unknown(entry)) for entry in chunk if isinstance(entry, Fresh))
        else:
            yield from zip(chunk, before.match(chunk), strict=True)


class _Writers(NamedTuple):
    store: ProductStoreBuilder
    texts: TextIndexes
    columns: FacetBuilder


def _finish(folder: Path, rows: _Rows, writers: _Writers, before: Before | None) -> None:
    """Take over what was kept, and write what is left to write."""
    store, texts, columns = writers
    np.save(folder / DIGESTS, rows.digests)
    if before is None:
        store.finish()
        texts.finish(None)
        columns.finish()
        _write_id_rank(folder)
        return
    own, offers = rows.texts(len(before)), rows.offers(len(before))
    if not own.unmoved:
        store.take_texts(before.folder, own.targets())
    if not offers.unmoved:
        store.take_offers(before.folder, offers.targets())
    store.finish()
    texts.finish(own.targets())
    if own.unmoved:
        before.share(folder, PRODUCTS)
    if own.unmoved and before.whole(_ID_RANK):
        before.share(folder, _ID_RANK)
    else:
        _write_id_rank(folder)
    if offers.unmoved:
        before.share(folder, OFFERS)
    if offers.unmoved and before.whole(_OFFER_COLUMNS):
        before.share(folder, _OFFER_COLUMNS)
        return
    if before.whole(_OFFER_COLUMNS):
        columns.take(before.folder / _OFFER_COLUMNS, offers.targets())
    columns.finish()


def _write_id_rank(folder: Path) -> None:
    with closing(ProductStore(folder)) as products:
        np.save(folder / _ID_RANK, products.id_rank())
