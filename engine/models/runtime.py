"""Inference on the CPU: token sequences in, one row of numbers for each out.

Which runtime, on which CPU, and why int8: docs/decisions.md.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from engine.cores import multiplies_bytes, usable_cores
from engine.errors import ModelError
from engine.models.folder import GRAPH_FILE
from engine.models.graph import Adapters, UntranslatableError
from engine.models.openvino_runner import OpenVinoRunner
from engine.models.runner import Input, Run, Runner, Wanted

Tokens = NDArray[np.int64]
Outputs = NDArray[np.float32]

BATCH_TOKENS = 2048
"""Padded tokens in one batch: more is no faster, and a stream's buffers stay in its cache."""


_LEAST_SHARE = 128  # tokens of a batch below which another core is not worth waking

LENGTH_STEP = 16
"""Lengths are padded to a multiple of this, the numbers a 512-bit register holds.

Softmax and pooling then add the same numbers in the same order however much padding follows.
Without it a sum may differ in its last bit, an int8 rounding may fall the other way, and a
vector moves by up to 0.02 with the company its text keeps; with it, not by a bit.
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences of about one length, padded to the same one."""

    places: NDArray[np.int64]  # (batch,), where each row belongs in the output
    inputs: dict[str, NDArray[Any]]  # by name of the graph's input, each (batch, length)


class Session:
    """A loaded model. May be called from many threads at once, but not after a fork."""

    def __init__(
        self,
        folder: Path,
        *,
        max_length: int,
        threads: int = 0,
        tokens: bool = False,
        adapters: Adapters | None = None,
        kept: Path | None = None,
        opened_by: Callable[[Wanted], Runner] | None = None,
    ) -> None:
        """Load and compile the graph in `folder`.

        Args:
            folder: the model folder.
            max_length: tokens of the longest sequence the model reads.
            threads: CPU threads in all; 0 takes every core this process may use. Each runs a
                batch of its own: that beats many threads sharing one batch, and lets queries
                run side by side.
            tokens: give what the last layer made of each token too: see `read`.
            adapters: what is added to the weights of linear layers.
            kept: folder of compiled models, kept between starts; None keeps none.
            opened_by: the runtime; None takes that which is faster on this CPU.

        Raises:
            ModelError: the graph or its weights cannot be read, or it has no such layer.
        """
        self.streams = threads or usable_cores()
        self._max_length = max_length
        self._runner = (opened_by or _open)(
            Wanted(folder / GRAPH_FILE, self.streams, tokens, adapters or {}, kept)
        )
        self._inputs = list(self._runner.inputs)
        self.width = self._runner.width
        self._warm()

    def _warm(self) -> None:
        """Run as many batches as there are streams: kernels are made on first use, 0.1 to 0.2 s."""
        shortest = {name: _smallest(taken) for name, taken in self._runner.inputs.items()}
        runs = [self._runner.start(shortest) for _ in range(self.streams)]
        for run in runs:
            run.outputs()
            run.end()

    def run(self, sequences: Sequence[Encoding]) -> Outputs:
        """The graph's output for each sequence, in their order; shape (len(sequences), width).

        A sequence gives the same output alone or among others: padding is masked, lengths are
        padded by `LENGTH_STEP`, and the activation ranges of int8 are fixed at export.
        """
        return self.run_batches(len(sequences), self._batches(sequences))

    def begin(self, sequences: Sequence[Encoding]) -> Callable[[], Outputs]:
        """As `run`, but only begun: what is returned waits for the output.

        For a few short sequences, one batch. Who never comes for the output holds nothing up.
        """
        (batch,) = self._batches(sequences)
        run = self._runner.start(batch.inputs)

        def finish() -> Outputs:
            outputs = np.empty((len(sequences), self.width), dtype=np.float32)
            outputs[batch.places] = run.outputs()[0]
            end()
            return outputs

        end = weakref.finalize(finish, run.end)
        end.atexit = False
        return finish

    def read(self, sequences: Sequence[Encoding], most: int) -> tuple[Outputs, list[Outputs]]:
        """The same, and what the last layer made of each sequence's first `most` tokens.

        The second has shape (tokens, width of a layer) for each sequence. Only for a session that
        was opened with `tokens`.
        """
        tokens: list[Outputs] = [np.empty((0, 0), dtype=np.float32)] * len(sequences)

        def keep(batch: Batch, layer: NDArray[Any]) -> None:
            for place, row in zip(batch.places.tolist(), layer, strict=True):  # (length, width)
                tokens[place] = row[: min(most, len(sequences[place]))].copy()

        return self.run_batches(len(sequences), self._batches(sequences), keep), tokens

    def run_batches(
        self,
        count: int,
        batches: Iterable[Batch],
        keep: Callable[[Batch, NDArray[Any]], None] | None = None,
    ) -> Outputs:
        """The graph's first output for `count` places, shape (count, width).

        Args:
            count: how many places the batches have together.
            batches: run side by side, as many at once as there are streams.
            keep: called with each batch and the graph's second output for it.
        """
        outputs = np.empty((count, self.width), dtype=np.float32)
        running: deque[tuple[Run, Batch]] = deque()

        def finish() -> None:
            """Wait for the oldest batch, and keep its output."""
            run, batch = running[0]
            made = run.outputs()
            outputs[batch.places] = made[0]
            if keep:
                keep(batch, made[1])
            running.popleft()[0].end()

        try:
            for batch in batches:
                if len(running) == self.streams:
                    finish()
                running.append((self._runner.start(batch.inputs), batch))
            while running:
                finish()
        finally:
            for run, _ in running:  # only after an error
                run.end()
        return outputs

    def _batches(self, sequences: Sequence[Encoding]) -> Iterator[Batch]:
        longest = max(map(len, sequences), default=0)
        if longest > self._max_length:  # the runtime would stay broken after trying it
            raise ModelError(f"a sequence has {longest} tokens, the model reads {self._max_length}")
        return make_batches(sequences, self._inputs, shares=self.streams)


