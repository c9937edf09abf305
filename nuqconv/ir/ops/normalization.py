"""Affine operators on channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["BatchNorm", "Scale"]


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

    Parameters: scale, then bias of the same shape if ``bias_term``.
    """

    axis: int = 1
    bias_term: bool = False

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        shape = inputs[0]
        if len(params) != 1 + int(self.bias_term):
            raise OpError(f"has {len(params)} parameters, expected {1 + int(self.bias_term)}")
        axis = canonical_axis(self.axis, len(shape)) if params[0] else 0
        part = shape[axis : axis + len(params[0])]
        expect_params(params, [part] * len(params))
        return (shape,)
