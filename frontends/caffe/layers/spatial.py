"""Layers over neighbourhoods in space or across channels, other than convolution and pooling."""

from __future__ import annotations

from typing import Any, Literal

from nuqconv.frontends.caffe.layers.pooling import METHODS
from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, WrongLayerError, reads
from nuqconv.ir.ops import LRN, SPP, Im2col

__all__: list[str] = []

_HIGHEST = 31

_REGIONS: dict[int, Literal["ACROSS_CHANNELS", "WITHIN_CHANNEL"]] = {0: "ACROSS_CHANNELS", 1: "WITHIN_CHANNEL"}


@reads("LRN")
def read_lrn(layer: Any) -> Reading:
    """Reads ``lrn_param``."""
    param = layer.lrn_param
    if param.local_size % 2 == 0:
        raise WrongLayerError(f"local_size {param.local_size} (it must be odd)")
    return Reading(LRN(param.local_size, param.alpha, param.beta, param.k, _REGIONS[param.norm_region]))


@reads("SPP")
def read_spp(layer: Any) -> Reading:
    """Reads ``spp_param``."""
    param = layer.spp_param
    # Caffe counts the windows of a level in 32 bits.
    if not 1 <= param.pyramid_height <= _HIGHEST:
        raise WrongLayerError(f"pyramid_height {param.pyramid_height} (it must be from 1 to {_HIGHEST})")
    return Reading(SPP(param.pyramid_height, METHODS[param.pool]))


@reads("Im2col")
def read_im2col(layer: Any) -> Reading:
    """Reads ``convolution_param``; which way it is computed (``force_nd_im2col``) does not matter."""
    param = layer.convolution_param
    kernel, stride = _entries(param, "kernel", "kernel_size", ()), _entries(param, "stride", "stride", (1,))
    pad, dilation = _entries(param, "pad", "pad", (0,)), tuple(param.dilation) or (1,)
    if not kernel:
        raise CannotReadError("kernel_size is missing")
    if 0 in (*kernel, *stride):
        raise WrongLayerError("kernel_size and stride must be positive")
    if 0 in dilation:
        raise CannotReadError("dilation 0")
    return Reading(Im2col(kernel, stride, pad, dilation, param.axis))


def _entries(param: Any, name: str, many: str, fallback: tuple[int, ...]) -> tuple[int, ...]:
    """Caffe's rule: *_h and *_w, or a list."""
    listed = tuple(getattr(param, many))
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        if listed:
            raise CannotReadError(f"{many} stands beside {name}_h or {name}_w")
        return (getattr(param, f"{name}_h"), getattr(param, f"{name}_w"))
    return listed or fallback
