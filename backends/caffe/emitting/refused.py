"""Operators that no stock layer computes, and where they exist."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.registry import refuses
from nuqconv.ir.ops import (
    DetectionOutput,
    GatherElements,
    GatherND,
    PSROIPooling,
    ROIPooling,
    ScatterElements,
    ScatterND,
)

__all__: list[str] = []

refuses(DetectionOutput, "the SSD fork has a DetectionOutput layer; cut the net before it and decode outside")
refuses(ROIPooling, "the Fast R-CNN fork has an ROIPooling layer")
refuses(PSROIPooling, "the R-FCN fork has a PSROIPooling layer")
refuses(GatherElements, "no layer of Caffe or of a known fork takes elements by an index of their own")
refuses(GatherND, "no layer of Caffe or of a known fork takes elements by several indices")
refuses(ScatterElements, "no layer of Caffe or of a known fork puts elements at computed places")
refuses(ScatterND, "no layer of Caffe or of a known fork puts elements at computed places")
