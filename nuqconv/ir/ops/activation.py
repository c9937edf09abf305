"""Operators on each element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, Shape, UnaryOp, canonical_axis, expect_params

__all__ = ["Identity", "Power", "ReLU", "Sigmoid", "Softmax", "TanH"]


@dataclass(frozen=True)
class ReLU(UnaryOp):
    """``x`` where positive, else ``negative_slope * x``."""

    negative_slope: float = 0.0


@dataclass(frozen=True)
class Sigmoid(UnaryOp):
    """``1 / (1 + exp(-x))``."""


@dataclass(frozen=True)
class TanH(UnaryOp):
    """``tanh(x)``."""


@dataclass(frozen=True)
class Power(UnaryOp):
    """``(shift + scale * x) ** power``, each step rounded to float32."""

    power: float = 1.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Identity(UnaryOp):
    """The input itself (Dropout at inference)."""


@dataclass(frozen=True)
class Softmax(Op):
    """Softmax along ``axis``."""

    axis: int = 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        canonical_axis(self.axis, len(inputs[0]))
        return (inputs[0],)
