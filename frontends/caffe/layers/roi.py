"""Layers of two-stage detectors."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import PSROIPooling, ROIPooling

__all__: list[str] = []


@reads("ROIPooling", dialects=True)
def read_roi_pooling(layer: Any) -> Reading:
    """Reads ``roi_pooling_param``."""
    param = layer.roi_pooling_param
    if not param.pooled_h or not param.pooled_w:
        raise CannotReadError("pooled_h and pooled_w must be positive")
    return Reading(ROIPooling((param.pooled_h, param.pooled_w), param.spatial_scale))


@reads("PSROIPooling", dialects=True)
def read_psroi_pooling(layer: Any) -> Reading:
    """Reads ``psroi_pooling_param``."""
    param = layer.psroi_pooling_param
    if param.output_dim < 1 or param.group_size < 1:
        raise CannotReadError("output_dim and group_size must be positive")
    return Reading(PSROIPooling(param.output_dim, param.group_size, param.spatial_scale))
