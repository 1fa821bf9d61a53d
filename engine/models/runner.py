"""What runs a model's batches, whatever the inference runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.models.graph import Adapters

Inputs = Mapping[str, NDArray[Any]]
"""A batch, by name of the graph's input."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be loaded, and how it is to be run."""

    graph: Path
    """The file; its weights lie beside it."""
    streams: int
    """Batches that run at once, each on one core."""
    tokens: bool
    """Whether what the last layer made of each token is a second output."""
    adapters: Adapters
    """What is added to the weights of linear layers."""
    kept: Path | None
    """Folder of compiled models; None keeps none."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a graph, of shape (batch, length, *following)."""

    dtype: np.dtype[Any]
    following: tuple[int, ...]


class Run(Protocol):
    """A batch that was begun."""

    def outputs(self) -> list[NDArray[Any]]:
        """An array for each output of the graph, to be read before `end`; waits for them."""
        ...

    def end(self) -> None:
        """Let it go, whether it is done or not."""
        ...


class Runner(Protocol):
    """A loaded model. May be called from many threads at once."""

    @property
    def inputs(self) -> Mapping[str, Input]:
        """What the graph takes, by name."""
        ...

    @property
    def width(self) -> int:
        """Numbers in a row of the first output."""
        ...

    def start(self, batch: Inputs) -> Run:
        """Begin a batch; it runs beside the others."""
        ...
