"""Affine operators on channels, and normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nuqconv.ir.ops.base import (
    ChannelMap,
    Op,
    OpError,
    Shape,
    UnaryOp,
    along_axis,
    canonical_axis,
    expect_params,
    expect_sizes,
)
from nuqconv.ir.traits import KeepsChannels

__all__ = [
    "BN",
    "LRN",
    "MVN",
    "BatchNorm",
    "BatchStatistics",
    "Bias",
    "GroupNorm",
    "InstanceNorm",
    "L2Norm",
    "LayerNorm",
    "LpNorm",
    "MeanVarianceNorm",
    "Normalize",
    "Scale",
    "expect_part",
]


@dataclass(frozen=True)
class BatchNorm(Op, traits=(KeepsChannels(),)):
    """``(x - mean / f) / sqrt(variance / f + eps)`` for each channel, with ``f`` the stored factor (a factor of 0 counts as 1/f = 0).

    Parameters: mean (C,), variance (C,), factor (1,).
    """

    eps: float = 1e-5

    def channel_affine(self, params: Sequence[NDArray[Any]], inputs: int, rank: int) -> ChannelMap | None:
        """Factor and shift of the stored statistics."""
        del inputs, rank
        mean, variance, count = (value.astype(np.float64) for value in params)
        scale = 0.0 if count[0] == 0 else 1.0 / count[0]
        factor = 1.0 / np.sqrt(variance * scale + self.eps)
        return factor, -mean * scale * factor

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape; channels are axis 1."""
        shape = inputs[0]
        channels = shape[1] if len(shape) > 1 else 1
        expect_params(params, [(channels,), (channels,), (1,)])
        return (shape,)


@dataclass(frozen=True)
class Scale(Op, traits=(KeepsChannels(),)):
    """``x * scale + bias``, with ``scale`` laid along the axes from ``axis`` on.

    The scale is the second input, or with one input the first parameter. The last parameter is a bias of the same shape if
    ``bias_term``.
    """

    axis: int = 1
    bias_term: bool = False

    max_inputs: ClassVar[int | None] = 2

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same along another axis."""
        return along_axis(self, self.axis, order)

    def channel_affine(self, params: Sequence[NDArray[Any]], inputs: int, rank: int) -> ChannelMap | None:
        """Its own numbers, where they are stored, one for each channel of axis 1."""
        if inputs != 1 or self.axis not in (1, 1 - rank) or params[0].ndim != 1:
            return None
        values = [value.astype(np.float64) for value in params]
        return values[0], values[1] if len(values) > 1 else np.zeros_like(values[0])

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


@dataclass(frozen=True)
class L2Norm(UnaryOp, traits=()):
    """Each sample (N, C, 1...) divided by its Euclidean length; a sample of zeros stays zero.

    Forks differ in whether positions count together or apart, so only inputs with a single position have a meaning;
    writers refuse others.
    """

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """It is written for one layout."""
        del order
        return None


@dataclass(frozen=True)
class InstanceNorm(Op, traits=(KeepsChannels(),)):
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
class GroupNorm(Op, traits=(KeepsChannels(),)):
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
class LayerNorm(Op, traits=()):
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
class LpNorm(Op, traits=()):
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
class MeanVarianceNorm(Op, traits=()):
    """``(x - mean) / (deviation + 1e-9)`` with mean and deviation over ``axes``."""

    axes: tuple[int, ...] = (0, 2, 3)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        for axis in self.axes:
            canonical_axis(axis, len(inputs[0]))
        return (inputs[0],)


@dataclass(frozen=True)
class Bias(Op, traits=(KeepsChannels(),)):
    """``x + bias``, with ``bias`` laid along the axes from ``axis`` on.

    The bias is the second input, or with one input the parameter.
    """

    axis: int = 1

    max_inputs: ClassVar[int | None] = 2

    def permuted(self, order: tuple[int, ...]) -> Op | None:
        """The same along another axis."""
        return along_axis(self, self.axis, order)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the first input's shape."""
        own = 2 - len(inputs)
        if len(params) != own:
            raise OpError(f"has {len(params)} parameters, expected {own}")
        expect_part(inputs[0], self.axis, [*inputs[1:], *params])
        return (inputs[0],)


@dataclass(frozen=True)
class BN(Op, traits=(KeepsChannels(),)):
    """``scale * (x - mean) / sqrt(variance + eps) + shift`` for each channel (axis 1), or ``scale * x + shift``.

    Parameters: scale, shift and, if ``statistics``, mean and variance, each of C elements in whatever shape the file has.
    """

    eps: float = 1e-5
    statistics: bool = True

    def channel_affine(self, params: Sequence[NDArray[Any]], inputs: int, rank: int) -> ChannelMap | None:
        """Scale and shift, with the statistics taken in."""
        del inputs, rank
        factor, shift, *statistics = (value.astype(np.float64).ravel() for value in params)
        if not statistics:
            return factor, shift
        mean, variance = statistics
        factor = factor / np.sqrt(variance + self.eps)
        return factor, shift - mean * factor

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape, which has a channel axis."""
        if len(inputs[0]) < 2:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected at least 2")
        expect_sizes(params, [inputs[0][1]] * (4 if self.statistics else 2))
        return (inputs[0],)


@dataclass(frozen=True)
class Normalize(Op, traits=(KeepsChannels(),)):
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
        expect_sizes(params, [1 if self.channel_shared else inputs[0][1]])
        return (inputs[0],)


@dataclass(frozen=True)
class MVN(Op, traits=(KeepsChannels(),)):
    """``x - mean``, divided by ``deviation + eps`` if ``normalize_variance``; both over (H, W), or (C, H, W) if ``across_channels``."""

    normalize_variance: bool = True
    across_channels: bool = False
    eps: float = 1e-9

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input of up to four dimensions, output (N, C, H, W): sizes that are missing at the end become 1."""
        expect_params(params, [])
        shape = inputs[0]
        if not 1 <= len(shape) <= 4:
            raise OpError(f"input has {len(shape)} dimensions, expected 1 to 4")
        return ((*shape, *(1,) * (4 - len(shape))),)


@dataclass(frozen=True)
class LRN(Op, traits=(KeepsChannels(),)):
    """Local response normalization of an (N, C, H, W) input.

    ACROSS_CHANNELS: ``x * (k + alpha / local_size * s) ** -beta``, with ``s`` the sum of squares over ``local_size`` channels around each.
    WITHIN_CHANNEL: ``x * (1 + alpha / local_size**2 * s) ** -beta``, with ``s`` over a square of ``local_size`` in height and width; ``k`` has
    no part in it. What lies outside counts as 0.
    """

    local_size: int = 5
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    region: Literal["ACROSS_CHANNELS", "WITHIN_CHANNEL"] = "ACROSS_CHANNELS"

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        expect_params(params, [])
        if len(inputs[0]) != 4:
            raise OpError(f"input has {len(inputs[0])} dimensions, expected 4")
        if self.local_size % 2 != 1:
            raise OpError(f"local_size {self.local_size} is not odd")
        return (inputs[0],)


@dataclass(frozen=True)
class BatchStatistics(Op, traits=(KeepsChannels(),)):
    """``(x - mean) / sqrt(variance + eps)`` for each channel (axis 1), over all that the batch holds of it; no channel axis is one channel.

    Parameters: the stored mean (C,), variance (C,) and factor (1,) of Caffe's layer, which the result does not depend on.
    """

    eps: float = 1e-5

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the input's shape."""
        shape = inputs[0]
        channels = shape[1] if len(shape) > 1 else 1
        expect_params(params, [(channels,), (channels,), (1,)])
        return (shape,)
