"""Affine operators on channels, and normalizations."""

from __future__ import annotations

from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, eltwise, negated
from nuqconv.backends.caffe.emitting.parts.pairs import added, multiplied
from nuqconv.backends.caffe.emitting.parts.totals import centred, mean_over, sum_over
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir import Array
from nuqconv.ir.ops import (
    BN,
    LRN,
    MVN,
    BatchNorm,
    BatchStatistics,
    Bias,
    GroupNorm,
    InstanceNorm,
    L2Norm,
    LayerNorm,
    LpNorm,
    MeanVarianceNorm,
    Normalize,
    Scale,
)
from nuqconv.ir.ops.base import canonical_axis

__all__ = ["per_channel", "shifted"]

_SMALLEST = float(np.finfo(np.float32).tiny)


def per_channel(b: LayerBuilder, x: Blob, scale: Array, bias: Array | None, purpose: str) -> Blob:
    """``x * scale + bias`` for each channel."""
    arrays = [scale.ravel()] if bias is None else [scale.ravel(), bias.ravel()]
    return b.add(purpose, "Scale", [x], x.shape, arrays=arrays, scale_param={"bias_term": bias is not None})


@emits(BatchNorm, construct="BatchNorm")
def write_batch_norm(b: LayerBuilder, op: BatchNorm) -> None:
    """A BatchNorm with stored statistics."""
    b.finish(b.add("", "BatchNorm", [b.input], b.input.shape, arrays=b.params, batch_norm_param={"eps": op.eps}))


@emits(BatchStatistics, construct="BatchNorm with use_global_stats: false")
def write_batch_statistics(b: LayerBuilder, op: BatchStatistics) -> None:
    """A BatchNorm that looks at the batch."""
    x = b.input
    # Set after the others: false is the field's default, and what counts is that it is there.
    fields = {"eps": op.eps, "use_global_stats": False}
    b.finish(b.add("", "BatchNorm", [x], x.shape, arrays=b.params, batch_norm_param=fields))


@emits(Scale, construct="Scale")
def write_scale(b: LayerBuilder, op: Scale) -> None:
    """A Scale with its own or a computed factor."""
    part = b.params[0].ndim if len(b.inputs) == 1 else len(b.inputs[1].shape)
    fields = {"axis": canonical_axis(op.axis, len(b.input.shape)) if part else 0, "bias_term": op.bias_term}
    if len(b.inputs) == 1:
        fields["num_axes"] = part
    b.finish(b.add("", "Scale", b.inputs, b.input.shape, arrays=b.params, scale_param=fields))


@emits(
    Bias, construct="Scale by ones with a bias, which more readers know than Bias; computed: Bias", exact="to the bit"
)
def write_bias(b: LayerBuilder, op: Bias) -> None:
    """A sum with its own or a computed summand."""
    if len(b.inputs) == 1:
        b.finish(shifted(b, b.input, b.params[0], op.axis, ""))
        return
    axis = canonical_axis(op.axis, len(b.input.shape)) if b.inputs[1].shape else 0
    b.finish(b.add("", "Bias", b.inputs, b.input.shape, bias_param={"axis": axis}))


def shifted(b: LayerBuilder, x: Blob, bias: Array, axis: int, purpose: str) -> Blob:
    """``x + bias`` with the bias along the axes from one on."""
    place = canonical_axis(axis, len(x.shape)) if bias.ndim else 0
    fields = {"axis": place, "num_axes": bias.ndim, "bias_term": True}
    arrays = [np.ones_like(bias, np.float32), bias]
    return b.add(purpose, "Scale", [x], x.shape, arrays=arrays, scale_param=fields)


@emits(BN, construct="Scale with a bias", exact="1e-6")
def write_bn(b: LayerBuilder, op: BN) -> None:
    """One factor and one summand for each channel, in float32 as onnxruntime makes them."""
    scale, shift, *statistics = (array.ravel() for array in b.params)
    if op.statistics:
        mean, variance = statistics
        scale = scale * (np.float32(1) / np.sqrt(variance + np.float32(op.eps)))
        shift = shift - mean * scale
    b.finish(per_channel(b, b.input, scale, shift, ""))


@emits(LRN, construct="LRN")
def write_lrn(b: LayerBuilder, op: LRN) -> None:
    """An LRN."""
    fields = {
        "local_size": op.local_size,
        "alpha": op.alpha,
        "beta": op.beta,
        "k": op.k,
        "norm_region": op.region,
    }
    b.finish(b.add("", "LRN", [b.input], b.input.shape, lrn_param=fields))


@emits(MVN, construct="MVN")
def write_mvn(b: LayerBuilder, op: MVN) -> None:
    """An MVN."""
    fields = {"normalize_variance": op.normalize_variance, "across_channels": op.across_channels, "eps": op.eps}
    b.finish(b.add("", "MVN", [b.input], b.outputs[0].shape, mvn_param=fields))


@emits(
    L2Norm,
    construct="Reduction SUMSQ, Power (-0.5), Scale with two bottoms",
    exact="1e-6",
    limits="inputs with more than one position",
)
def write_l2_norm(b: LayerBuilder, op: L2Norm) -> None:
    """Each sample times the reciprocal of its length; the smallest normal float keeps a sample of zeros at zero."""
    del op
    if any(size != 1 for size in b.input.shape[2:]):
        raise b.refuse("L2Norm of more than one position, in which forks of Caffe differ; use Normalize")
    b.finish(_over_length(b, b.input, _SMALLEST))


def _over_length(b: LayerBuilder, x: Blob, eps: float) -> Blob:
    """Divides each sample by its length."""
    squares = b.add("squares", "Reduction", [x], x.shape[:1], reduction_param={"operation": "SUMSQ", "axis": 1})
    factors = affine(b, squares, "factors", shift=eps, power=-0.5)
    return b.add("normalize", "Scale", [x, factors], x.shape, scale_param={"axis": 0})


@emits(
    Normalize,
    construct="across_spatial: Reduction SUMSQ, Power (-0.5), Scale with two bottoms; else Power (2), 1x1 Convolution of ones, Power "
    "(-0.5), Eltwise PROD; then Power or Scale",
    exact="1e-6",
)
def write_normalize(b: LayerBuilder, op: Normalize) -> None:
    """SSD's layer, of stock ones."""
    x = b.input
    if op.across_spatial or len(x.shape) == 2:
        normal = _over_length(b, x, op.eps)
    else:
        channels, rank = x.shape[1], len(x.shape) - 2
        squares = affine(b, x, "squares", power=2.0)
        # With as many outputs as inputs the sums stand at every channel already.
        sums = b.add(
            "sums",
            "Convolution",
            [squares],
            x.shape,
            arrays=[np.ones((channels, channels, *(1,) * rank), np.float32)],
            convolution_param={"num_output": channels, "bias_term": False, "kernel_size": [1]},
        )
        normal = eltwise(b, "PROD", "normalize", x, affine(b, sums, "factors", shift=op.eps, power=-0.5))
    scales = b.params[0]
    if op.channel_shared:
        b.finish(affine(b, normal, "scale", scale=float(scales.ravel()[0])))
    else:
        b.finish(per_channel(b, normal, scales, None, "scale"))


_LAYERS = "Reshape, Reduction MEAN, Bias, Power, Reduction MEAN, Power, Scale with two bottoms, Reshape, Scale"


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
