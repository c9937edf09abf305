"""Operators on each element or channel that have parameters of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params
from nuqconv.ir.ops.normalization import expect_part

__all__ = ["BN", "Bias", "Normalize", "PReLU", "Parameter"]


@dataclass(frozen=True)
class PReLU(Op):
    """``x`` where positive, else ``slope * x``, with one slope or one for each channel (axis 1).

    Parameter: slopes; one number if ``channel_shared``, else C.
    """

    channel_shared: bool = False

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape, which has a channel axis."""
        if len(inputs[0]) < 2:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected at least 2")
        _expect_sizes(params, [1 if self.channel_shared else inputs[0][1]])
        return (inputs[0],)


@dataclass(frozen=True)
class Bias(Op):
    """``x + bias``, with ``bias`` laid along the axes from ``axis`` on.

    The bias is the second input, or with one input the parameter.
    """

    axis: int = 1

    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the first input's shape."""
        own = 2 - len(inputs)
        if len(params) != own:
            raise OpError(f"has {len(params)} parameters, expected {own}")
        expect_part(inputs[0], self.axis, [*inputs[1:], *params])
        return (inputs[0],)


@dataclass(frozen=True)
class BN(Op):
    """``scale * (x - mean) / sqrt(variance + eps) + shift`` for each channel (axis 1), or ``scale * x + shift``.

    Parameters: scale, shift and, if ``statistics``, mean and variance, each of C elements in whatever shape the file has.
    """

    eps: float = 1e-5
    statistics: bool = True

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape, which has a channel axis."""
        if len(inputs[0]) < 2:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected at least 2")
        _expect_sizes(params, [inputs[0][1]] * (4 if self.statistics else 2))
        return (inputs[0],)


@dataclass(frozen=True)
class Normalize(Op):
    """``scale * x / sqrt(sum(x ** 2) + eps)``, summed over channels at each position, or over the whole sample.

    Parameter: scales; one number if ``channel_shared``, else C.
    """

    across_spatial: bool = True
    channel_shared: bool = True
    eps: float = 1e-10

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input and output (N, C, up to two spatial axes)."""
        if not 2 <= len(inputs[0]) <= 4:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected 2 to 4")
        _expect_sizes(params, [1 if self.channel_shared else inputs[0][1]])
        return (inputs[0],)


@dataclass(frozen=True)
class Parameter(Op):
    """Makes its parameter the output. Parameter: a tensor of ``shape``."""

    shape: Shape

    min_inputs: ClassVar[int] = 0
    max_inputs: ClassVar[int | None] = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the parameter's shape, whatever the batch."""
        del inputs
        expect_params(params, [self.shape])
        return (self.shape,)


def _expect_sizes(params: Sequence[Shape], sizes: Sequence[int]) -> None:
    """Files hold the same numbers as (C,), (1, C) or (1, C, 1, 1)."""
    found = [prod(shape) for shape in params]
    if found != list(sizes):
        raise OpError(f"parameters have {found} elements, expected {list(sizes)}")
