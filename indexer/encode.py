"""Passages to vectors, a chunk at a time, and nothing encoded twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.products import ProductStore
from engine.retrieval.dense import create_vectors
from engine.retrieval.passages import PassageBuilder, Passages, segment_files
from engine.text import passage
from indexer.checkpoint import Kept
from indexer.passage_reader import Encoded, PassageReader
from indexer.progress import Progress
from indexer.reuse import Before

ENCODE_CHUNK = 1_024
"""Passages encoded at a time: enough to sort by length, few enough to stay off the heap."""


VECTORS, PASSAGES = "vectors.npy", "passages"
_TAKEN_CHUNK = 65_536  # rows copied at a time
_MOST_SEGMENTS = 16
_LEAST_USED = 0.7  # of the tokens in shared segments; else they are copied into a new one


def write_vectors(
    folder: Path,
    origins: NDArray[np.int32],
    reader: PassageReader,
    progress: Progress,
    before: Before | None = None,
) -> None:
    """Write every passage's vector in row order.

    Only passages that neither the snapshot before nor the checkpoint has are encoded, a chunk at a
    time. What the encoder made of each token is kept for the reranker where the reader keeps it.

    Args:
        folder: of the new snapshot, its products written.
        origins: for each row, the row before whose vector is its own; -1 where it is encoded.
        reader: encodes.
        progress: where to report.
        before: the snapshot that rows are taken from.
    """
    count = len(origins)
    reader.expect(int(np.count_nonzero(origins < 0)))
    products = ProductStore(folder)
    vectors = create_vectors(folder / VECTORS, count, reader.dim)
    with (
        closing(products),
        _keeper(folder, origins, before) if reader.keep else nullcontext() as keeper,
        progress.step("Encoding", count) as advance,
    ):
        for rows, finish in _begun(origins, products, reader):
            known = origins[rows.start : rows.stop]
            encoded = np.empty((len(rows), reader.dim), dtype=np.float16)
            encoded[known < 0], tokens = finish()
            if before is not None and (known >= 0).any():
                encoded[known >= 0] = before.snapshot.vectors[known[known >= 0]]
            vectors[rows.start : rows.stop] = encoded
            if keeper is not None:
                keeper.add(known, tokens)
            advance(len(rows))
        if keeper is not None:
            keeper.builder.finish()
    vectors.flush()


def _keeper(folder: Path, origins: NDArray[np.int32], before: Before | None) -> _Keeper:
    """What keeps tokens; the segments that rows are taken from are shared."""
    taken = origins[origins >= 0].astype(np.int64)
    if before is None or not len(taken):
        return _Keeper(PassageBuilder(folder / PASSAGES), None, copies=False)
    passages = before.snapshot.passages
    places = passages.places(taken)
    segments = np.unique(places[:, 0]).tolist()
    held = sum(passages.segments[number] for number in segments)
    if len(segments) >= _MOST_SEGMENTS or int(places[:, 2].sum()) < _LEAST_USED * held:
        return _Keeper(PassageBuilder(folder / PASSAGES), passages, copies=True)
    for number in segments:
        before.share(folder, *(f"{PASSAGES}/{name}" for name in segment_files(number)))
    builder = PassageBuilder(folder / PASSAGES, segment=max(segments) + 1)
    return _Keeper(builder, passages, copies=False)


class _Keeper:
    """Keeps what the encoder made of each token."""

    def __init__(self, builder: PassageBuilder, before: Passages | None, *, copies: bool) -> None:
        self.builder = builder
        self._before = before
        self._copies = copies

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.builder.close()

    def add(self, known: NDArray[np.int32], tokens: Sequence[Kept]) -> None:
        """The next rows: those before that each is taken from, -1 for the next of the tokens."""
        read = iter(tokens)
        for start, stop in _runs(known):
            if self._before is None or known[start] < 0:
                self.builder.add(next(read) for _ in range(start, stop))
            elif self._copies:
                self.builder.add(map(self._before.kept, known[start:stop].tolist()))
            else:
                self.builder.take(self._before.places(known[start:stop].astype(np.int64)))


def _begun(
    origins: NDArray[np.int32], products: ProductStore, reader: PassageReader
) -> Iterator[tuple[range, Callable[[], Encoded]]]:
    """The rows in pieces, each with what waits for its texts; the next one is begun before."""
    begun: tuple[range, Callable[[], Encoded]] | None = None
    for rows in _chunks(origins):
        fresh = rows.start + np.flatnonzero(origins[rows.start : rows.stop] < 0)
        following = rows, reader.begin([passage(product) for product in products.fetch(fresh)])
        if begun is not None:
            yield begun
        begun = following
    if begun is not None:
        yield begun


def _chunks(origins: NDArray[np.int32]) -> Iterator[range]:
    """The rows in pieces, each with at most `ENCODE_CHUNK` texts to encode."""
    start, fresh = 0, np.flatnonzero(origins < 0)
    while start < len(origins):
        done = int(np.searchsorted(fresh, start))
        full = done + ENCODE_CHUNK
        stop = min(start + _TAKEN_CHUNK, len(origins))
        if full < len(fresh):
            stop = min(stop, int(fresh[full]))
        yield range(start, stop)
        start = stop


def _runs(known: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Where rows begin and end that are all to be encoded, or all taken over."""
    turns = np.flatnonzero(np.diff(known < 0)) + 1
    yield from pairwise([0, *turns.tolist(), len(known)])