def make_batches(
    sequences: Sequence[Encoding],
    inputs: Sequence[str],
    *,
    shares: int = 1,
    most: int = BATCH_TOKENS,
) -> Iterator[Batch]:
    """Cut sequences, longest first, into batches of about one length.

    Args:
        sequences: at least one token each.
        inputs: names of the graph's inputs.
        shares: how many batches may run at once: few sequences are parted among them.
        most: padded tokens in one batch.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    padded = -(-lengths // LENGTH_STEP) * LENGTH_STEP
    share = max(_LEAST_SHARE, -(-int(padded.sum()) // shares))
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        length = int(padded[order[start]])
        places = order[start : start + max(1, min(most // length, -(-share // length)))]
        yield Batch(
            places, {name: _pad(name, [sequences[i] for i in places], length) for name in inputs}
        )
        start += len(places)


def _pad(name: str, sequences: Sequence[Encoding], length: int) -> Tokens:
    """One input of the graph, zeros where a sequence has ended; shape (len(sequences), length).

    Which token stands there does not matter: the mask, zero as well, keeps it from being read.
    """
    padded = np.zeros((len(sequences), length), dtype=np.int64)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = _FIELD_OF[name](sequence)
    return padded


_FIELD_OF = {
    "input_ids": lambda sequence: sequence.ids,
    "attention_mask": lambda sequence: sequence.attention_mask,
    "token_type_ids": lambda sequence: sequence.type_ids,
}


def _smallest(taken: Input) -> NDArray[Any]:
    """The least that an input takes: one row, as long as lengths are padded to."""
    return np.ones((1, LENGTH_STEP, *taken.following), dtype=taken.dtype)


def _open(wanted: Wanted) -> Runner:
    """The model, by the runtime that runs it faster here."""
    try:
        if not multiplies_bytes():
            with contextlib.suppress(UntranslatableError):
                from engine.models.onnx_runner import OnnxRunner  # noqa: PLC0415 - seldom needed

                return OnnxRunner(wanted)
        return OpenVinoRunner(wanted)
    except RuntimeError as error:
        raise ModelError(
            f"{wanted.graph} cannot be loaded: {_last_line(error)}. "
            "Export it again with `daogou export`, or reinstall daogou if it is the shipped one."
        ) from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
