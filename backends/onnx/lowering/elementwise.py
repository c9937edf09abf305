"""More operators on each element, and operators that only hand values on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import (
    BNLL,
    ELU,
    AbsVal,
    Axpy,
    Clip,
    Exp,
    HSigmoid,
    HSwish,
    L2Norm,
    Log,
    Op,
    Silence,
    Split,
    Swish,
    Threshold,
)

__all__ = ["append_axes"]

_TINY = 1e-20


def append_axes(build: Builder, node: Node, value: str, rank: int, count: int) -> str:
    """Gives a value of ``rank`` dimensions ``count`` more of size 1 at its end, and returns the name."""
    if not count:
        return value
    axes = build.constant(np.arange(rank, rank + count, dtype=np.int64), node, "axes")
    return build.node("Unsqueeze", [value, axes], node)


def _one_node(op_type: str) -> Callable[[Builder, Node, Op], None]:
    """A lowering to the ONNX operator that computes the same."""

    def lower(build: Builder, node: Node, op: Op) -> None:
        del op
        build.node(op_type, node.inputs, node, output=node.outputs[0])

    return lower


lowers(AbsVal)(_one_node("Abs"))
lowers(BNLL)(_one_node("Softplus"))


@lowers(ELU)
def elu(build: Builder, node: Node, op: ELU) -> None:
    """Elu."""
    build.node("Elu", node.inputs, node, output=node.outputs[0], attributes={"alpha": op.alpha})


@lowers(Exp)
def exp(build: Builder, node: Node, op: Exp) -> None:
    """Mul, Exp, Mul with Caffe's two factors: ``log(base) * scale`` inside and ``base ** shift`` outside."""
    base, scale, shift = np.float32(op.base), np.float32(op.scale), np.float32(op.shift)
    with np.errstate(over="ignore"):
        inner = (np.float32(1) if base == -1 else np.log(base)) * scale
        outer = np.exp(shift) if base == -1 else np.power(base, shift)
    value = _times(build, node, node.inputs[0], inner, "inner")
    _in_turn(build, node, value, [("Exp", None), ("Mul", outer)])


@lowers(Log)
def log(build: Builder, node: Node, op: Log) -> None:
    """Mul, Add, Log, Mul, each factor only where it changes something."""
    base = np.float32(op.base)
    outer = np.float32(1) if base == -1 else np.float32(1) / np.log(base)
    value = _times(build, node, node.inputs[0], np.float32(op.scale), "scale")
    if op.shift:
        value = build.node("Add", [value, build.number(op.shift, node, "shift")], node)
    _in_turn(build, node, value, [("Log", None), ("Mul", outer)])


@lowers(Threshold)
def threshold(build: Builder, node: Node, op: Threshold) -> None:
    """Greater, and Cast back to float32."""
    above = build.node("Greater", [node.inputs[0], build.number(op.threshold, node, "threshold")], node)
    build.node("Cast", [above], node, output=node.outputs[0], attributes={"to": int(TensorProto.FLOAT)})


@lowers(Swish)
def swish(build: Builder, node: Node, op: Swish) -> None:
    """Mul by beta, Sigmoid, Mul with the input."""
    scaled = _times(build, node, node.inputs[0], np.float32(op.beta), "beta")
    gate = build.node("Sigmoid", [scaled], node)
    build.node("Mul", [node.inputs[0], gate], node, output=node.outputs[0])


@lowers(Clip)
def clip(build: Builder, node: Node, op: Clip) -> None:
    """Clip; Min and Max where the bounds are crossed, whose order onnxruntime's Clip turns round."""
    low, high = build.number(op.low, node, "low"), build.number(op.high, node, "high")
    if op.low <= op.high:
        build.node("Clip", [node.inputs[0], low, high], node, output=node.outputs[0])
        return
    below = build.node("Min", [node.inputs[0], high], node)
    build.node("Max", [below, low], node, output=node.outputs[0])


@lowers(HSigmoid)
def hsigmoid(build: Builder, node: Node, op: HSigmoid) -> None:
    """Add, Clip, Div."""
    del op
    build.node("Div", [_relu6_of_shifted(build, node), build.number(6, node, "six")], node, output=node.outputs[0])


@lowers(HSwish)
def hswish(build: Builder, node: Node, op: HSwish) -> None:
    """Add, Clip, Mul, Div; HardSwish exists from opset 14 on only."""
    del op
    product = build.node("Mul", [node.inputs[0], _relu6_of_shifted(build, node)], node)
    build.node("Div", [product, build.number(6, node, "six")], node, output=node.outputs[0])


@lowers(L2Norm)
def l2_norm(build: Builder, node: Node, op: L2Norm) -> None:
    """The input over the root of the sum of its squares in axis 1."""
    del op
    shape = build.shape(node.inputs[0])
    if len(shape) < 2 or any(size != 1 for size in shape[2:]):
        raise UnsupportedError(
            f"{node.place}: has the input {'x'.join(map(str, shape))}, and forks differ in whether its positions are normalized together or "
            "apart; use a Normalize layer, which says so (across_spatial)"
        )
    squares = build.node("Mul", [node.inputs[0]] * 2, node)
    axis = build.constant(np.array([1], np.int64), node, "axis")
    total = build.node("ReduceSum", [squares, axis], node)
    positive = build.node("Max", [total, build.number(_TINY, node, "tiny")], node)
    length = build.node("Sqrt", [positive], node)
    build.node("Div", [node.inputs[0], length], node, output=node.outputs[0])


@lowers(Split)
def split(build: Builder, node: Node, op: Split) -> None:
    """An Identity for each output, so that the values keep their names."""
    del op
    for output in node.outputs:
        build.node("Identity", node.inputs, node, output=output)


@lowers(Silence)
def silence(build: Builder, node: Node, op: Silence) -> None:
    """Nothing: there is no value to make."""
    del build, node, op


@lowers(Axpy)
def axpy(build: Builder, node: Node, op: Axpy) -> None:
    """Mul and Add, the factors with an axis for each of the data's."""
    del op
    factor, data, added = node.inputs
    given, rank = len(build.shape(factor)), len(build.shape(data))
    if given > rank:
        axes = build.constant(np.arange(rank, given, dtype=np.int64), node, "axes")
        factor = build.node("Squeeze", [factor, axes], node)
    factor = append_axes(build, node, factor, given, max(0, rank - given))
    product = build.node("Mul", [data, factor], node)
    build.node("Add", [product, added], node, output=node.outputs[0])


def _relu6_of_shifted(build: Builder, node: Node) -> str:
    shifted = build.node("Add", [node.inputs[0], build.number(3, node, "three")], node)
    return build.node("Clip", [shifted, build.number(0, node, "low"), build.number(6, node, "high")], node)


def _times(build: Builder, node: Node, value: str, factor: np.float32, purpose: str) -> str:
    return value if factor == 1 else build.node("Mul", [value, build.number(float(factor), node, purpose)], node)


def _in_turn(build: Builder, node: Node, value: str, steps: list[tuple[str, np.float32 | None]]) -> None:
    """Adds the nodes one after the other; a factor of 1 is left out, and the last node makes the layer's output."""
    kept = [step for step in steps if step[1] != 1]
    for number, (op_type, operand) in enumerate(kept, 1):
        operands = [value] if operand is None else [value, build.number(float(operand), node, "outer")]
        value = build.node(op_type, operands, node, output=node.outputs[0] if number == len(kept) else None)
