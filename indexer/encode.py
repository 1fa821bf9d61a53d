"""Passages to vectors, a chunk at a time, and nothing encoded twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.encoder import TransformerEncoder, load_encoder
from engine.models.folder import EncoderInfo
from engine.models.tokens import quantise
from engine.products import ProductStore
from engine.retrieval.dense import create_vectors
from engine.retrieval.passages import PassageBuilder, Passages, segment_files
from engine.text import passage
from indexer.checkpoint import Checkpoint, Kept
from indexer.device import (
    CHECKED_TEXTS,
    Device,
    PassageEncoder,
    check_agrees,
    load_on_gpu,
    takes_gpu,
)
from indexer.progress import Progress
from indexer.reuse import Before

ENCODE_CHUNK = 2_048
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
        for rows in _chunks(origins):
            known = origins[rows.start : rows.stop]
            fresh = np.flatnonzero(known < 0)
            texts = [passage(product) for product in products.fetch(rows.start + fresh)]
            encoded = np.empty((len(rows), reader.dim), dtype=np.float16)
            encoded[fresh], tokens = reader.read(texts)
            if before is not None and len(fresh) < len(rows):
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


class PassageReader:
    """Encodes texts, those alone that a run before did not."""

    def __init__(
        self,
        folder: Path,
        info: EncoderInfo,
        *,
        keep: bool,
        threads: int,
        kept: Path | None = None,
        device: Device = Device.CPU,
    ) -> None:
        """Prepare; the model is loaded when `load` is called, or a text has to be encoded.

        Args:
            folder: the encoder's.
            info: what it says of itself.
            keep: whether the tokens of passages are kept.
            threads: CPU threads; 0 takes every core.
            kept: folder of compiled models; None keeps none.
            device: what encodes, once `expect` is told how many texts there are.
        """
        self.dim = info.dim
        self.keep = keep
        self.checkpoint: Checkpoint | None = None
        """What a run that was stopped has encoded."""
        self.taken_up = 0
        self.device = ""
        """What encoded last, `cpu` or `cuda`; empty where nothing had to be."""
        self.no_gpu = ""
        """Why the GPU that is there was given up; empty where it was not."""
        self._asked = device
        self._gpu: PassageEncoder | None = None
        self._folder = folder
        self._threads = threads
        self._kept = kept
        self._loading: Future[TransformerEncoder] | None = None

    @property
    def loaded(self) -> TransformerEncoder | None:
        """The serving encoder, where it is loaded; it is wherever a text was encoded."""
        return None if self._loading is None else self._loading.result()

    def load(self) -> Future[TransformerEncoder]:
        """Begin to load the serving encoder, beside whatever else is done."""
        if self._loading is None:
            pool = ThreadPoolExecutor(1)
            self._loading = pool.submit(self._load)
            pool.shutdown(wait=False)
        return self._loading

    def _load(self) -> TransformerEncoder:
        return load_encoder(self._folder, threads=self._threads, tokens=self.keep, kept=self._kept)

    def expect(self, texts: int) -> None:
        """Load the encoder on the GPU where that is wanted for so many texts to encode.

        Raises:
            ModelError: a GPU was asked for and there is none, or the model cannot be put on it.
        """
        if takes_gpu(self._asked, texts):
            try:
                self._gpu = load_on_gpu(self._folder)
            except ModelError as error:
                self._give_up(error)

    def _give_up(self, error: ModelError) -> None:
        """Go on with the CPU, and remember why.

        Raises:
            ModelError: the GPU was asked for.
        """
        if self._asked is Device.CUDA:
            raise error
        self._gpu, self.no_gpu = None, str(error)

    def read(self, texts: Sequence[str]) -> tuple[NDArray[np.float16], list[Kept]]:
        """Vectors of the texts, (n, dim), and their tokens where those are kept."""
        if self.checkpoint is None or not texts:
            return self._encode(texts)
        taken = self.checkpoint.take(texts)
        self.taken_up += len(taken.places)
        rest = np.setdiff1d(np.arange(len(texts)), taken.places)
        asked = [texts[place] for place in rest]
        vectors, tokens = self._encode(asked)
        self.checkpoint.add(asked, vectors, tokens)
        if not len(taken.places):
            return vectors, tokens
        every = np.empty((len(texts), self.dim), dtype=np.float16)
        every[taken.places], every[rest] = taken.vectors, vectors
        placed = dict(zip(taken.places.tolist(), taken.tokens, strict=False))
        placed |= dict(zip(rest.tolist(), tokens, strict=False))
        return every, [placed[place] for place in sorted(placed)]

    def _encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float16], list[Kept]]:
        if not texts:
            return np.empty((0, self.dim), dtype=np.float16), []
        serving = self.load().result()
        if self._gpu is not None:
            try:
                if self.device != Device.CUDA:
                    first = texts[:CHECKED_TEXTS]
                    given = self._gpu.encode_passages(first)
                    check_agrees(given, serving.encode_passages(first))
                self.device = Device.CUDA.value
                return self._read_with(self._gpu, texts)
            except ModelError as error:
                self._give_up(error)
        self.device = Device.CPU.value
        return self._read_with(serving, texts)

    def _read_with(
        self, encoder: PassageEncoder, texts: Sequence[str]
    ) -> tuple[NDArray[np.float16], list[Kept]]:
        if not self.keep:
            return encoder.encode_passages(texts).astype(np.float16), []
        vectors, tokens = encoder.read_passages(texts)
        return vectors.astype(np.float16), [quantise(each) for each in tokens]
