"""A graph as ONNX, for CPUs on which OpenVINO's int8 products are slow.

ONNX operators of opset 18, and of ONNX Runtime's own: products of int8 that end in floats
(MatMulIntegerToFloat), attention of many heads (MultiHeadAttention), GELU.
What a sequence gives does not depend on the batch it is in, to the last bit, where lengths are
padded as `engine.models.runtime` pads them: sums over tokens are written as products of matrices,
one a sequence, whose order is the same however many sequences there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engine.models.graph import UntranslatableError
from engine.models.openvino import ov
from engine.models.operations import (
    bytes_of,
    constant_of,
    data_of,
    followed_by,
    name_of,
    of_sequences,
    only_user,
    parted_from,
)

_OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
_IR_VERSION = 10
"""Of ONNX 1.16: what every ONNX Runtime since 1.18 reads."""

_RUNTIMES_OWN = "com.microsoft"
_LOWEST = np.finfo(np.float32).min
_LEVELS = 256

How = float | list[int] | onnx.TensorProto
"""An attribute of an operator."""


def translate(model: ov.Model) -> bytes:
    """A model as ONNX, serialised.

    Raises:
        UntranslatableError: it has no int8 products, or an operation that is not known here.
    """
    translation = _Translation()
    for op in model.get_ordered_ops():
        translation.add(op)
    if not translation.whole_products:
        raise UntranslatableError("no products of int8")
    return translation.serialised(model)


class _Translation:
    """What was translated so far."""

    def __init__(self) -> None:
        self.whole_products = 0
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._done: set[str] = set()  # operations that are part of one translated before
        self._named: dict[str, str] = {}  # outputs that are another's
        self._bytes: dict[str, tuple[str, str, str]] = {}  # rounded outputs: bytes, step, zero
        self._inputs: list[onnx.ValueInfoProto] = []

    def add(self, op: ov.Node) -> None:
        """Translate one operation; those it takes from are translated already."""
        if op.get_name() in self._done:
            return
        kind = op.get_type_name()
        if kind not in _TRANSLATED:
            raise UntranslatableError(kind)
        _TRANSLATED[kind](self, op)

    def serialised(self, model: ov.Model) -> bytes:
        """The whole, without what no output needs."""
        outputs = [self.name(result.get_node().input_value(0)) for result in model.outputs]
        needed, nodes = set(outputs), []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        graph = helper.make_graph(
            nodes[::-1],
            "model",
            self._inputs,
            [
                _value(name, result.get_element_type(), result.get_partial_shape())
                for name, result in zip(outputs, model.outputs, strict=True)
            ],
            [
                numpy_helper.from_array(np.array(value, order="C"), name)
                for name, value in self._constants.items()
                if name in needed
            ],
        )
        made = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR_VERSION)
        content: bytes = made.SerializeToString()
        return content

    def emit(
        self, kind: str, inputs: list[str], output: str = "", *, own: bool = False, **how: How
    ) -> str:
        """Add a node of one output, and give the name of that.

        Args:
            kind: the operator, one of ONNX or of the runtime's `own`.
            inputs: their names.
            output: its name; a new one if none is wanted.
            own: whose operator it is.
            **how: attributes.
        """
        output = output or f"step {len(self._nodes)}"
        self._add_node(kind, inputs, [output], _RUNTIMES_OWN if own else "", how)
        return output

    def _add_node(
        self,
        kind: str,
        inputs: list[str],
        outputs: list[str],
        domain: str = "",
        how: Mapping[str, How] | None = None,
    ) -> None:
        node = helper.make_node(kind, inputs, outputs, domain=domain)
        node.attribute.extend(helper.make_attribute(*one) for one in (how or {}).items())
        self._nodes.append(node)

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        """The name of a new constant."""
        name = f"constant {len(self._constants)}"
        self._constants[name] = np.asarray(value)
        return name

    def name(self, output: ov.Output) -> str:
        """By which name an output is to be taken."""
        name = name_of(output)
        if name in self._bytes and name not in self._named:
            rounded, step, zero = self._bytes[name]
            self._named[name] = self.emit("DequantizeLinear", [rounded, step, zero])
        return self._named.get(name, name)

    def names(self, op: ov.Node) -> list[str]:
        """The names of what an operation takes."""
        return [self.name(value) for value in op.input_values()]

    # What follows translates one operation each.

    def parameter(self, op: ov.Node) -> None:
        output, name = op.output(0), op.output(0).any_name
        if output.get_element_type() not in {ov.Type.i64, ov.Type.f32}:
            raise UntranslatableError(f"an input of {output.get_element_type()}")
        self._inputs.append(_value(name, output.get_element_type(), output.get_partial_shape()))
        self._named[name_of(op.output(0))] = name

    def stored(self, op: ov.Node) -> None:
        self._constants[name_of(op.output(0))] = data_of(op)

    def skip(self, _op: ov.Node) -> None:
        """Nothing: who reads it goes on to what it is of."""

    def convert(self, op: ov.Node) -> None:
        given = self.name(op.input_value(0))
        self.emit("Cast", [given], name_of(op.output(0)), to=_type_of(op.output(0)))

    def both(self, op: ov.Node) -> None:
        if op.get_output_element_type(0) != ov.Type.boolean:
            raise UntranslatableError("BitwiseAnd of numbers")
        self.emit("And", self.names(op), name_of(op.output(0)))

    def normalise(self, op: ov.Node) -> None:
        """Layer normalisation (Ba et al. 2016): with the weights and the bias that follow."""
        how = op.get_attributes()
        axes = constant_of(op.input_value(1)).reshape(-1).tolist()
        rank = op.get_output_partial_shape(0).rank.get_length()
        inside = how["normalize_variance"] and how["eps_mode"].lower() == "inside_sqrt"
        if axes not in ([-1], [rank - 1]) or not inside:
            raise UntranslatableError("MVN")
        width = op.get_output_partial_shape(0)[rank - 1].get_length()
        scaled = followed_by(op, "Multiply", width)
        shifted = followed_by(scaled[0] if scaled else op, "Add", width)
        weights = scaled[1] if scaled else np.ones(width, dtype=np.float32)
        inputs = [self.name(op.input_value(0)), self.constant(weights)]
        inputs += [self.constant(shifted[1])] if shifted else []
        last = self._end(op, scaled, shifted)
        self.emit("LayerNormalization", inputs, last, axis=-1, epsilon=float(how["eps"]))

    def round(self, op: ov.Node) -> None:
        """Rounding to 256 levels, whose zero is one of them."""
        low, high, low_out, high_out = (constant_of(value) for value in op.input_values()[1:])
        if low.size > 1 or op.get_attributes()["levels"] != _LEVELS:
            raise UntranslatableError("FakeQuantize by channel")
        step = (high.item() - low.item()) / (_LEVELS - 1)
        zero = -low.item() / step
        within = abs(zero - np.rint(zero)) <= 1e-3 and 0 <= np.rint(zero) < _LEVELS
        if low_out != low or high_out != high or not within:
            raise UntranslatableError("FakeQuantize without a zero")
        step_name = self.constant(np.float32(step))
        zero_name = self.constant(np.uint8(np.rint(zero)))
        given = self.name(op.input_value(0))
        rounded = self.emit("QuantizeLinear", [given, step_name, zero_name])
        self._bytes[name_of(op.output(0))] = rounded, step_name, zero_name

    def multiply_matrices(self, op: ov.Node) -> None:
        """A product of matrices: of bytes where both are, with the bias and GELU that follow."""
        given, weights = op.input_values()
        turned = op.get_attributes()
        whole = bytes_of(weights) if name_of(given) in self._bytes else None
        if whole is None or turned["transpose_a"] or not turned["transpose_b"]:
            left = self._turned(given, turn=turned["transpose_a"])
            right = self._turned(weights, turn=turned["transpose_b"])
            self.emit("MatMul", [left, right], name_of(op.output(0)))
            return
        self.whole_products += 1
        rounded, step, zero = self._bytes[name_of(given)]
        bytes_, steps = whole  # (outputs, inputs), (outputs,)
        inputs = [rounded, self.constant(bytes_.T), step, self.constant(steps), zero]
        shifted = followed_by(op, "Add", len(steps))
        curved = only_user(shifted[0], "Gelu") if shifted else None
        if shifted and curved and curved.get_attributes()["approximation_mode"].lower() == "erf":
            product = self.emit("MatMulIntegerToFloat", inputs, own=True)
            last = self._end(op, shifted, (curved, shifted[1]))
            self.emit("BiasGelu", [product, self.constant(shifted[1])], last, own=True)
            return
        inputs += ["", self.constant(shifted[1])] if shifted else []
        self.emit("MatMulIntegerToFloat", inputs, self._end(op, shifted), own=True)

    def _turned(self, value: ov.Output, *, turn: bool) -> str:
        """The name of a matrix, rows and columns exchanged where wanted."""
        if not turn:
            return self.name(value)
        places = list(range(value.get_partial_shape().rank.get_length()))
        places[-2:] = places[:-3:-1]
        return self.emit("Transpose", [self.name(value)], perm=places)

    def attend(self, op: ov.Node) -> None:
        """Attention of heads that were parted from one matrix (Vaswani et al. 2017)."""
        if op.get_attributes()["causal"] or len(op.input_values()) < 4:
            raise UntranslatableError("attention without a mask")
        parted = [parted_from(value) for value in op.input_values()[:3]]
        sizes = {each for _, each in parted}
        if len(sizes) > 1:
            raise UntranslatableError("attention of heads of several sizes")
        heads, width = sizes.pop()
        asked, keys, values = (self.name(each) for each, _ in parted)
        scales = [constant_of(value).item() for value in op.input_values()[4:]]
        scale = float(scales[0] if scales else width**-0.5)
        inputs = [asked, keys, values, "", "", self._bias(op.input_value(3), asked)]
        together = self.emit("MultiHeadAttention", inputs, own=True, num_heads=heads, scale=scale)
        shape = self.constant(np.array([0, 0, heads, width], dtype=np.int64))
        apart = self.emit("Reshape", [together, shape])
        self.emit("Transpose", [apart], name_of(op.output(0)), perm=[0, 2, 1, 3])

    def _bias(self, mask: ov.Output, asked: str) -> str:
        """What a mask adds to the products of queries and keys: often it holds one for all."""
        bias = self.name(mask)
        if mask.get_element_type() == ov.Type.boolean:
            bias = self.emit("Where", [bias, self.constant(np.float32(0)), self.constant(_LOWEST)])
        length = self.emit("Shape", [asked], start=1, end=2)
        two, one = (self.constant(np.ones(count, dtype=np.int64)) for count in (2, 1))
        return self.emit("Expand", [bias, self.emit("Concat", [two, length, one], axis=0)])

    def reshape(self, op: ov.Node) -> None:
        given, shape = op.input_values()
        inputs = [self.name(given), self._long(shape)]
        nothing = int(not op.get_attributes()["special_zero"])  # whether 0 stands for itself
        self.emit("Reshape", inputs, name_of(op.output(0)), allowzero=nothing)

    def broadcast(self, op: ov.Node) -> None:
        if op.get_attributes()["mode"].lower() not in {"numpy", "bidirectional"}:
            raise UntranslatableError("Broadcast")
        given, shape = op.input_values()[:2]
        self.emit("Expand", [self.name(given), self._long(shape)], name_of(op.output(0)))

    def transpose(self, op: ov.Node) -> None:
        places = constant_of(op.input_value(1)).tolist()
        self.emit("Transpose", [self.name(op.input_value(0))], name_of(op.output(0)), perm=places)

    def gather(self, op: ov.Node) -> None:
        if op.get_attributes()["batch_dims"]:
            raise UntranslatableError("Gather by batch")
        given, places, axis = op.input_values()
        inputs = [self.name(given), self.name(places)]
        self.emit("Gather", inputs, name_of(op.output(0)), axis=int(constant_of(axis).item()))

    def cut(self, op: ov.Node) -> None:
        given, start, stop, step, *axes = op.input_values()
        if not axes:
            raise UntranslatableError("Slice of all axes")
        inputs = [self.name(given), *map(self._long, (start, stop, axes[0], step))]
        self.emit("Slice", inputs, name_of(op.output(0)))

    def count(self, op: ov.Node) -> None:
        """A range of numbers."""
        kind = _type_of(op.output(0))
        ends = [self.emit("Cast", [name], to=kind) for name in self.names(op)]
        self.emit("Range", ends, name_of(op.output(0)))

    def shape(self, op: ov.Node) -> None:
        long = self.emit("Shape", self.names(op))
        self.emit("Cast", [long], name_of(op.output(0)), to=_type_of(op.output(0)))

    def join(self, op: ov.Node) -> None:
        axis = int(op.get_attributes()["axis"])
        self.emit("Concat", self.names(op), name_of(op.output(0)), axis=axis)

    def part(self, op: ov.Node) -> None:
        given, axis = op.input_values()
        how: dict[str, How] = {
            "axis": int(constant_of(axis).item()),
            "num_outputs": int(op.get_attributes()["num_splits"]),
        }
        outputs = [name_of(output) for output in op.outputs()]
        self._add_node("Split", [self.name(given)], outputs, how=how)

    def soften(self, op: ov.Node) -> None:
        axis = int(op.get_attributes()["axis"])
        self.emit("Softmax", self.names(op), name_of(op.output(0)), axis=axis)

    def sum(self, op: ov.Node) -> None:
        """A sum: of rows, and over tokens, as products of matrices, one a sequence."""
        given, axes = op.input_values()
        if given.get_element_type() != ov.Type.f32 or not of_sequences(given, axes):
            self.reduce("ReduceSum", op)
            return
        self._summed(self.name(given), op, name_of(op.output(0)))

    def length(self, op: ov.Node) -> None:
        """The Euclidean norm: the root of a sum."""
        given, axes = op.input_values()
        if not of_sequences(given, axes):
            self.reduce("ReduceL2", op)
            return
        squares = self.emit("Mul", [self.name(given)] * 2)
        self.emit("Sqrt", [self._summed(squares, op, "")], name_of(op.output(0)))

    def _summed(self, given: str, op: ov.Node, name: str) -> str:
        """The sum of rows, or over the middle axis of three; `name` as in `emit`."""
        flat = op.input_value(0).get_partial_shape().rank.get_length() == 2
        if flat:
            given = self.emit("Unsqueeze", [given, self._axis(2)])
        shape = self.emit("Shape", [given], start=0, end=2)
        one = numpy_helper.from_array(np.ones(1, dtype=np.float32))
        ones = self.emit("ConstantOfShape", [shape], value=one)
        summed = self.emit("MatMul", [self.emit("Unsqueeze", [ones, self._axis(1)]), given])
        if flat:
            summed = self.emit("Squeeze", [summed, self._axis(2)])
        if op.get_attributes()["keep_dims"]:
            return self.emit("Identity", [summed], name)
        return self.emit("Squeeze", [summed, self._axis(1)], name)

    def _axis(self, place: int) -> str:
        return self.constant(np.array([place], dtype=np.int64))

    def reduce(self, kind: str, op: ov.Node) -> None:
        given, axes = op.input_values()
        kept = int(op.get_attributes()["keep_dims"])
        self.emit(kind, [self.name(given), self._long(axes)], name_of(op.output(0)), keepdims=kept)

    def _long(self, value: ov.Output) -> str:
        """A shape or axes as ONNX has them: a list of 64-bit numbers."""
        if value.get_node().get_type_name() == "Constant":
            return self.constant(constant_of(value).reshape(-1).astype(np.int64))
        if value.get_element_type() == ov.Type.i64:
            return self.name(value)
        return self.emit("Cast", [self.name(value)], to=onnx.TensorProto.INT64)

    def _end(self, op: ov.Node, *followers: tuple[ov.Node, NDArray[np.float32]] | None) -> str:
        """The name of what the last of an operation and its followers gives: all are done."""
        last = op
        for follower in followers:
            if follower:
                last = follower[0]
                self._done.add(last.get_name())
        return name_of(last.output(0))


def _type_of(output: ov.Output) -> int:
    kind: int = helper.np_dtype_to_tensor_dtype(np.dtype(output.get_element_type().to_dtype()))
    return kind


def _value(name: str, kind: ov.Type, shape: ov.PartialShape) -> onnx.ValueInfoProto:
    sizes = [size.get_length() if size.is_static else None for size in shape]
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(kind.to_dtype()))
    return helper.make_tensor_value_info(name, dtype, sizes)


def _plain(kind: str) -> Callable[[_Translation, ov.Node], None]:
    """An operation that ONNX has too, on the same inputs."""

    def add(translation: _Translation, op: ov.Node) -> None:
        translation.emit(kind, translation.names(op), name_of(op.output(0)))

    return add


def _reduced(kind: str) -> Callable[[_Translation, ov.Node], None]:
    def add(translation: _Translation, op: ov.Node) -> None:
        translation.reduce(kind, op)

    return add


def _axes_given(kind: str) -> Callable[[_Translation, ov.Node], None]:
    def add(translation: _Translation, op: ov.Node) -> None:
        given, axes = op.input_values()
        inputs = [translation.name(given), translation._long(axes)]
        translation.emit(kind, inputs, name_of(op.output(0)))

    return add


_SAME = {
    "Abs": "Abs",
    "Add": "Add",
    "Divide": "Div",
    "Exp": "Exp",
    "GreaterEqual": "GreaterOrEqual",
    "Log": "Log",
    "LogicalAnd": "And",
    "Maximum": "Max",
    "Multiply": "Mul",
    "Select": "Where",
    "Sqrt": "Sqrt",
    "Subtract": "Sub",
    "Tanh": "Tanh",
}

_TRANSLATED: Mapping[str, Callable[[_Translation, ov.Node], None]] = {
    **{theirs: _plain(onnx_name) for theirs, onnx_name in _SAME.items()},
    **{kind: _reduced(kind) for kind in ("ReduceMax", "ReduceMean", "ReduceProd")},
    **{kind: _axes_given(kind) for kind in ("Squeeze", "Unsqueeze")},
    "BitwiseAnd": _Translation.both,
    "Broadcast": _Translation.broadcast,
    "Concat": _Translation.join,
    "Constant": _Translation.stored,
    "Convert": _Translation.convert,
    "ConvertLike": _Translation.convert,
    "FakeQuantize": _Translation.round,
    "Gather": _Translation.gather,
    "MVN": _Translation.normalise,
    "MatMul": _Translation.multiply_matrices,
    "Parameter": _Translation.parameter,
    "Range": _Translation.count,
    "ReduceL2": _Translation.length,
    "ReduceSum": _Translation.sum,
    "Reshape": _Translation.reshape,
    "Result": _Translation.skip,
    "ScaledDotProductAttention": _Translation.attend,
    "ShapeOf": _Translation.shape,
    "Slice": _Translation.cut,
    "Softmax": _Translation.soften,
    "Split": _Translation.part,
    "Transpose": _Translation.transpose,
}
