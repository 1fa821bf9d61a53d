"""The serving encoder in torch: the same weights, read back out of its folder, on a GPU.

It reads passages when a catalog is indexed. Queries are read by `engine.models.encoder`, whose
int8 rounds activations too: the vectors of both may lie in one index (see docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.folder import EncoderInfo, read_model_info
from engine.models.runtime import make_batches
from engine.models.tokenizer import load_tokenizer
from engine.models.tokens import PASSAGE_TOKENS
from engine.types import Vectors
from indexer.device import CURE
from indexer.export.graph import pool
from indexer.export.restore import read_weights, transformer_of

BATCH_TOKENS = 32_768
"""Padded tokens in one batch: work enough for a large GPU, below 1 GB of memory in a small one."""

_INPUTS = ("input_ids", "attention_mask")


def require_cuda() -> None:
    """Make sure that torch can compute on a GPU here.

    Raises:
        ModelError: it cannot; the message says why.
    """
    if torch.cuda.is_available():
        return
    if torch.version.cuda is None:
        why = f"the torch that is installed ({torch.__version__}) was built without CUDA"
    else:
        why = "torch finds none (nvidia-smi shows whether the driver does)"
    raise ModelError(
        f"there is no GPU to encode on: {why}. Install a torch for your GPU "
        f"(https://pytorch.org/get-started). {CURE}"
    )


class TorchEncoder:
    """An `Encoder` of full-precision activations over an exported model folder.

    May be called from many threads at once.
    """

    def __init__(
        self, folder: Path, info: EncoderInfo, *, device: str, half: bool | None = None
    ) -> None:
        """Read the weights and put them on the device.

        Args:
            folder: the model folder.
            info: what it says of itself.
            device: as torch names it: `cuda`, or `cpu`.
            half: multiply in half precision; None does so on all but the CPU.

        Raises:
            ModelError: the folder holds no BERT that daogou exported, or the device fails.
        """
        self.info = info
        self._device = torch.device(device)
        self._half = self._device.type != "cpu" if half is None else half
        self._tokenizer = load_tokenizer(folder, info.max_length)
        try:
            transformer = transformer_of(read_weights(folder))
        except ModelError as error:
            raise ModelError(
                f"the encoder {info.name!r} cannot be put on a GPU: it is no BERT that `daogou "
                f"export` wrote. {CURE}"
            ) from error
        try:
            self._transformer = transformer.to(self._device)
        except RuntimeError as error:
            raise _failed(self._device, error) from error

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.info.dim

    @property
    def fingerprint(self) -> str:
        """That of the serving encoder, whose weights these are."""
        return self.info.fingerprint

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of queries, shape (len(texts), dim), float32, unit length."""
        return self._read(texts, self.info.query_prefix, 0)[0]

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (len(texts), dim), float32, unit length.

        Raises:
            ModelError: the device fails, most often since its memory is full.
        """
        return self._read(texts, self.info.passage_prefix, 0)[0]

    def read_passages(self, texts: Sequence[str]) -> tuple[Vectors, list[NDArray[np.float32]]]:
        """Vectors as `encode_passages` gives them, and the first tokens of each passage.

        Of a passage's tokens, the last layer of at most `PASSAGE_TOKENS`; (tokens, width) each.

        Raises:
            ModelError: the device fails, most often since its memory is full.
        """
        return self._read(texts, self.info.passage_prefix, PASSAGE_TOKENS)

    def _read(
        self, texts: Sequence[str], prefix: str, most: int
    ) -> tuple[Vectors, list[NDArray[np.float32]]]:
        """Vectors of the texts, and the last layer of the first `most` tokens of each."""
        sequences = self._tokenizer.encode_batch([prefix + text for text in texts])
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        tokens = [np.empty((0, self.dim), dtype=np.float32)] * len(texts)
        for batch in make_batches(sequences, _INPUTS, most=BATCH_TOKENS):
            ids, mask = (torch.from_numpy(batch.inputs[name]) for name in _INPUTS)
            vectors[batch.places], hidden = self._run(ids, mask, most)
            if most:
                for place, row in zip(batch.places.tolist(), hidden, strict=True):
                    tokens[place] = row[: len(sequences[place])].copy()
        return vectors, tokens

    def _run(
        self, ids: torch.Tensor, mask: torch.Tensor, most: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vectors (batch, dim) of a batch's token ids, and the last layer of its first tokens."""
        try:
            ids, mask = ids.to(self._device), mask.to(self._device)
            vectors, hidden = self._forward(ids, mask, half=self._half)
            if self._half and not hidden.isfinite().all():  # beyond what half precision holds
                vectors, hidden = self._forward(ids, mask, half=False)
            return vectors.cpu().numpy(), hidden[:, :most].cpu().numpy()
        except RuntimeError as error:
            raise _failed(self._device, error) from error

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, *, half: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (batch, dim) and the last layer (batch, length, dim), both float32."""
        # float16, not bfloat16: eight times as exact, and older GPUs have it too.
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=torch.float16, enabled=half),
        ):
            output = self._transformer(input_ids=ids, attention_mask=mask)
        hidden = output.last_hidden_state.float()
        with torch.inference_mode():
            return pool(hidden, mask, self.info.pooling), hidden


def load_torch_encoder(folder: Path, *, device: str) -> TorchEncoder:
    """The encoder in a model folder, as torch runs it on a device.

    Raises:
        ModelError: the folder is missing or damaged, or holds no BERT that daogou exported; or the
            device fails.
    """
    return TorchEncoder(folder, read_model_info(folder, kind="encoder"), device=device)


def _failed(device: torch.device, error: RuntimeError) -> ModelError:
    """What a device's failure is reported as."""
    reason = str(error).strip().partition("\n")[0]
    return ModelError(f"encoding on {device} failed: {reason}. {CURE}")
