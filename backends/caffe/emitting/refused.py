"""Operators that no stock layer computes, and where they exist."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nuqconv.backends.caffe.emitting.registry import refuses
from nuqconv.ir.ops import (
    DetectionOutput,
    GridSample,
    PSROIPooling,
    ROIPooling,
)

__all__ = ["ELSEWHERE"]

ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "DeformConv": "the fork of Deformable ConvNets has a DeformableConvolution layer",
        "MaxRoiPool": "the Fast R-CNN fork has an ROIPooling layer",
        "MaxUnpool": "SegNet's fork has an Upsample layer that takes the mask of a pooling",
        "NonMaxSuppression": "SSD's fork has a DetectionOutput layer, which decodes and suppresses; or cut the net before it and do that outside",
        "RoiAlign": "forks for Mask R-CNN have an ROIAlign layer",
    }
)
"""Layers of forks for types that the graph has no operator for."""

refuses(DetectionOutput, "the SSD fork has a DetectionOutput layer; cut the net before it and decode outside")
refuses(ROIPooling, "the Fast R-CNN fork has an ROIPooling layer")
refuses(PSROIPooling, "the R-FCN fork has a PSROIPooling layer")
refuses(GridSample, "forks with spatial transformers have an ST layer, which makes its grid itself")
