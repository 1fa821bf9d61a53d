"""Graphs changed before they are compiled."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from engine.errors import ModelError
from engine.models.encoder import SHIPPED_ENCODER
from engine.models.folder import GRAPH_FILE
from engine.models.graph import read_graph
from engine.models.openvino import ov

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
    np.testing.assert_allclose(outputs(kept)[0], outputs(stored)[0], atol=1e-5)


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
