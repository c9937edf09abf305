"""Layers on each element or channel with parameters of their own."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import BN, Bias, Normalize, Parameter, PReLU, Scale

__all__: list[str] = []


@reads("PReLU")
def read_prelu(layer: Any) -> Reading:
    """Reads ``prelu_param``."""
    shared = layer.prelu_param.channel_shared
    return Reading(PReLU(shared), (0 if shared else 1,))


@reads("Scale")
def read_scale(layer: Any) -> Reading:
    """Reads ``scale_param``; with a second bottom the factor is computed, and only a bias is stored."""
    param = layer.scale_param
    rank = _rank(param.num_axes, len(layer.bottom))
    own = int(len(layer.bottom) == 1) + int(param.bias_term)
    return Reading(Scale(param.axis, param.bias_term), (rank,) * own)


@reads("Bias")
def read_bias(layer: Any) -> Reading:
    """Reads ``bias_param``; with a second bottom the bias is computed."""
    param = layer.bias_param
    rank = _rank(param.num_axes, len(layer.bottom))
    return Reading(Bias(param.axis), (rank,) * int(len(layer.bottom) == 1))


def _rank(num_axes: int, bottoms: int) -> int | None:
    """Returns how many dimensions the stored blobs have, or None where that follows from a bottom."""
    if not 1 <= bottoms <= 2:
        raise CannotReadError(f"{bottoms} bottoms (one or two are known)")
    if num_axes < -1:
        raise CannotReadError(f"num_axes {num_axes}")
    return None if bottoms == 2 or num_axes == -1 else num_axes


@reads("BN", "bn", dialects=True)
def read_bn(layer: Any) -> Reading:
    """Reads ``bn_param``. What the layer computes shows in its blobs.

    With four (slope, bias, mean, variance) the stored statistics are used. With two (scale, shift) SegNet's INFERENCE mode has the
    statistics multiplied in already, and any other mode takes those of the batch.
    """
    if len(layer.bottom) != 1 or len(layer.top) != 1:
        raise CannotReadError(f"{len(layer.bottom)} bottoms and {len(layer.top)} tops (one of each is known)")
    param = layer.bn_param
    inference = param.bn_mode == param.INFERENCE

    def choose(blobs: int) -> Reading:
        if blobs == 2 and not inference:
            raise CannotReadError(
                "two blobs and bn_mode LEARN: statistics of the batch at inference; SegNet's script makes an INFERENCE net of it"
            )
        if blobs == 4 and inference:
            raise CannotReadError("four blobs and bn_mode INFERENCE, which belong to different forks")
        if blobs not in (0, 2, 4):
            raise CannotReadError(f"{blobs} blobs (two or four are known)")
        count = blobs or (2 if inference else 4)
        return Reading(BN(param.eps, statistics=count == 4), (4,) * count)

    return Reading(choose(0).op, by_blobs=choose)


@reads("Normalize")
def read_normalize(layer: Any) -> Reading:
    """Reads ``norm_param``."""
    param = layer.norm_param
    return Reading(
        Normalize(param.across_spatial, param.channel_shared, param.eps), (0 if param.channel_shared else 1,)
    )


@reads("Parameter")
def read_parameter(layer: Any) -> Reading:
    """Reads ``parameter_param``."""
    shape = tuple(layer.parameter_param.shape.dim)
    if any(dim < 1 for dim in shape):
        raise CannotReadError(f"shape {shape}; every size must be positive")
    return Reading(Parameter(shape), (len(shape),))
