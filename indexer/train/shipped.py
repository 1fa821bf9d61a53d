"""What ships, as a checkpoint to go on from.

Only int8 weights ship. They are read back as they serve: training goes on from the very model that
answers now, its rounding included, which the next export rounds anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER, load_encoder
from engine.models.folder import TOKENIZER_FILE
from engine.models.reranker import TokenReranker, load_reranker, softmax
from engine.models.tokens import pack
from indexer.evaluate.seen import read_training_hashes, write_training_queries
from indexer.export.restore import Restored, read_weights, transformer_of
from indexer.train import crossencoder
from indexer.train.reranker import Texts, logits

MIN_COSINE = 0.98
MAX_SHIFT = 0.1
"""What activations in int8 may change of a class probability."""
PROBES = (
    "electric kettle",
    "2 person tent for camping",
    "Stainless steel travel mug, vacuum insulated, keeps drinks hot for six hours",
    "wireless headphones with noise cancelling, over ear, black",
)


def restore(kind: str, out: Path, folder: Path | None = None, encoder: Path | None = None) -> Path:
    """Write a checkpoint of the serving encoder or reranker to `out`; returns `out`.

    It lists the training queries that the served model lists.

    Args:
        kind: `encoder` or `reranker`.
        out: folder to write; what was there is replaced.
        folder: exported by daogou; what ships if left out.
        encoder: that a reranker reads; the shipped one if left out.

    Raises:
        ModelError: none ships, it is no BERT, or what was restored gives other results.
        EvaluationError: its list of training queries is damaged.
    """
    folder = folder or SHIPPED_ENCODER.with_name(kind)
    if not folder.is_dir():
        raise ModelError(f"no {kind} ships with this daogou: name a base with --base")
    reading = folder if kind == "encoder" else encoder or SHIPPED_ENCODER
    transformer = transformer_of(read_weights(reading))
    tokenizer = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
    fresh = out.with_name(f".{out.name}.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    if kind == "encoder":
        transformer.save_pretrained(fresh)
        crossencoder.save_tokenizer(fresh, tokenizer)
        _check_encoder(folder, fresh)
    else:
        model = cross_encoder_of(read_weights(folder), transformer)
        crossencoder.save(fresh, model, tokenizer)
        _check_reranker(folder, reading, model, tokenizer)
    if known := read_training_hashes(folder):
        write_training_queries(fresh, (), known)
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return out


def cross_encoder_of(
    restored: Restored,
    transformer: Any,  # noqa: ANN401 - transformers is not typed
) -> crossencoder.CrossEncoder:
    """The cross-encoder with these weights over a BERT's.

    Raises:
        ModelError: they are those of another kind of model.
    """
    gates = [gate for gate in restored.gates if gate > crossencoder.APART]
    layers = transformer.config.num_hidden_layers
    if not 0 < len(gates) <= layers:
        raise ModelError("what ships is no cross-encoder of `daogou train`: name a base")
    model = crossencoder.CrossEncoder(transformer, layers - len(gates))
    model.eval()
    with torch.no_grad():
        model.gate.copy_(torch.tensor(gates))
        for name, parameter in model.named_parameters():
            given = restored.weights.get(f"model.{name}")
            if name.startswith(crossencoder.LEARNT) and given is not None:
                parameter.copy_(torch.from_numpy(given).reshape(parameter.shape))
    return model


def _check_encoder(folder: Path, checkpoint: Path) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy

    ours = SentenceTransformer(str(checkpoint), device="cpu")
    given = ours.encode(list(PROBES), normalize_embeddings=True)
    cosine = float((given * load_encoder(folder).encode_passages(PROBES)).sum(axis=1).min())
    if cosine < MIN_COSINE:
        raise ModelError(f"{folder} cannot be gone on from: a cosine of {cosine:.3f} is left of it")


def _check_reranker(
    folder: Path, encoder: Path, model: crossencoder.CrossEncoder, tokenizer: str
) -> None:
    served = load_reranker(folder)
    if not isinstance(served, TokenReranker):
        raise ModelError(f"{folder} holds no cross-encoder of `daogou train`: name a base")
    read = pack(load_encoder(encoder, tokens=True).read_passages(PROBES)[1])
    texts = Texts(model, tokenizer)
    for query in PROBES[:2]:
        found = logits(model, texts, [query] * len(PROBES), PROBES)
        given = softmax(found / np.float32(served.info.temperature))
        shift = float(np.abs(given - served.classify_read(query, read)).max())
        if shift > MAX_SHIFT:
            raise ModelError(
                f"{folder} cannot be gone on from: a probability is off by {shift:.3f}"
            )
