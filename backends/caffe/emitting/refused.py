"""Operators that no stock layer computes, and where they exist."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.registry import refuses
from nuqconv.ir.ops import (
    DetectionOutput,
    PSROIPooling,
    ROIPooling,
)

__all__: list[str] = []

refuses(DetectionOutput, "the SSD fork has a DetectionOutput layer; cut the net before it and decode outside")
refuses(ROIPooling, "the Fast R-CNN fork has an ROIPooling layer")
refuses(PSROIPooling, "the R-FCN fork has a PSROIPooling layer")
