"""Graphs of models, read and changed before they are compiled for serving (OpenVINO)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.models.openvino import ops, ov

Adapters = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""By name of a linear layer two matrices, (outputs, rank) and (rank, inputs): their product is
added to its weights (LoRA, Hu et al. 2021)."""

READ_AS = "small tables, sums fit"
"""What becomes of every graph that is read: what is compiled of it is kept under this name."""


class UntranslatableError(Exception):
    """The graph holds something that another runtime is not told in its own words."""


def read_graph(graph: Path, *, tokens: bool, adapters: Adapters) -> ov.Model:
    """The graph in a file.

    Args:
        graph: the file; its weights lie beside it.
        tokens: whether what the last layer made of each token is a second output.
        adapters: what is added to the weights of linear layers.

    Raises:
        ModelError: there is no such layer.
        RuntimeError: the file or its weights cannot be read.
    """
    model = _small_tables(ov.Core().read_model(graph))
    _adapt(graph, model, adapters)
    _fit_sums(model)
    return _with_tokens(graph, model) if tokens else model


def _with_tokens(graph: Path, model: ov.Model) -> ov.Model:
    """The model of a BERT, its last layer a second output."""
    last = [
        op
        for op in model.get_ordered_ops()
        if op.get_type_name() in _NORMALISING and _LAYER.search(op.get_friendly_name())
    ]
    if not last:
        raise ModelError(f"{graph} is no BERT: what it makes of each token cannot be had from it")
    model.add_outputs([last[-1].output(0)])
    return model


_LAYER = re.compile(r"encoder\.layer\.\d+\.output\.LayerNorm/aten::layer_norm/")
_NORMALISING = {"MVN", "Multiply", "Add"}
"""What a layer ends with, in this order; a bias of 0 and a weight of 1 are left out."""


def _small_tables(model: ov.Model) -> ov.Model:
    """The model with its tables of embeddings left as the small integers they are stored as.

    What is taken from a table is scaled, instead of the table: the same numbers without a float32
    copy of it, which is three quarters of what the shipped encoder takes in memory.
    """
    for op in model.get_ordered_ops():
        if op.get_type_name() != "Gather":
            continue
        scaled, places, axis = op.input_values()
        parts = [one.get_node() for one in scaled.get_node().input_values()]
        if scaled.get_node().get_type_name() != "Multiply" or len(parts) != 2:
            continue
        converted, scale = parts
        table = [one.get_node() for one in converted.input_values()]
        kinds = [one.get_type_name() for one in (converted, scale, *table)]
        if kinds != ["Convert", "Constant", "Constant"] or not _by_row(table[0], scale):
            continue
        taken = ops.convert(ops.gather(table[0], places, axis), converted.get_element_type())
        small = ops.multiply(taken, ops.gather(scale, places, axis))
        small.set_friendly_name(op.get_friendly_name())
        op.output(0).replace(small.output(0))
    return model


def _by_row(table: ov.Node, scale: ov.Node) -> bool:
    """Whether each row of a table has a scale of its own."""
    return list(scale.get_output_shape(0)) == [table.get_output_shape(0)[0], 1]


def _adapt(graph: Path, model: ov.Model, adapters: Adapters) -> None:
    """Add the low-rank products to the weights of linear layers."""
    layers = {
        str(op.get_friendly_name()).removeprefix("__module.model.").removesuffix(_LINEAR): op
        for op in model.get_ordered_ops()
        if op.get_type_name() == "MatMul"
    }
    if missing := sorted(adapters.keys() - layers.keys()):
        raise ModelError(f"{graph} has no layer {missing[0]}")
    for name, (outer, inner) in adapters.items():
        layer = layers[name]
        weights = _changed(layer.input_value(1).get_node(), outer @ inner / _smoothing(layer))
        layer.input(1).replace_source_output(weights.output(0))


def _changed(weights: ov.Node, change: NDArray[np.float32]) -> ov.Node:
    """The weights (outputs, inputs) with a change, rounded anew where they were whole numbers."""
    if weights.get_type_name() != "Multiply":  # a constant, kept in half precision perhaps
        while weights.get_type_name() == "Convert":
            weights = weights.input_value(0).get_node()
        return ops.constant(np.asarray(weights.data, dtype=np.float32) + change)
    rounded, steps = (value.get_node() for value in weights.input_values())
    whole = np.asarray(rounded.input_value(0).get_node().data, dtype=np.float32)
    wanted = whole * steps.data + change
    finer = np.abs(wanted).max(axis=1, keepdims=True) / np.abs(whole).max()
    again = ops.constant(np.rint(wanted / finer).astype(np.int8))
    return ops.multiply(ops.convert(again, "f32"), ops.constant(finer))


def _fit_sums(model: ov.Model) -> None:
    """Scale rows of int8 weights so that no CPU's sums overflow.

    x86 CPUs without VNNI add the products of two neighbouring bytes in 16 bits and cut off what
    does not fit (VPMADDUBSW, Intel's Software Developer's Manual, volume 2). An input has up to
    255, so the weights of two neighbours may come to 128: rows that have more are rounded anew in
    larger steps, by 127 to leave room for rounding. The sums are then the same on every CPU.
    """
    for layer in model.get_ordered_ops():
        if layer.get_type_name() != "MatMul":
            continue
        weights = layer.input_value(1).get_node()
        if weights.get_type_name() != "Multiply":
            continue
        rounded, steps = (value.get_node() for value in weights.input_values())
        stored = rounded.input_value(0).get_node() if rounded.get_input_size() else rounded
        if stored.get_element_type() != ov.Type.i8 or not _by_row(stored, steps):
            continue
        whole = stored.data.astype(np.int16)  # (outputs, inputs)
        sums = np.abs(whole[:, :-1:2] + whole[:, 1::2]).max(axis=1, keepdims=True, initial=0)
        if sums.max() <= _MOST_TWO:
            continue
        larger = np.maximum(sums / np.float32(_MOST_TWO - 1), 1)  # (outputs, 1)
        again = ops.constant(np.rint(whole / larger).astype(np.int8))
        fitting = ops.multiply(ops.convert(again, "f32"), ops.constant(steps.data * larger))
        layer.input(1).replace_source_output(fitting.output(0))


_MOST_TWO = 128


def _smoothing(layer: ov.Node) -> NDArray[np.float32]:
    """What quantisation multiplies the layer's inputs by."""
    given = layer.input_value(0).get_node()
    if given.get_type_name() == "FakeQuantize":
        given = given.input_value(0).get_node()
    if _SMOOTHED not in given.get_friendly_name() or given.get_type_name() != "Multiply":
        return np.ones(1, dtype=np.float32)
    return np.asarray(given.input_value(1).get_node().data, dtype=np.float32).reshape(-1)


_LINEAR = "/aten::linear/MatMul"
_SMOOTHED = "nncf_smooth_quant"
