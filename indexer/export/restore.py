"""The weights of a serving model, as torch names and holds them, and the BERT they make.

Int8 weights come back as they are served, rounding and corrected biases included; the smoothing
that moved outliers of activations into them is taken back out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.folder import GRAPH_FILE
from engine.models.openvino import ov

_WORDS = "transformer.embeddings.word_embeddings.weight"
_OF_BERT = (
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight",
    "encoder.layer.0.intermediate.dense.weight",
)
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Restored:
    """A BERT as it serves."""

    weights: Weights
    """By torch's name in the exported module: `transformer.…`, and a cross-encoder's head."""
    heads: int
    """Of attention."""
    epsilon: float
    """Of layer normalisation."""
    gates: tuple[float, ...]
    """What each layer's attention adds between the texts of a pair; empty in a bi-encoder."""


def read_weights(folder: Path) -> Restored:
    """The weights in a model folder.

    Raises:
        ModelError: the graph is not that of a BERT exported by daogou.
    """
    try:
        graph = ov.Core().read_model(folder / GRAPH_FILE)
    except RuntimeError as error:
        raise ModelError(f"{folder / GRAPH_FILE} cannot be read. Export the model again") from error
    weights: Weights = {}
    heads, epsilon, gates = 0, 1e-12, []
    for op in graph.get_ordered_ops():
        name = str(op.get_friendly_name()).removeprefix("__module.")
        module, _, part = name.partition("/aten::")
        match op.get_type_name(), part:
            case "MatMul", "linear/MatMul":
                weights[f"{module}.weight"] = _constant(op, 1) * _smoothing(_input(op, 0))
            case ("Add", "linear/Add") | ("Add", "layer_norm/Add"):
                weights[f"{module}.bias"] = _constant(op, 1).reshape(-1)
            case "Multiply", "layer_norm/Multiply_1":
                weights[f"{module}.weight"] = _constant(op, 1).reshape(-1)
            case "Gather", "embedding/Gather":
                weights[f"{module}.weight"] = _constant(op, 0)
            case "MVN", _:
                epsilon = float(op.get_attributes()["eps"])
            case "ScaledDotProductAttention", _:
                heads = op.input(0).get_partial_shape()[1].get_length()
                gates += _gate(op)
    if not heads or not any(name.endswith(_WORDS) for name in weights):
        raise ModelError(f"{folder} holds no BERT that daogou exported: name a base with --base")
    return Restored(weights, heads, epsilon, tuple(gates))


def transformer_of(restored: Restored) -> Any:  # noqa: ANN401 - transformers is not typed
    """A BERT with these weights, a `transformers.BertModel` without pooler; needs torch.

    Raises:
        ModelError: they are those of another architecture.
    """
    import torch  # noqa: PLC0415 - optional
    from transformers import BertConfig, BertModel  # noqa: PLC0415 - optional

    state = {
        name.removeprefix("transformer."): torch.from_numpy(value)
        for name, value in restored.weights.items()
        if name.startswith("transformer.")
    }
    if lacking := [name for name in _OF_BERT if name not in state]:
        raise ModelError(f"what serves is no BERT: it has no {lacking[0]}")
    words, width = state["embeddings.word_embeddings.weight"].shape
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=len({name.split(".")[2] for name in state if ".layer." in name}),
        num_attention_heads=restored.heads,
        intermediate_size=state["encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=state["embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=state["embeddings.token_type_embeddings.weight"].shape[0],
        layer_norm_eps=restored.epsilon,
    )
    model = BertModel(config, add_pooling_layer=False)
    left, unknown = model.load_state_dict(state, strict=False)
    # The export leaves out what changes nothing; a new model has these zeros and ones already.
    lost = [name for name in left if not name.endswith((".bias", "LayerNorm.weight"))]
    if lost or unknown:
        raise ModelError(f"what serves is no BERT: {', '.join([*lost, *unknown][:3])}")
    return model.eval()


def _input(op: ov.Node, place: int) -> ov.Node:
    return op.input_value(place).get_node()


def _constant(op: ov.Node, place: int) -> NDArray[np.float32]:
    """The constant that an input is, its quantisation undone."""
    node = _input(op, place)
    match node.get_type_name():
        case "Constant":
            return np.array(node.data, dtype=np.float32)
        case "Convert":
            return _constant(node, 0)
        case "Multiply" | "Subtract" as kind:
            left, right = _constant(node, 0), _constant(node, 1)
            return left * right if kind == "Multiply" else left - right
        case kind:
            raise ModelError(f"{op.get_friendly_name()} reads a {kind}, not a weight")


def _smoothing(node: ov.Node) -> NDArray[np.float32]:
    """What activations are multiplied by before a layer, to be multiplied into its weights."""
    if node.get_type_name() == "FakeQuantize":
        node = _input(node, 0)
    if "nncf_smooth_quant" in node.get_friendly_name() and node.get_type_name() == "Multiply":
        return _constant(node, 1).reshape(-1)
    return np.ones(1, dtype=np.float32)


def _gate(attention: ov.Node) -> list[float]:
    """The layer's gate, if its mask has one: padding + gate * across."""
    if len(attention.inputs()) < 4 or _input(attention, 3).get_type_name() != "Add":
        return []
    gated = _input(_input(attention, 3), 1)
    if gated.get_type_name() != "Multiply":
        return []
    constants = [place for place in (0, 1) if _input(gated, place).get_type_name() == "Constant"]
    return [float(_constant(gated, place).reshape(-1)[0]) for place in constants]
