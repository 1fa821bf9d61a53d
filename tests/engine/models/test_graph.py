"""Graphs changed before they are compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import GRAPH_FILE
from engine.models.graph import read_graph
from engine.models.openvino import ops, ov

GRAPH = SHIPPED_ENCODER / GRAPH_FILE


def outputs(model: ov.Model) -> list[np.ndarray]:
    """What a model makes of the same sixteen tokens."""
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    tokens = np.arange(1_000, 1_016, dtype=np.int64)[None, :]
    inputs = {port.any_name: np.ones_like(tokens) for port in compiled.inputs}
    return [np.array(one) for one in compiled({**inputs, "input_ids": tokens}).values()]


def table_types(model: ov.Model) -> Counter[str]:
    """The kinds of numbers in the tables that rows are taken from."""
    tables = (op.input_value(0) for op in model.get_ordered_ops() if op.get_type_name() == "Gather")
    return Counter(
        str(table.get_element_type().to_dtype())
        for table in tables
        if table.get_node().get_type_name() == "Constant" and len(table.get_shape()) == 2
    )


def test_tables_of_embeddings_stay_small_and_give_the_same_numbers() -> None:
    stored, kept = ov.Core().read_model(GRAPH), read_graph(GRAPH, tokens=False, adapters={})
    assert "int8" not in table_types(stored)
    assert table_types(kept)["int8"] >= 1
    for model in (stored, kept):
        names = [(op.get_friendly_name(), op) for op in model.get_ordered_ops()]
        model.add_outputs([op.output(0) for name, op in names if name.endswith("embedding/Gather")])
    of_stored, of_kept = outputs(stored)[1:], outputs(kept)[1:]  # words, positions, token types
    assert len(of_stored) == len(of_kept) == 3
    for given, wanted in zip(of_kept, of_stored, strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-6)


def rows_of_bytes(model: ov.Model) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Int8 weights of linear layers, (outputs, inputs), and the step of each row."""
    for op in model.get_ordered_ops():
        if op.get_type_name() == "MatMul" and len(op.input_value(1).get_shape()) == 2:
            rounded, steps = (one.get_node() for one in op.input_value(1).get_node().input_values())
            yield rounded.input_value(0).get_node().data.astype(int), steps.data


def test_weights_are_rounded_anew_where_two_products_would_overflow_16_bits() -> None:
    stored = list(rows_of_bytes(ov.Core().read_model(GRAPH)))
    read = list(rows_of_bytes(read_graph(GRAPH, tokens=False, adapters={})))
    assert len(stored) == len(read) == 36
    changed = 0
    for (whole, steps), (fitting, larger) in zip(stored, read, strict=True):
        assert 255 * np.abs(fitting[:, 0::2] + fitting[:, 1::2]).max() <= np.iinfo(np.int16).max
        assert (np.abs(whole * steps - fitting * larger) <= larger * 0.501).all()
        changed += int((steps != larger).sum())
    assert changed > 0


def test_sums_of_the_largest_products_are_what_they_would_be_in_full_precision(
    tmp_path: Path,
) -> None:
    whole = np.array([[127] * 64, [127, -127] * 32, [10] * 64, [127, 127, 0, 0] * 16], np.int8)
    weights = ops.multiply(
        ops.convert(ops.constant(whole), "f32"), ops.constant(np.full((4, 1), 0.01, np.float32))
    )
    given = ops.parameter([-1, 64], np.float32, name="given")
    rounded = ops.fake_quantize(given, *map(np.float32, (0, 255, 0, 255)), levels=256)
    product = ops.matmul(rounded, weights, transpose_a=False, transpose_b=True)
    ov.save_model(ov.Model([product], [given]), tmp_path / GRAPH_FILE, compress_to_fp16=False)
    served = ov.Core().compile_model(
        read_graph(tmp_path / GRAPH_FILE, tokens=False, adapters={}), "CPU"
    )
    largest = np.full((2, 64), 255, dtype=np.float32)
    expected = largest @ (whole * np.float32(0.01)).T
    np.testing.assert_allclose(served([largest])[0], expected, rtol=0.01, atol=0.01)


def test_the_last_layer_is_a_second_output_and_leaves_the_first_as_it_is() -> None:
    plain = outputs(read_graph(GRAPH, tokens=False, adapters={}))
    both = outputs(read_graph(GRAPH, tokens=True, adapters={}))
    assert len(plain) == 1
    assert [one.ndim for one in both] == [2, 3]
    np.testing.assert_allclose(both[0], plain[0], atol=1e-5)


def test_a_layer_that_is_not_there_is_named() -> None:
    thin = np.zeros((1, 1), dtype=np.float32)
    with pytest.raises(ModelError, match=r"has no layer lower\.99"):
        read_graph(GRAPH, tokens=False, adapters={"lower.99": (thin, thin)})
