"""Functions of several values, element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.parts.operands import append_axes
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Axpy, Binary, Eltwise, Where

__all__: list[str] = []

_BOOL = int(TensorProto.BOOL)

_OPERATORS: Mapping[str, str] = MappingProxyType(
    {"add": "Add", "div": "Div", "max": "Max", "min": "Min", "mul": "Mul", "pow": "Pow", "sub": "Sub"}
)

_COMPARISONS: Mapping[str, str] = MappingProxyType(
    {
        "equal": "Equal",
        "greater": "Greater",
        "greater_equal": "GreaterOrEqual",
        "less": "Less",
        "less_equal": "LessOrEqual",
    }
)

_LOGIC: Mapping[str, str] = MappingProxyType({"and": "And", "or": "Or", "xor": "Xor"})


def _truth(steps: Steps, x: str) -> str:
    return steps.call("Cast", x, to=_BOOL)


def _fmod(steps: Steps, x: str, y: str) -> str:
    return steps.call("Mod", x, y, fmod=1)


def _mod(steps: Steps, x: str, y: str) -> str:
    rest = _fmod(steps, x, y)
    zero = steps.number(0.0)
    wrong = steps.call("Less", steps.call("Mul", steps.call("Sign", rest), steps.call("Sign", y)), zero)
    return steps.call("Where", wrong, steps.call("Add", rest, y), rest)


def _integer_div(steps: Steps, x: str, y: str) -> str:
    quotient = steps.call("Div", x, y)
    return steps.call("Mul", steps.call("Sign", quotient), steps.call("Floor", steps.call("Abs", quotient)))


def _prelu(steps: Steps, x: str, slope: str) -> str:
    return steps.call("Where", steps.call("Greater", x, steps.number(0.0)), x, steps.call("Mul", slope, x))


_COMPOSED: Mapping[str, Callable[[Steps, str, str], str]] = MappingProxyType(
    {"fmod": _fmod, "integer_div": _integer_div, "mod": _mod, "prelu": _prelu}
)


@lowers(Binary)
def binary(build: Builder, node: Node, op: Binary) -> None:
    """The operator of that name; comparisons and logic give truth values, which become numbers."""
    steps, (x, y), output = Steps(build, node), node.inputs, node.outputs[0]
    if op.function in _OPERATORS:
        build.node(_OPERATORS[op.function], [x, y], node, output=output)
        return
    if op.function in _COMPOSED:
        build.node("Identity", [_COMPOSED[op.function](steps, x, y)], node, output=output)
        return
    if op.function in _COMPARISONS:
        found = steps.call(_COMPARISONS[op.function], x, y)
    else:
        found = steps.call(_LOGIC[op.function], _truth(steps, x), _truth(steps, y))
    build.node("Cast", [found], node, output=output, attributes={"to": int(TensorProto.FLOAT)})


@lowers(Where)
def where(build: Builder, node: Node, op: Where) -> None:
    """Where."""
    del op
    truth = _truth(Steps(build, node), node.inputs[0])
    build.node("Where", [truth, *node.inputs[1:]], node, output=node.outputs[0])


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


_ELTWISE = {"PROD": "Mul", "SUM": "Add", "MAX": "Max"}


@lowers(Eltwise)
def eltwise(build: Builder, node: Node, op: Eltwise) -> None:
    """A chain of Mul, Add or Max from the left; in a sum after a Mul for each coefficient other than 1."""
    terms = list(node.inputs)
    for number, coefficient in enumerate(op.coeff if op.operation == "SUM" else ()):
        if np.float32(coefficient) != 1:
            factor = build.number(coefficient, node, f"coeff{number}")
            terms[number] = build.node("Mul", [terms[number], factor], node)
    result = terms[0]
    for number, term in enumerate(terms[1:], 2):
        output = node.outputs[0] if number == len(terms) else None
        result = build.node(_ELTWISE[op.operation], [result, term], node, output=output)
