"""Activations: functions of each element, and those along one axis that weigh classes against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import (
    AlongAxisOp,
    Op,
    OpError,
    Shape,
    UnaryOp,
    along_axis,
    canonical_axis,
    expect_params,
    expect_sizes,
)
from nuqconv.ir.traits import Decides, Jumps, KeepsChannels, KeepsScale

__all__ = [
    "BNLL",
    "ELU",
    "Celu",
    "HSigmoid",
    "HSwish",
    "HardSigmoid",
    "Hardmax",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Softmax",
    "Swish",
    "TanH",
    "ThresholdedReLU",
]


@dataclass(frozen=True)
class ReLU(UnaryOp, traits=(KeepsScale(),)):
    """``x`` where positive, else ``negative_slope * x``."""

    negative_slope: float = 0.0


@dataclass(frozen=True)
class Sigmoid(UnaryOp, traits=(Decides(),)):
    """``1 / (1 + exp(-x))``."""


@dataclass(frozen=True)
class TanH(UnaryOp, traits=()):
    """``tanh(x)``."""


@dataclass(frozen=True)
class Softmax(Op, traits=(Decides(),)):
    """Softmax along ``axis``."""

    axis: int = 1

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same along another axis."""
        return along_axis(self, self.axis, order)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        canonical_axis(self.axis, len(inputs[0]))
        return (inputs[0],)


@dataclass(frozen=True)
class BNLL(UnaryOp, traits=()):
    """``log(1 + exp(x))``, computed without overflow."""


@dataclass(frozen=True)
class ELU(UnaryOp, traits=()):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""

    alpha: float = 1.0


@dataclass(frozen=True)
class Swish(UnaryOp, traits=()):
    """``x * sigmoid(beta * x)``."""

    beta: float = 1.0


@dataclass(frozen=True)
class Mish(UnaryOp, traits=()):
    """``x * tanh(log(1 + exp(x)))`` (Misra 2019)."""


@dataclass(frozen=True)
class HSwish(UnaryOp, traits=()):
    """``x * min(max(x + 3, 0), 6) / 6``."""


@dataclass(frozen=True)
class HSigmoid(UnaryOp, traits=()):
    """``min(max(x + 3, 0), 6) / 6``."""


@dataclass(frozen=True)
class HardSigmoid(UnaryOp, traits=()):
    """``max(0, min(1, alpha * x + beta))``."""

    alpha: float = 0.2
    beta: float = 0.5


@dataclass(frozen=True)
class ThresholdedReLU(UnaryOp, traits=(Jumps(),)):
    """``x`` where it exceeds ``alpha``, else 0."""

    alpha: float = 1.0


@dataclass(frozen=True)
class Selu(UnaryOp, traits=()):
    """``gamma * x`` where positive, else ``gamma * alpha * (exp(x) - 1)``."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875


@dataclass(frozen=True)
class Celu(UnaryOp, traits=()):
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``."""

    alpha: float = 1.0


@dataclass(frozen=True)
class Shrink(UnaryOp, traits=(Jumps(),)):
    """``x - bias`` above ``lambd``, ``x + bias`` below ``-lambd``, else 0."""

    bias: float = 0.0
    lambd: float = 0.5


@dataclass(frozen=True)
class LogSoftmax(AlongAxisOp, traits=()):
    """The logarithm of Softmax along ``axis``."""


@dataclass(frozen=True)
class Hardmax(AlongAxisOp, traits=(Jumps(), Decides())):
    """1 at the first of the largest elements along ``axis``, else 0."""


@dataclass(frozen=True)
class PReLU(Op, traits=(KeepsChannels(), KeepsScale())):
    """``x`` where positive, else ``slope * x``, with one slope or one for each channel (axis 1).

    Parameter: slopes; one number if ``channel_shared``, else C.
    """

    channel_shared: bool = False

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape, which has a channel axis."""
        if len(inputs[0]) < 2:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected at least 2")
        expect_sizes(params, [1 if self.channel_shared else inputs[0][1]])
        return (inputs[0],)
