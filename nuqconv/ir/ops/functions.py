"""Functions of each element that Caffe has no layer for, and functions along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, OpError, Shape, UnaryOp, canonical_axis, expect_params

__all__ = [
    "UNARY_FUNCTIONS",
    "Celu",
    "CumSum",
    "HardSigmoid",
    "Hardmax",
    "LogSoftmax",
    "Selu",
    "Shrink",
    "ThresholdedReLU",
    "Unary",
]

UNARY_FUNCTIONS = frozenset(
    {
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "ceil",
        "cos",
        "cosh",
        "erf",
        "exp",
        "floor",
        "gelu",
        "gelu_tanh",
        "isinf",
        "isnan",
        "log",
        "mish",
        "neg",
        "nonzero",
        "not",
        "reciprocal",
        "round",
        "sign",
        "sin",
        "sinh",
        "softplus",
        "softsign",
        "sqrt",
        "tan",
        "trunc",
    }
)
"""Names that `Unary` knows. ``round`` goes to the even neighbour from the middle; ``nonzero``, ``not``, ``isnan`` and ``isinf`` give 1 and 0."""


@dataclass(frozen=True)
class Unary(UnaryOp):
    """A function of each element, by its name in `UNARY_FUNCTIONS`."""

    function: str

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        if self.function not in UNARY_FUNCTIONS:
            raise OpError(f"'{self.function}' is no function of one value that is known")
        return super().infer(inputs, params)


@dataclass(frozen=True)
class HardSigmoid(UnaryOp):
    """``max(0, min(1, alpha * x + beta))``."""

    alpha: float = 0.2
    beta: float = 0.5


@dataclass(frozen=True)
class ThresholdedReLU(UnaryOp):
    """``x`` where it exceeds ``alpha``, else 0."""

    alpha: float = 1.0


@dataclass(frozen=True)
class Selu(UnaryOp):
    """``gamma * x`` where positive, else ``gamma * alpha * (exp(x) - 1)``."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875


@dataclass(frozen=True)
class Celu(UnaryOp):
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``."""

    alpha: float = 1.0


@dataclass(frozen=True)
class Shrink(UnaryOp):
    """``x - bias`` above ``lambd``, ``x + bias`` below ``-lambd``, else 0."""

    bias: float = 0.0
    lambd: float = 0.5


@dataclass(frozen=True)
class _AlongAxis(Op):
    """A function whose output has the input's shape, along an axis."""

    axis: int = -1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        canonical_axis(self.axis, len(inputs[0]))
        return (inputs[0],)


@dataclass(frozen=True)
class LogSoftmax(_AlongAxis):
    """The logarithm of Softmax along ``axis``."""


@dataclass(frozen=True)
class Hardmax(_AlongAxis):
    """1 at the first of the largest elements along ``axis``, else 0."""


@dataclass(frozen=True)
class CumSum(_AlongAxis):
    """Sums of all elements up to each along ``axis``.

    Attributes:
        exclusive: Whether the element itself is left out.
        reverse: Whether the elements from each to the last are summed.
    """

    exclusive: bool = False
    reverse: bool = False
