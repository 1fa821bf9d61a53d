"""What the operations of an OpenVINO graph take, and what takes what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.models.graph import UntranslatableError
from engine.models.openvino import ov


def name_of(output: ov.Output) -> str:
    """What tells an output from all others of its graph."""
    return f"{output.get_node().get_name()}:{output.get_index()}"


def data_of(op: ov.Node) -> NDArray[Any]:
    """The numbers of a constant."""
    return np.asarray(op.data).astype(op.get_output_element_type(0).to_dtype())


def constant_of(output: ov.Output) -> NDArray[Any]:
    """What an output always is.

    Raises:
        UntranslatableError: it is no constant.
    """
    op = output.get_node()
    if op.get_type_name() == "Convert":
        return constant_of(op.input_value(0)).astype(output.get_element_type().to_dtype())
    if op.get_type_name() != "Constant":
        raise UntranslatableError(f"{op.get_type_name()} instead of a constant")
    return data_of(op)


def of_sequences(given: ov.Output, axes: ov.Output) -> bool:
    """Whether each number that comes of numbers is of one sequence: the second of 2 or 3 axes."""
    rank = given.get_partial_shape().rank.get_length()
    over = [axis % rank for axis in constant_of(axes).reshape(-1).tolist()]
    return rank in {2, 3} and over == [1]


def bytes_of(weights: ov.Output) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Bytes (outputs, inputs) and steps (outputs,) of weights that are such; None of others."""
    op = weights.get_node()
    if op.get_type_name() != "Multiply":
        return None
    converted, steps = (value.get_node() for value in op.input_values())
    if converted.get_type_name() != "Convert" or steps.get_type_name() != "Constant":
        return None
    stored = converted.input_value(0).get_node()
    if stored.get_type_name() != "Constant" or stored.get_element_type() != ov.Type.i8:
        return None
    outputs = stored.get_output_shape(0)[0]
    if list(steps.get_output_shape(0)) != [outputs, 1]:
        return None
    return data_of(stored), data_of(steps).reshape(-1).astype(np.float32)


def parted_from(output: ov.Output) -> tuple[ov.Output, tuple[int, int]]:
    """The matrix that heads were parted from, how many they are, and how wide each is.

    Raises:
        UntranslatableError: they were made otherwise.
    """
    moved = output.get_node()
    parted = moved.input_value(0).get_node() if moved.get_type_name() == "Transpose" else moved
    if parted is moved or parted.get_type_name() != "Reshape":
        raise UntranslatableError("attention of heads that were not parted")
    if constant_of(moved.input_value(1)).tolist() != [0, 2, 1, 3]:
        raise UntranslatableError("attention of heads in another order")
    if parted.get_input_partial_shape(0).rank.get_length() != 3:
        raise UntranslatableError("attention of heads that were parted from more than a matrix")
    heads, width = parted.get_output_partial_shape(0)[2], parted.get_output_partial_shape(0)[3]
    if heads.is_dynamic or width.is_dynamic:
        raise UntranslatableError("attention of any number of heads")
    return parted.input_value(0), (heads.get_length(), width.get_length())


def only_user(op: ov.Node, kind: str) -> ov.Node | None:
    """The operation that alone takes what another gives, if it is of a kind."""
    users = [target.get_node() for target in op.output(0).get_target_inputs()]
    return users[0] if len(users) == 1 and users[0].get_type_name() == kind else None


def followed_by(op: ov.Node, kind: str, width: int) -> tuple[ov.Node, NDArray[np.float32]] | None:
    """What alone takes what an operation gives, and its constant, a number for each column."""
    user = only_user(op, kind)
    if user is None:
        return None
    rank = op.get_output_partial_shape(0).rank.get_length()
    for value in user.input_values():
        if value.get_node().get_type_name() != "Constant":
            continue
        shape = list(value.get_shape())
        if len(shape) <= rank and shape == [1] * (len(shape) - 1) + [width]:
            return user, data_of(value.get_node()).reshape(-1).astype(np.float32)
    return None
