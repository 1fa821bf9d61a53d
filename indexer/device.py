"""Where passages are encoded when a catalog is indexed: on the CPU, as queries are, or on a GPU.

A GPU needs torch, which is imported only once it is known to be of use.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.errors import MissingExtraError, ModelError

if TYPE_CHECKING:  # `daogou --help` imports this module, but not NumPy
    import numpy as np
    from numpy.typing import NDArray

    from engine.types import Vectors

LEAST_TEXTS = 5_000
"""So many texts eight cores encode while torch is loaded: 80 a second each, and 8 s, measured."""

CHECKED_TEXTS = 32
"""Of the first texts so many are encoded on the CPU too."""

MIN_COSINE = 0.98
"""Between the two, on average: int8 leaves 0.998 of the shipped encoder, another architecture that
was taken for a BERT (RoBERTa, whose positions begin at 2) 0.95."""

CURE = "Encode on the CPU with --device cpu"
"""What ends every message on a GPU."""


class Device(StrEnum):
    """What passages are encoded on."""

    AUTO = "auto"
    """The GPU where there is one, torch can use it, and the texts are many; else the CPU."""
    CPU = "cpu"
    CUDA = "cuda"


class PassageEncoder(Protocol):
    """What reads passages when a catalog is indexed."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (len(texts), dim), float32, unit length."""

    def read_passages(self, texts: Sequence[str]) -> tuple[Vectors, list[NDArray[np.float32]]]:
        """The same, and the last layer of each passage's first tokens; (tokens, width) each."""


def require(device: Device) -> None:
    """Make sure that a device that was asked for can be had, before anything is done.

    Raises:
        MissingExtraError: it is `cuda`, and torch is not installed.
        ModelError: it is `cuda`, and torch finds no GPU.
    """
    if device is Device.CUDA:
        with _torch():
            from indexer.export.torch_encoder import require_cuda  # noqa: PLC0415 - optional

            require_cuda()


def takes_gpu(device: Device, texts: int) -> bool:
    """Whether to try a GPU for so many texts. Imports nothing: see `load_on_gpu`."""
    if device is Device.AUTO:
        return texts > LEAST_TEXTS and _torch_is_installed() and _driver_has_gpu()
    return device is Device.CUDA and texts > 0


def load_on_gpu(folder: Path) -> PassageEncoder:
    """The encoder in a model folder, on the GPU.

    Raises:
        MissingExtraError: torch is not installed.
        ModelError: torch finds no GPU, or the model is no BERT that daogou exported.
    """
    with _torch():
        from indexer.export.torch_encoder import (  # noqa: PLC0415 - optional
            load_torch_encoder,
            require_cuda,
        )

        require_cuda()
        return load_torch_encoder(folder, device="cuda")


def check_agrees(given: Vectors, served: Vectors) -> None:
    """Make sure that vectors of some texts, (n, dim), are those that the serving encoder gives.

    Raises:
        ModelError: they are others.
    """
    cosine = float((given * served).sum(axis=1).mean())
    if not cosine >= MIN_COSINE:
        raise ModelError(
            f"the GPU makes other vectors than the CPU, which reads the queries (mean cosine "
            f"{cosine:.3f}): the encoder is no BERT, or its int8 does not fit these texts. {CURE}"
        )


@contextmanager
def _torch() -> Iterator[None]:
    """Run a block that imports torch.

    Raises:
        MissingExtraError: it is not installed.
        ModelError: it, or a library that it needs, fails.
    """
    if not _torch_is_installed():
        raise MissingExtraError("Encoding on a GPU", "train")
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"the GPU cannot be used: {reason}. {CURE}") from error


def _torch_is_installed() -> bool:
    """Whether there is all that the encoder needs on a GPU; imports nothing."""
    return all(find_spec(name) is not None for name in ("torch", "transformers"))


def _driver_has_gpu() -> bool:
    """Whether NVIDIA's driver has a GPU for this process: 0.1 ms where there is no driver."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        asked = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):
        return False
    return asked and count.value > 0
