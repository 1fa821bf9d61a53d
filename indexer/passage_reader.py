"""What encodes the passages of a catalog, beside whatever else is done to it.

A thread of its own encodes one batch of texts after another. It begins while the catalog is still
being read, with what came so far, and has the next chunk at hand while the last is written down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.encoder import TransformerEncoder, load_encoder
from engine.models.folder import EncoderInfo
from engine.models.tokens import quantise
from engine.text import passage
from engine.types import Product, Vectors
from indexer.checkpoint import Checkpoint, Kept
from indexer.device import (
    CHECKED_TEXTS,
    LEAST_TEXTS,
    Device,
    PassageEncoder,
    check_agrees,
    load_on_gpu,
    takes_gpu,
)

AHEAD_LEAST, AHEAD_BATCH = 64, 256
"""Texts that are encoded at once while the catalog is read, at least and at most."""

AHEAD_MOST = 4_096
"""Texts whose vectors and tokens are held until they are asked for: 80 MB."""


class Encoded(NamedTuple):
    """What was made of some texts."""

    vectors: NDArray[np.float16]
    """Shape (texts, dim)."""
    tokens: list[Kept]
    """Empty where none are kept."""


class PassageReader:
    """Encodes texts, those alone that a run before did not. Called from one thread."""

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
        """Prepare; the model is loaded when a text is known that has to be encoded.

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
        """What a run that was stopped has encoded, and where this one notes what it has."""
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
        self._worker = ThreadPoolExecutor(1)
        self._loading: Future[TransformerEncoder] | None = None
        self._waiting: list[str] = []
        self._ahead = 0  # texts begun before they were asked for
        self._running: tuple[list[str], Future[_Raw]] | None = None
        self._early: dict[str, tuple[NDArray[np.float16], Kept | None]] = {}

    @property
    def loaded(self) -> TransformerEncoder | None:
        """The serving encoder, where it is loaded; it is wherever a text was encoded."""
        return None if self._loading is None else self._loading.result()

    def close(self) -> None:
        """Leave undone what was begun and not asked for."""
        self._worker.shutdown(wait=False, cancel_futures=True)

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

    def announce(self, product: Product | None) -> None:
        """Say that a product's text will have to be encoded, which may begin.

        Of more texts than the encoder is done with, some wait until `begin` asks for them; so does
        the text of a product that was not read, for which None stands.
        """
        self._load()
        if product is None or not self._runs_ahead or self.checkpoint is not None:
            return
        if len(self._waiting) < min(AHEAD_BATCH, AHEAD_MOST - self._ahead):
            self._waiting.append(passage(product))
        if len(self._waiting) >= AHEAD_LEAST and (self._running is None or self._running[1].done()):
            self._collect()
            batch, self._waiting = self._waiting, []
            self._ahead += len(batch)
            self._running = batch, self._worker.submit(self._encode, batch)

    @cached_property
    def _runs_ahead(self) -> bool:
        """Not where a GPU may encode all of it, so that no two devices share a catalog."""
        return self._asked is not Device.CUDA and not takes_gpu(self._asked, LEAST_TEXTS + 1)

    def _collect(self) -> None:
        """Hold what was encoded ahead."""
        if self._running is not None:
            texts, running = self._running
            self._running = None
            vectors, tokens = self._rounded(running.result())
            for place, text in enumerate(texts):
                self._early[text] = vectors[place], tokens[place] if tokens else None

    def read(self, texts: Sequence[str]) -> Encoded:
        """Vectors of the texts, and their tokens where those are kept."""
        return self.begin(texts)()

    def begin(self, texts: Sequence[str]) -> Callable[[], Encoded]:
        """As `read`, but only begun: what is returned waits for the end.

        Several may be begun; they are encoded one after another, and to be waited for in turn.
        """
        self._collect()
        vectors = np.empty((len(texts), self.dim), dtype=np.float16)
        tokens: list[Kept | None] = [None] * len(texts)
        left = np.ones(len(texts), dtype=bool)
        if self.checkpoint is not None and texts:
            taken = self.checkpoint.take(texts)
            self.taken_up += len(taken.places)
            left[taken.places] = False
            vectors[taken.places] = taken.vectors.reshape(-1, self.dim)
            for place, kept in zip(taken.places.tolist(), taken.tokens, strict=False):
                tokens[place] = kept
        unnoted = np.flatnonzero(left).tolist()
        for place in unnoted:
            if (early := self._early.pop(texts[place], None)) is not None:
                left[place] = False
                vectors[place], tokens[place] = early
        rest = np.flatnonzero(left).tolist()
        running = self._begin([texts[place] for place in rest])

        def finish() -> Encoded:
            if running is not None:
                made = self._rounded(running.result())
                vectors[rest] = made.vectors
                for place, kept in zip(rest, made.tokens, strict=False):
                    tokens[place] = kept
            whole = Encoded(vectors, [kept for kept in tokens if kept is not None])
            if self.checkpoint is not None:
                noted = [whole.tokens[place] for place in unnoted] if self.keep else []
                self.checkpoint.add([texts[place] for place in unnoted], vectors[unnoted], noted)
            return whole

        return finish

    def _begin(self, texts: Sequence[str]) -> Future[_Raw] | None:
        if not texts:
            return None
        self._load()
        return self._worker.submit(self._encode, texts)

    def _load(self) -> Future[TransformerEncoder]:
        """Begin to load the serving encoder; whatever is encoded comes after it."""
        if self._loading is None:
            self._loading = self._worker.submit(
                lambda: load_encoder(
                    self._folder, threads=self._threads, tokens=self.keep, kept=self._kept
                )
            )
        return self._loading

    def _encode(self, texts: Sequence[str]) -> _Raw:
        """What the encoder makes of the texts; in the worker's thread."""
        serving = self._load().result()
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

    def _give_up(self, error: ModelError) -> None:
        """Go on with the CPU, and remember why.

        Raises:
            ModelError: the GPU was asked for.
        """
        if self._asked is Device.CUDA:
            raise error
        self._gpu, self.no_gpu = None, str(error)

    def _read_with(self, encoder: PassageEncoder, texts: Sequence[str]) -> _Raw:
        if self.keep:
            return encoder.read_passages(texts)
        return encoder.encode_passages(texts), []

    @staticmethod
    def _rounded(raw: _Raw) -> Encoded:
        """As it is stored."""
        vectors, tokens = raw
        return Encoded(vectors.astype(np.float16), list(map(quantise, tokens)))


_Raw = tuple[Vectors, list[NDArray[np.float32]]]
"""Vectors of texts and their tokens, as an encoder gives them."""
