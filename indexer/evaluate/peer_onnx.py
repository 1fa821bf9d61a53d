"""The same pipeline with both models run by ONNX Runtime: what is tried first to make it faster.

The checkpoints are exported by `torch.onnx.export` and run by `InferenceSession`, both by default:
full precision, every optimization of graphs that the runtime has on, as many threads as it likes.
Only the export needs torch. `daogou bench` measures it where the runtime is installed:
`pip install onnxscript`.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models.onnxruntime import ort
from indexer.evaluate import peer_serving
from indexer.evaluate.peer_pipeline import (
    ENCODER,
    RERANKER,
    Classify,
    Encode,
    Pipeline,
    Reranker,
    batches,
    padded,
    tokenizer_of,
    write_vectors,
)

_EXPORTED = "onnx"
"""Folder beside the checkpoints: exported once, since nobody exports anew with every catalog."""

_MASKED = ("ids", "mask")
_PAIRS = ("query_ids", "query_mask", "passage_ids", "passage_mask")


def build(products: Path, models: Path, out: Path) -> None:
    """Encode the products of a JSON Lines file and write the index; first, export the models."""
    if not (models / _EXPORTED).is_dir():
        _export(models)
    write_vectors(products, _encoder(models), out)


def load(index: Path, models: Path) -> Pipeline:
    """The index, ready to be searched."""
    reranker = None
    if _exported(models, RERANKER).is_file():
        reranker = Reranker(tokenizer_of(models / RERANKER), _classifier(models))
    return Pipeline(index, _encoder(models), reranker)


def _encoder(models: Path) -> Encode:
    session = ort.InferenceSession(str(_exported(models, ENCODER)))
    tokenizer = tokenizer_of(models / ENCODER)

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        sequences = tokenizer.encode_batch(list(texts))
        vectors: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(sequences)
        for places in batches(sequences):
            given = padded([sequences[place] for place in places])
            found = session.run(None, dict(zip(_MASKED, given, strict=True)))[0]
            for place, vector in zip(places, found, strict=True):
                vectors[place] = vector
        return np.stack(vectors)

    return encode


def _classifier(models: Path) -> Classify:
    session = ort.InferenceSession(str(_exported(models, RERANKER)))

    def classify(*inputs: Any) -> Any:  # noqa: ANN401 - as `Classify` says
        return session.run(None, dict(zip(_PAIRS, inputs, strict=True)))[0]

    return classify


def _exported(models: Path, kind: str) -> Path:
    return models / _EXPORTED / f"{kind}.onnx"


def _export(models: Path) -> None:
    """Write the checkpoints as ONNX."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy: only here

    from indexer.train import crossencoder  # noqa: PLC0415

    fresh = models / f".{_EXPORTED}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    transformer = SentenceTransformer(str(models / ENCODER), device="cpu")[0].auto_model
    _write(_pooled(transformer), _MASKED, fresh / f"{ENCODER}.onnx")
    if (models / RERANKER / crossencoder.HEAD_FILE).is_file():
        model, _ = crossencoder.load(models / RERANKER)
        _write(model.eval(), _PAIRS, fresh / f"{RERANKER}.onnx")
    fresh.rename(models / _EXPORTED)  # last: what is there is whole


def _pooled(transformer: Any) -> Any:  # noqa: ANN401 - torch is not typed
    """A module that gives the unit-length mean of a text's tokens, as the peer's encoder does."""
    import torch  # noqa: PLC0415 - heavy: only to export

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.transformer = transformer

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found = self.transformer(input_ids=ids, attention_mask=mask)
            hidden, weights = found.last_hidden_state, mask.float()[..., None]
            mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            return torch.nn.functional.normalize(mean, dim=-1)

    return Encoder().eval()


def _write(module: Any, inputs: Sequence[str], path: Path) -> None:  # noqa: ANN401
    """Export a module of which every input has rows and tokens, as many as there are."""
    import torch  # noqa: PLC0415
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415

    # Of other lengths, each a tensor of its own: what is alike in the example is taken for one.
    lengths = {name: 7 if name.startswith("passage") else 5 for name in inputs}
    example = tuple(torch.ones((2, length), dtype=torch.int64) for length in lengths.values())
    free = tuple({0: "rows", 1: f"tokens_{length}"} for length in lengths.values())
    with (
        warnings.catch_warnings(action="ignore"),  # advice to itself
        # The exporter stumbles over the fused kernel: it takes its output's layout for another.
        sdpa_kernel(SDPBackend.MATH),
    ):
        torch.onnx.export(module, example, str(path), input_names=list(inputs), dynamic_shapes=free)


if __name__ == "__main__":
    peer_serving.main(__doc__, build, load)
