"""Arithmetic on each element of one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.parts.operands import times
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import AbsVal, Clip, Exp, Identity, Log, Power, Threshold, Unary

__all__: list[str] = []


@lowers(AbsVal)
def abs_val(build: Builder, node: Node, op: AbsVal) -> None:
    """Abs."""
    del op
    build.node("Abs", node.inputs, node, output=node.outputs[0])


@lowers(Exp)
def exp(build: Builder, node: Node, op: Exp) -> None:
    """Mul, Exp, Mul with Caffe's two factors: ``log(base) * scale`` inside and ``base ** shift`` outside."""
    base, scale, shift = np.float32(op.base), np.float32(op.scale), np.float32(op.shift)
    with np.errstate(over="ignore"):
        inner = (np.float32(1) if base == -1 else np.log(base)) * scale
        outer = np.exp(shift) if base == -1 else np.power(base, shift)
    value = times(build, node, node.inputs[0], inner, "inner")
    _in_turn(build, node, value, [("Exp", None), ("Mul", outer)])


@lowers(Log)
def log(build: Builder, node: Node, op: Log) -> None:
    """Mul, Add, Log, Mul, each factor only where it changes something."""
    base = np.float32(op.base)
    outer = np.float32(1) if base == -1 else np.float32(1) / np.log(base)
    value = times(build, node, node.inputs[0], np.float32(op.scale), "scale")
    if op.shift:
        value = build.node("Add", [value, build.number(op.shift, node, "shift")], node)
    _in_turn(build, node, value, [("Log", None), ("Mul", outer)])


@lowers(Threshold)
def threshold(build: Builder, node: Node, op: Threshold) -> None:
    """Greater, and Cast back to float32."""
    above = build.node("Greater", [node.inputs[0], build.number(op.threshold, node, "threshold")], node)
    build.node("Cast", [above], node, output=node.outputs[0], attributes={"to": int(TensorProto.FLOAT)})


@lowers(Clip)
def clip(build: Builder, node: Node, op: Clip) -> None:
    """Clip; Min and Max where the bounds are crossed, whose order onnxruntime's Clip turns round."""
    low, high = build.number(op.low, node, "low"), build.number(op.high, node, "high")
    if op.low <= op.high:
        build.node("Clip", [node.inputs[0], low, high], node, output=node.outputs[0])
        return
    below = build.node("Min", [node.inputs[0], high], node)
    build.node("Max", [below, low], node, output=node.outputs[0])


def _in_turn(build: Builder, node: Node, value: str, steps: list[tuple[str, np.float32 | None]]) -> None:
    """Adds the nodes one after the other; a factor of 1 is left out, and the last node makes the layer's output."""
    kept = [step for step in steps if step[1] != 1]
    for number, (op_type, operand) in enumerate(kept, 1):
        operands = [value] if operand is None else [value, build.number(float(operand), node, "outer")]
        value = build.node(op_type, operands, node, output=node.outputs[0] if number == len(kept) else None)


@lowers(Identity)
def identity(build: Builder, node: Node, op: Identity) -> None:
    """Identity, so that the value keeps its name."""
    del op
    build.node("Identity", node.inputs, node, output=node.outputs[0])


@lowers(Power)
def power(build: Builder, node: Node, op: Power) -> None:
    """Mul, Add, Pow, each only where it changes something; each rounds to float32 as Caffe's steps do."""
    exponent, scale, shift = np.float32(op.power), np.float32(op.scale), np.float32(op.shift)
    if exponent == 0 or scale == 0:
        # Caffe fills in the constant whatever the input holds, even NaN.
        with np.errstate(all="ignore"):
            value = np.float32(1) if exponent == 0 else np.power(shift, exponent)
        size = build.node("Shape", node.inputs, node)
        constant = build.number(float(value), node, "value")
        build.node("Expand", [constant, size], node, output=node.outputs[0])
        return
    steps = [
        step
        for step in (("Mul", scale, 1, "scale"), ("Add", shift, 0, "shift"), ("Pow", exponent, 1, "power"))
        if step[1] != step[2]
    ]
    value_name = node.inputs[0]
    for number, (op_type, factor, _, purpose) in enumerate(steps, 1):
        output = node.outputs[0] if number == len(steps) else None
        operand = build.number(float(factor), node, purpose)
        value_name = build.node(op_type, [value_name, operand], node, output=output)
    if not steps:
        build.node("Identity", node.inputs, node, output=node.outputs[0])


_BOOL = int(TensorProto.BOOL)

_GELU = float(np.sqrt(2 / np.pi))

_OPERATORS: Mapping[str, str] = MappingProxyType(
    {
        "acos": "Acos",
        "acosh": "Acosh",
        "asin": "Asin",
        "asinh": "Asinh",
        "atan": "Atan",
        "atanh": "Atanh",
        "ceil": "Ceil",
        "cos": "Cos",
        "cosh": "Cosh",
        "erf": "Erf",
        "exp": "Exp",
        "floor": "Floor",
        "log": "Log",
        "neg": "Neg",
        "reciprocal": "Reciprocal",
        "round": "Round",
        "sign": "Sign",
        "sin": "Sin",
        "sinh": "Sinh",
        "softplus": "Softplus",
        "softsign": "Softsign",
        "sqrt": "Sqrt",
        "tan": "Tan",
    }
)


def _gelu(steps: Steps, x: str) -> str:
    share = steps.call("Erf", steps.call("Mul", x, steps.number(float(np.sqrt(0.5)))))
    return steps.call("Mul", x, _half_more(steps, share))


def _gelu_tanh(steps: Steps, x: str) -> str:
    cube = steps.call("Mul", steps.call("Mul", x, x), x)
    inner = steps.call("Add", x, steps.call("Mul", cube, steps.number(0.044715)))
    return steps.call("Mul", x, _half_more(steps, steps.call("Tanh", steps.call("Mul", inner, steps.number(_GELU)))))


def _half_more(steps: Steps, value: str) -> str:
    """``0.5 * value + 0.5``."""
    return steps.call("Add", steps.call("Mul", value, steps.number(0.5)), steps.number(0.5))


def _mish(steps: Steps, x: str) -> str:
    return steps.call("Mul", x, steps.call("Tanh", steps.call("Softplus", x)))


def _trunc(steps: Steps, x: str) -> str:
    return steps.call("Mul", steps.call("Sign", x), steps.call("Floor", steps.call("Abs", x)))


def _test(op_type: str) -> Callable[[Steps, str], str]:
    """An operator whose result is a truth value."""

    def lower(steps: Steps, x: str) -> str:
        return steps.floats(steps.call(op_type, x))

    return lower


_COMPOSED: Mapping[str, Callable[[Steps, str], str]] = MappingProxyType(
    {
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "isinf": _test("IsInf"),
        "isnan": _test("IsNaN"),
        "mish": _mish,
        "nonzero": lambda steps, x: steps.floats(steps.call("Cast", x, to=_BOOL)),
        "not": lambda steps, x: steps.floats(steps.call("Not", steps.call("Cast", x, to=_BOOL))),
        "trunc": _trunc,
    }
)


@lowers(Unary)
def unary(build: Builder, node: Node, op: Unary) -> None:
    """The operator of that name, or a few that compute it in every opset."""
    if op.function in _OPERATORS:
        build.node(_OPERATORS[op.function], node.inputs, node, output=node.outputs[0])
        return
    value = _COMPOSED[op.function](Steps(build, node), node.inputs[0])
    build.node("Identity", [value], node, output=node.outputs[0])
