"""More operators on each element, without parameters of their own, and layers that only hand values on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, UnaryOp, expect_params

__all__ = [
    "BNLL",
    "ELU",
    "AbsVal",
    "Axpy",
    "Clip",
    "Exp",
    "HSigmoid",
    "HSwish",
    "L2Norm",
    "Log",
    "Silence",
    "Split",
    "Swish",
    "Threshold",
]


@dataclass(frozen=True)
class AbsVal(UnaryOp):
    """``|x|``."""


@dataclass(frozen=True)
class BNLL(UnaryOp):
    """``log(1 + exp(x))``, computed without overflow."""


@dataclass(frozen=True)
class ELU(UnaryOp):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""

    alpha: float = 1.0


@dataclass(frozen=True)
class Exp(UnaryOp):
    """``base ** (scale * x + shift)``; base -1 stands for e."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Log(UnaryOp):
    """Logarithm to ``base`` of ``scale * x + shift``; base -1 stands for e."""

    base: float = -1.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Threshold(UnaryOp):
    """1 where ``x > threshold``, else 0."""

    threshold: float = 0.0


@dataclass(frozen=True)
class Swish(UnaryOp):
    """``x * sigmoid(beta * x)``."""

    beta: float = 1.0


@dataclass(frozen=True)
class Clip(UnaryOp):
    """``max(low, min(high, x))``: where ``low`` exceeds ``high`` the result is ``low``."""

    low: float
    high: float


@dataclass(frozen=True)
class HSwish(UnaryOp):
    """``x * min(max(x + 3, 0), 6) / 6``."""


@dataclass(frozen=True)
class HSigmoid(UnaryOp):
    """``min(max(x + 3, 0), 6) / 6``."""


@dataclass(frozen=True)
class L2Norm(UnaryOp):
    """Each sample (N, C, 1...) divided by its Euclidean length; a sample of zeros stays zero.

    Forks differ in whether positions count together or apart, so only inputs with a single position have a meaning;
    writers refuse others.
    """


@dataclass(frozen=True)
class Split(Op):
    """The input under several names."""

    num_outputs: ClassVar[int | None] = None

    count: int = 1

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Every output has the input's shape."""
        expect_params(params, [])
        return (inputs[0],) * self.count


@dataclass(frozen=True)
class Silence(Op):
    """Reads its inputs and makes nothing, so that they do not count as outputs of the network."""

    max_inputs: ClassVar[int | None] = None
    num_outputs: ClassVar[int | None] = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """There are no outputs."""
        del inputs
        expect_params(params, [])
        return ()


@dataclass(frozen=True)
class Axpy(Op):
    """``a * x + y`` with one factor for each sample and channel.

    Inputs: a (N, C) or (N, C, 1, 1), x (N, C, spatial...), y like x.
    """

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the shape of x."""
        expect_params(params, [])
        factor, data, added = inputs
        if data != added:
            raise OpError(f"the second and the third input differ in shape: {_text(data)} and {_text(added)}")
        if len(data) < 2 or factor not in (data[:2], (*data[:2], 1, 1)):
            raise OpError(
                f"the factors have shape {_text(factor)}, expected one for each of the first two axes of {_text(data)}"
            )
        return (data,)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
