"""Normalizations by what the input itself shows."""

from __future__ import annotations

from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.normalization import per_channel
from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, negated
from nuqconv.backends.caffe.emitting.parts.pairs import added, multiplied
from nuqconv.backends.caffe.emitting.parts.totals import centred, mean_over, sum_over
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import GroupNorm, InstanceNorm, LayerNorm, LpNorm, MeanVarianceNorm
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []

_LAYERS = "Reshape, Reduction MEAN, Bias, Power, Reduction MEAN, Power, Scale with two bottoms, Reshape, Scale"
_SMALLEST = float(np.finfo(np.float32).tiny)


@emits(InstanceNorm, construct=_LAYERS, exact="1e-5")
def write_instance_norm(b: LayerBuilder, op: InstanceNorm) -> None:
    """Each channel of each sample by itself."""
    x = b.input
    normal = centred(b, x, x.shape[0] * x.shape[1], op.eps)
    b.finish(per_channel(b, normal, b.params[0], b.params[1], "affine"))


@emits(GroupNorm, construct=_LAYERS, exact="1e-5")
def write_group_norm(b: LayerBuilder, op: GroupNorm) -> None:
    """Each group of channels of each sample by itself."""
    normal = centred(b, b.input, b.input.shape[0] * op.groups, op.eps)
    b.finish(per_channel(b, normal, b.params[0], b.params[1], "affine"))


@emits(LayerNorm, construct=_LAYERS, exact="1e-5")
def write_layer_norm(b: LayerBuilder, op: LayerNorm) -> None:
    """All axes from one on together."""
    x = b.input
    axis = canonical_axis(op.axis, len(x.shape))
    normal = centred(b, x, prod(x.shape[:axis]), op.eps)
    arrays = [array.reshape(x.shape[axis:]) for array in b.params]
    fields = {"axis": axis, "num_axes": len(x.shape) - axis, "bias_term": len(arrays) > 1}
    b.finish(b.add("affine", "Scale", [normal], x.shape, arrays=arrays, scale_param=fields))


@emits(LpNorm, construct="AbsVal or Power (2), sums as of Reduce, Power (-1 / p), Scale with two bottoms", exact="1e-6")
def write_lp_norm(b: LayerBuilder, op: LpNorm) -> None:
    """The input over its length along an axis; what is 0 stays 0."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    total = sum_over(b, b.input, (axis,), operation="ASUM" if op.p == 1 else "SUMSQ")
    b.finish(multiplied(b, b.input, affine(b, total, "factors", shift=_SMALLEST, power=-1 / op.p)))


@emits(MeanVarianceNorm, construct="means as of Reduce, Bias, Power, Scale with two bottoms", exact="1e-5")
def write_mean_variance_norm(b: LayerBuilder, op: MeanVarianceNorm) -> None:
    """Less the mean, over the deviation plus 1e-9."""
    x = b.input
    axes = sorted({canonical_axis(axis, len(x.shape)) for axis in op.axes})
    rest = added(b, x, negated(b, mean_over(b, x, axes)))
    variance = mean_over(b, affine(b, rest, "square", power=2.0), axes)
    deviation = affine(b, variance, "deviation", power=0.5)
    b.finish(multiplied(b, rest, affine(b, deviation, "factors", shift=1e-9, power=-1.0)))
