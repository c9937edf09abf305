"""Operators of detectors of two stages."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.registry import refuses
from nuqconv.ir.ops import Proposal, PSROIPooling, ROIAlign, ROIPooling

__all__: list[str] = []

refuses(Proposal, "the Faster R-CNN fork has a Python layer for it; cut the net before it and propose regions outside")

refuses(ROIPooling, "the Fast R-CNN fork has an ROIPooling layer")

refuses(ROIAlign, "forks have a ROIAlign layer, which some average and others take maxima with")

refuses(PSROIPooling, "the R-FCN fork has a PSROIPooling layer")
