"""Functions of each element and along one axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.steps import Steps
from nuqconv.ir import Node
from nuqconv.ir.ops import Celu, CumSum, Hardmax, HardSigmoid, LogSoftmax, Op, Selu, Shrink, ThresholdedReLU, Unary

__all__: list[str] = []

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


_SAME: Mapping[type[Op], str] = MappingProxyType(
    {
        Celu: "Celu",
        HardSigmoid: "HardSigmoid",
        Hardmax: "Hardmax",
        LogSoftmax: "LogSoftmax",
        Selu: "Selu",
        Shrink: "Shrink",
        ThresholdedReLU: "ThresholdedRelu",
    }
)
"""Operators whose fields are ONNX's attributes."""


def _same(build: Builder, node: Node, op: Op) -> None:
    """The operator of ONNX with the same attributes."""
    build.node(_SAME[type(op)], node.inputs, node, output=node.outputs[0], attributes=asdict(op))


for _kind in _SAME:
    lowers(_kind)(_same)


@lowers(CumSum)
def cum_sum(build: Builder, node: Node, op: CumSum) -> None:
    """CumSum."""
    axis = build.constant(np.array(op.axis, np.int64), node, "axis")
    attributes: dict[str, Attribute] = {"exclusive": int(op.exclusive), "reverse": int(op.reverse)}
    build.node("CumSum", [node.inputs[0], axis], node, output=node.outputs[0], attributes=attributes)
