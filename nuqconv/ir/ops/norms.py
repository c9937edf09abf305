"""Normalizations by what each sample itself shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm", "LpNorm", "MeanVarianceNorm"]


@dataclass(frozen=True)
class InstanceNorm(Op):
    """``scale * (x - mean) / sqrt(variance + eps) + bias`` with mean and variance of each channel of each sample.

    Parameters: scale (C,), bias (C,).
    """

    eps: float = 1e-5

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input and output (N, C, spatial...)."""
        shape = inputs[0]
        if len(shape) < 3:
            raise OpError(f"input has {len(shape)} dimensions, expected at least 3")
        expect_params(params, [shape[1:2]] * 2)
        return (shape,)


@dataclass(frozen=True)
class GroupNorm(Op):
    """InstanceNorm over ``groups`` groups of channels.

    Parameters: scale (C,), bias (C,).
    """

    groups: int
    eps: float = 1e-5

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input and output (N, C, spatial...)."""
        shape = inputs[0]
        if len(shape) < 2 or self.groups < 1 or shape[1] % self.groups:
            raise OpError(f"an input of shape {shape} has no channels that divide into {self.groups} groups")
        expect_params(params, [shape[1:2]] * 2)
        return (shape,)


@dataclass(frozen=True)
class LayerNorm(Op):
    """``scale * (x - mean) / sqrt(variance + eps) + bias`` with mean and variance over all axes from ``axis`` on.

    Parameters: scale and, if there is one, bias, both of the shape of those axes.
    """

    axis: int = -1
    eps: float = 1e-5

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        shape = inputs[0]
        part = shape[canonical_axis(self.axis, len(shape)) :]
        expect_params(params, [part] * min(max(len(params), 1), 2))
        return (shape,)


@dataclass(frozen=True)
class LpNorm(Op):
    """The input divided by its p-norm along ``axis``; 0 where that is 0."""

    axis: int = -1
    p: int = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        canonical_axis(self.axis, len(inputs[0]))
        if self.p not in (1, 2):
            raise OpError(f"p is {self.p}, expected 1 or 2")
        return (inputs[0],)


@dataclass(frozen=True)
class MeanVarianceNorm(Op):
    """``(x - mean) / (deviation + 1e-9)`` with mean and deviation over ``axes``."""

    axes: tuple[int, ...] = (0, 2, 3)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        for axis in self.axes:
            canonical_axis(axis, len(inputs[0]))
        return (inputs[0],)
