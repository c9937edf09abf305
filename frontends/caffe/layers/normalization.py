"""Affine operators on channels, and normalizations."""

from __future__ import annotations

from typing import Any, Literal

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, WrongLayerError, reads, reads_as
from nuqconv.ir.ops import BN, LRN, MVN, BatchNorm, BatchStatistics, Bias, L2Norm, Normalize, Scale

__all__: list[str] = []


@reads((BatchNorm, BatchStatistics), "BatchNorm")
def read_batch_norm(layer: Any) -> Reading:
    """Reads ``batch_norm_param``; at inference the stored statistics are used unless the layer says otherwise."""
    param = layer.batch_norm_param
    if param.HasField("use_global_stats") and not param.use_global_stats:
        note = "is normalized by the statistics of each batch (use_global_stats: false), so that its result depends on the whole batch"
        return Reading(BatchStatistics(param.eps), (1, 1, 1), note=note)
    return Reading(BatchNorm(param.eps), (1, 1, 1))


reads_as(
    L2Norm,
    "L2Norm",
    "L2Normalize",
    "L2Normalization",
    dialects=True,
    note="read as x / sqrt(sum(x * x)) of each sample; forks add different small numbers to the sum",
)


@reads(Scale, "Scale")
def read_scale(layer: Any) -> Reading:
    """Reads ``scale_param``; with a second bottom the factor is computed, and only a bias is stored."""
    param = layer.scale_param
    rank = _rank(param.num_axes, len(layer.bottom))
    own = int(len(layer.bottom) == 1) + int(param.bias_term)
    return Reading(Scale(param.axis, param.bias_term), (rank,) * own)


@reads(Bias, "Bias")
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


@reads(BN, "BN", "bn", dialects=True)
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
                "two blobs and bn_mode LEARN: statistics of the batch at inference; run Scripts/compute_bn_statistics.py of SegNet-Tutorial, "
                "which puts the statistics of the training set into the blobs, and set bn_mode: INFERENCE"
            )
        if blobs == 4 and inference:
            raise CannotReadError("four blobs and bn_mode INFERENCE, which belong to different forks")
        if blobs not in (0, 2, 4):
            raise CannotReadError(f"{blobs} blobs (two or four are known)")
        count = blobs or (2 if inference else 4)
        return Reading(BN(param.eps, statistics=count == 4), (4,) * count)

    return Reading(choose(0).op, by_blobs=lambda blobs: choose(len(blobs)))


@reads(Normalize, "Normalize", "NormalizeBBox")
def read_normalize(layer: Any) -> Reading:
    """Reads ``norm_param``."""
    param = layer.norm_param
    return Reading(
        Normalize(param.across_spatial, param.channel_shared, param.eps), (0 if param.channel_shared else 1,)
    )


@reads(MVN, "MVN")
def read_mvn(layer: Any) -> Reading:
    """Reads ``mvn_param``."""
    param = layer.mvn_param
    return Reading(MVN(param.normalize_variance, param.across_channels, param.eps))


_REGIONS: dict[int, Literal["ACROSS_CHANNELS", "WITHIN_CHANNEL"]] = {0: "ACROSS_CHANNELS", 1: "WITHIN_CHANNEL"}


@reads(LRN, "LRN")
def read_lrn(layer: Any) -> Reading:
    """Reads ``lrn_param``."""
    param = layer.lrn_param
    if param.local_size % 2 == 0:
        raise WrongLayerError(f"local_size {param.local_size} (it must be odd)")
    return Reading(LRN(param.local_size, param.alpha, param.beta, param.k, _REGIONS[param.norm_region]))
