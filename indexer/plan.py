"""What indexing a catalog would do, and for how long; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from engine.errors import CatalogError
from engine.models.folder import EncoderInfo
from engine.store import SnapshotStore
from engine.text import passage
from indexer.build import IndexOptions, entries_of
from indexer.carried import Carried, read_queries
from indexer.catalog import RejectLog
from indexer.catalog.entries import Entry, Fresh
from indexer.checkpoint import Checkpoint
from indexer.device import require
from indexer.encode import ENCODE_CHUNK
from indexer.models import choose_models, encoder_of, infos_of, model_entry, reads_kept
from indexer.passage_reader import PassageReader
from indexer.reuse import Before, Changes, served_before

T = TypeVar("T")

_SAMPLE = 64  # texts really encoded, to learn how long the others would take


@dataclass(frozen=True, slots=True)
class Plan:
    """An index run that was not made."""

    products: int
    rejected: int
    changes: Changes
    seconds: float
    """That encoding would take, by a sample of the texts."""
    again: str = ""
    """Why texts that are as they were would be encoded again; empty where they would not."""
    lost: tuple[str, ...] = ()
    """Parts that no catalog holds and that no snapshot has whole: they would be left out."""
    recovered: Mapping[str, str] = field(default_factory=dict)
    """Parts that the snapshot before holds damaged, and the older one that would give each."""


def plan_index(source: Path, store: Path, options: IndexOptions | None = None) -> Plan:
    """What `index_catalog` would do with the same arguments.

    Raises:
        CatalogError: the catalog or the past queries cannot be read, or no product is in it.
        ModelError: the encoder is missing or damaged, or a GPU was asked for that is not there.
    """
    options = options or IndexOptions()
    require(options.device)
    infos = infos_of(choose_models(options.encoder, options.reranker))
    if options.past_queries is not None:
        read_queries(options.past_queries)  # refused as the run would
    encoder, keep = model_entry(infos["encoder"]), reads_kept(infos)
    snapshots = SnapshotStore(store)
    before, why = served_before(snapshots, encoder, tokens=keep)
    again = why if before is None else before.why
    products, texts = 0, _Texts(Checkpoint(store, infos["encoder"], tokens=keep, only_look=True))
    with (
        closing(before) if before else nullcontext(),
        RejectLog(None, strict=options.strict) as rejects,
    ):
        known = None if before is None else before.known
        for chunk in _chunks(entries_of(source, store, options, rejects, known), ENCODE_CHUNK):
            products += len(chunk)
            encoded = chunk
            if before is not None:
                matches = zip(chunk, before.match(chunk), strict=True)
                encoded = [entry for entry, at in matches if again or at.vector < 0]
            texts.add(encoded, before)
        rejected = rejects.total
    if not products:
        raise CatalogError(f"{source} holds no products that could be indexed")
    changes = Changes(added=products) if before is None else before.total()
    changes.encoded, changes.taken_up = texts.to_encode, texts.taken_up
    seconds = _seconds(options, encoder_of(infos), texts.sample, texts.to_encode)
    carried = Carried(snapshots)
    carried.look(past_queries=options.past_queries is None)
    lost, recovered = tuple(carried.lost), carried.recovered
    return Plan(products, rejected, changes, seconds, again, lost, recovered)


class _Texts:
    """Counts texts that have to be encoded, but for those that a run before has encoded."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.to_encode = 0
        self.taken_up = 0
        self.sample: list[str] = []

    def add(self, entries: Sequence[Entry], before: Before | None) -> None:
        """Count those of some products, for which no vector before is of use."""
        if len(self._checkpoint):
            known = self._checkpoint.has([_passage(entry, before) for entry in entries])
            entries = [entries[place] for place in np.flatnonzero(~known).tolist()]
            self.taken_up += int(known.sum())
        self.to_encode += len(entries)
        wanted = entries[: _SAMPLE - len(self.sample)]
        self.sample += [_passage(entry, before) for entry in wanted]


def _passage(entry: Entry, before: Before | None) -> str:
    """What is encoded of a product."""
    if isinstance(entry, Fresh):
        return passage(entry.product)
    if before is None:
        raise ValueError(f"{entry.id} is known from no snapshot")
    return passage(before.snapshot.products.fetch([entry.row])[0])


def _seconds(options: IndexOptions, info: EncoderInfo, sample: list[str], texts: int) -> float:
    """How long so many texts would take to encode."""
    if not sample:
        return 0.0
    reader = PassageReader(
        options.encoder, info, keep=False, threads=options.threads, device=options.device
    )
    with closing(reader):
        reader.expect(texts)
        reader.read(sample[:1])  # the first text waits for the model
        began = time.perf_counter()
        reader.read(sample)
        return (time.perf_counter() - began) * texts / len(sample)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
