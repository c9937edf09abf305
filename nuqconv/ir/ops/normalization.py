"""Affine operators on channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["BatchNorm", "Scale", "expect_part"]


@dataclass(frozen=True)
class BatchNorm(Op):
    """``(x - mean / f) / sqrt(variance / f + eps)`` for each channel, with ``f`` the stored factor (a factor of 0 counts as 1/f = 0).

    Parameters: mean (C,), variance (C,), factor (1,).
    """

    eps: float = 1e-5

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape; channels are axis 1."""
        shape = inputs[0]
        channels = shape[1] if len(shape) > 1 else 1
        expect_params(params, [(channels,), (channels,), (1,)])
        return (shape,)


@dataclass(frozen=True)
class Scale(Op):
    """``x * scale + bias``, with ``scale`` laid along the axes from ``axis`` on.

    The scale is the second input, or with one input the first parameter. The last parameter is a bias of the same shape if
    ``bias_term``.
    """

    axis: int = 1
    bias_term: bool = False

    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the first input's shape."""
        own = 2 - len(inputs) + int(self.bias_term)
        if len(params) != own:
            raise OpError(f"has {len(params)} parameters, expected {own}")
        expect_part(inputs[0], self.axis, [*inputs[1:], *params])
        return (inputs[0],)


def expect_part(shape: Shape, axis: int, parts: Sequence[Shape]) -> None:
    """Raises OpError unless all ``parts`` have the sizes that ``shape`` has from ``axis`` on; a scalar fits everywhere."""
    start = canonical_axis(axis, len(shape)) if parts[0] else 0
    expect_params(parts, [shape[start : start + len(parts[0])]] * len(parts))
