"""Layers that change the size of images or look between pixels."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Interp, Upsample

__all__: list[str] = []


@reads(Interp, "Interp", dialects=True)
def read_interp(layer: Any) -> Reading:
    """Reads ``interp_param``; which of its fields count when several are given is the published layer's choice."""
    param = layer.interp_param
    if len(layer.bottom) != 1:
        raise CannotReadError("a second bottom that gives the size")
    if param.pad_beg > 0 or param.pad_end > 0:
        raise CannotReadError("pad_beg and pad_end can only crop, so they must not be positive")
    shrink = param.shrink_factor if param.HasField("shrink_factor") else None
    zoom = param.zoom_factor if param.HasField("zoom_factor") else None
    if any(factor is not None and factor < 1 for factor in (shrink, zoom)):
        raise CannotReadError("shrink_factor and zoom_factor must be positive")
    crop = (-param.pad_beg, -param.pad_end)
    sized = param.HasField("height") and param.HasField("width")
    if (shrink is None) != (zoom is None):
        return Reading(Interp(None, shrink, zoom, crop))
    if sized:
        if param.height < 1 or param.width < 1:
            raise CannotReadError("height and width must be positive")
        return Reading(Interp((param.height, param.width), None, None, crop))
    if shrink is None:
        raise CannotReadError("neither height and width nor shrink_factor or zoom_factor is given")
    return Reading(Interp(None, shrink, zoom, crop))


@reads(Upsample, "Upsample", dialects=True)
def read_upsample(layer: Any) -> Reading:
    """Reads ``upsample_param``: SegNet's with the mask of a pooling, or without it the nearest neighbour."""
    param = layer.upsample_param
    if len(layer.bottom) not in {1, 2}:
        raise CannotReadError(f"{len(layer.bottom)} bottoms, expected an input and perhaps a mask")
    if param.HasField("upsample_h") != param.HasField("upsample_w"):
        raise CannotReadError("upsample_h and upsample_w go together")
    if param.HasField("upsample_h"):
        if not param.upsample_h or not param.upsample_w:
            raise CannotReadError("upsample_h and upsample_w must be positive")
        _with_mask(layer, "upsample_h and upsample_w")
        return Reading(Upsample(size=(param.upsample_h, param.upsample_w)))
    if param.HasField("scale_h") != param.HasField("scale_w"):
        raise CannotReadError("scale_h and scale_w go together")
    if param.HasField("scale_h") and param.HasField("scale"):
        raise CannotReadError("scale goes without scale_h and scale_w")
    scale = (param.scale_h, param.scale_w) if param.HasField("scale_h") else (param.scale, param.scale)
    less = (int(param.pad_out_h), int(param.pad_out_w))
    if 0 in scale:
        raise CannotReadError("scale must be positive")
    if any(less):
        _with_mask(layer, "pad_out_h and pad_out_w")
    if any(missing and factor != 2 for missing, factor in zip(less, scale, strict=True)):
        raise CannotReadError("pad_out_h and pad_out_w need a scale of 2")
    return Reading(Upsample(scale, None, less))


def _with_mask(layer: Any, what: str) -> None:
    if len(layer.bottom) != 2:
        raise CannotReadError(f"{what} without a mask as the second bottom")


@reads(Upsample, "UpsampleDarknet", dialects=True)
def read_upsample_darknet(layer: Any) -> Reading:
    """Reads ``upsample_darknet_param``: the nearest neighbour."""
    factor = layer.upsample_darknet_param.stride
    if factor < 1:
        raise CannotReadError("stride must be positive")
    return Reading(Upsample((factor, factor)))


@reads(Upsample, "Unpooling", dialects=True)
def read_unpooling(layer: Any) -> Reading:
    """Reads ``unpooling_param`` (DeconvNet) with the mask of a pooling and the size; in all else forks of one name differ."""
    param = layer.unpooling_param
    if param.unpool != param.MAX or len(layer.bottom) != 2:
        raise CannotReadError(
            "it puts values elsewhere than to the places of a mask (unpool: MAX with a second bottom)"
        )
    if param.pad or param.pad_h or param.pad_w:
        raise CannotReadError("pad, which the published layer does not have either")
    size = (param.unpool_size, param.unpool_size) if param.HasField("unpool_size") else (param.unpool_h, param.unpool_w)
    if not all(size):
        raise CannotReadError("forks differ in the size that it makes; write it: unpool_size, or unpool_h and unpool_w")
    return Reading(Upsample(size=size))


_MOST_REPEATED = 64


@reads(Upsample, "ResizeNearestNeighbor", dialects=True)
def read_resize_nearest_neighbor(layer: Any) -> Reading:
    """Reads ``resize_nearest_neighbor_param`` with whole factors, which are the same in all forks; they lay other sizes out differently."""
    param = layer.resize_nearest_neighbor_param
    if param.align_corners or param.half_pixel_centers or param.half_pixel_onnx:
        raise CannotReadError("align_corners or half pixels: other neighbours than those of whole factors")
    if not param.HasField("scale_height") or not param.HasField("scale_width"):
        raise CannotReadError(
            "output_height and output_width are of a fork whose images have their channels last; scale_height and scale_width are read"
        )
    factors = param.scale_height, param.scale_width
    if not all(factor.is_integer() and 1 <= factor <= _MOST_REPEATED for factor in factors):
        raise CannotReadError(
            f"factors {factors[0]:g} and {factors[1]:g} (whole ones from 1 to {_MOST_REPEATED} are known)"
        )
    return Reading(Upsample((int(factors[0]), int(factors[1]))))
