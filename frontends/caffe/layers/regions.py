"""Layers of detectors of two stages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Proposal, PSROIPooling, ROIAlign, ROIPooling
from nuqconv.ir.traits import Stateful

__all__: list[str] = []

_MOST_ANCHORS = 256

# Of one bin, down and across; published nets have 2.
_MOST_SAMPLES = 64

_ENTRY = re.compile(r"""\s*['"]?(\w+)['"]?\s*:\s*(\[[^][]*\]|\([^()]*\)|[^\s,\[\](){}'"]+)\s*(?:,|\n|$)""")

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)

# rpn/generate_anchors.py and the TEST part of fast_rcnn/config.py in py-faster-rcnn.
_RATIOS, _SCALES, _BASE = (0.5, 1.0, 2.0), (8.0, 16.0, 32.0), 16
_SETTINGS = "RPN_PRE_NMS_TOP_N 6000, RPN_POST_NMS_TOP_N 300, RPN_NMS_THRESH 0.7, RPN_MIN_SIZE 16"


def python_settings(text: str) -> Mapping[str, tuple[float, ...]]:
    """Reads the param_str of a Python layer: names with a number or a list of numbers, as YAML has them.

    Raises:
        CannotReadError: There is something else.
    """
    found: dict[str, tuple[float, ...]] = {}
    rest = text.strip().strip("{}").strip()
    while rest:
        entry = _ENTRY.match(rest)
        parts = [part.strip() for part in entry[2].strip("[]()").split(",") if part.strip()] if entry else []
        if entry is None or not all(map(_NUMBER.fullmatch, parts)):
            raise CannotReadError(f"param_str {text!r} is not of the form name: number")
        found[entry[1]] = tuple(map(float, parts))
        rest = rest[entry.end() :].strip()
    return found


def _anchors(base: float, ratios: Sequence[float], scales: Sequence[float], *, to_even: bool) -> tuple[Any, ...]:
    """Returns the corners of boxes around the middle of a square of ``base`` pixels; sizes of the ratios are whole numbers."""
    if not ratios or not scales or min(*ratios, *scales, base) <= 0:
        raise CannotReadError("base_size, ratio and scale must be there and positive")
    if len(ratios) * len(scales) > _MOST_ANCHORS:
        raise CannotReadError(f"{len(ratios) * len(scales)} anchors (up to {_MOST_ANCHORS} are known)")

    def whole(value: float) -> float:
        return float(np.rint(value) if to_even else np.floor(value + 0.5))

    middle = (base - 1) / 2
    found = []
    for ratio in ratios:
        width = whole(float(np.sqrt(base * base / ratio)))
        height = whole(width * ratio)
        for scale in scales:
            across, down = (width * scale - 1) / 2, (height * scale - 1) / 2
            found.append((middle - across, middle - down, middle + across, middle + down))
    return tuple(found)


def _outputs(layer: Any) -> int:
    if len(layer.bottom) != 3:
        raise CannotReadError(f"{len(layer.bottom)} bottoms, expected scores, deltas and the image's size")
    if len(layer.top) not in {1, 2}:
        raise CannotReadError(f"{len(layer.top)} tops, expected the regions and perhaps their scores")
    return len(layer.top)


@reads(Proposal, "Python", dialects=True, traits=(Stateful("it runs code of others"),))
def read_python(layer: Any) -> Reading:
    """Reads the layer of Python code that has a published meaning: py-faster-rcnn's proposals, whose settings are in a file of their own."""
    param = layer.python_param
    if param.layer != "ProposalLayer" or param.module.rpartition(".")[2] != "proposal_layer":
        raise CannotReadError(f"it runs code of others: {param.module or 'no module'}, {param.layer or 'no layer'}")
    settings = python_settings(param.param_str)
    other = sorted(set(settings) - {"feat_stride", "scales", "ratios"})
    if other:
        raise CannotReadError(f"param_str has {', '.join(other)}, which the published layer does not have")
    strides = settings.get("feat_stride", ())
    if len(strides) != 1 or strides[0] < 1 or not strides[0].is_integer():
        raise CannotReadError("feat_stride must be a whole number of pixels")
    scales, ratios = settings.get("scales", _SCALES), settings.get("ratios", _RATIOS)
    op = Proposal(_anchors(_BASE, ratios, scales, to_even=True), int(strides[0]), outputs=_outputs(layer))
    return Reading(op, note=f"its settings are those of the published configuration: {_SETTINGS}")


@reads(Proposal, "FrcnnProposal", dialects=True)
def read_frcnn_proposal(layer: Any) -> Reading:
    """Reads the C++ form whose settings are in a file of their own."""
    op = Proposal(_anchors(_BASE, _RATIOS, _SCALES, to_even=True), outputs=_outputs(layer))
    return Reading(op, note=f"its settings are taken to be the published ones: feat_stride 16, 9 anchors, {_SETTINGS}")


@reads(Proposal, "Proposal", dialects=True)
def read_proposal(layer: Any) -> Reading:
    """Reads ``proposal_param`` of the C++ form (PVANET's Caffe), in which small boxes get a score of 0."""
    param = layer.proposal_param
    if min(param.pre_nms_topn, param.post_nms_topn, param.feat_stride) < 1:
        raise CannotReadError("pre_nms_topn, post_nms_topn and feat_stride must be positive")
    if not 0 <= param.nms_thresh <= 1:
        raise CannotReadError(f"nms_thresh {param.nms_thresh:g} is not between 0 and 1")
    return Reading(
        Proposal(
            _anchors(param.base_size, param.ratio, param.scale, to_even=False),
            param.feat_stride,
            param.min_size,
            True,
            param.pre_nms_topn,
            param.post_nms_topn,
            param.nms_thresh,
            _outputs(layer),
        )
    )


@reads(ROIPooling, "ROIPooling", dialects=True)
def read_roi_pooling(layer: Any) -> Reading:
    """Reads ``roi_pooling_param``."""
    param = layer.roi_pooling_param
    if not param.pooled_h or not param.pooled_w:
        raise CannotReadError("pooled_h and pooled_w must be positive")
    return Reading(ROIPooling((param.pooled_h, param.pooled_w), param.spatial_scale))


@reads(ROIAlign, "ROIAlign", dialects=True)
def read_roi_align(layer: Any) -> Reading:
    """Reads ``roi_align_param`` where it says how many places of a bin are averaged: other forks take maxima, and have no such field."""
    param = layer.roi_align_param
    if not param.pooled_h or not param.pooled_w:
        raise CannotReadError("pooled_h and pooled_w must be positive")
    if not param.HasField("sampling_ratio"):
        raise CannotReadError(
            "forks differ in it: some average, others take the maximum of a bin; if yours averages, write its sampling_ratio (-1 for as many "
            "places as a bin has pixels)"
        )
    if param.sampling_ratio > _MOST_SAMPLES:
        raise CannotReadError(f"sampling_ratio {param.sampling_ratio} (up to {_MOST_SAMPLES} is known)")
    if param.roi_end_mode:
        raise CannotReadError(f"roi_end_mode {param.roi_end_mode}: regions that end otherwise")
    return Reading(ROIAlign((param.pooled_h, param.pooled_w), param.spatial_scale, max(0, param.sampling_ratio)))


@reads(PSROIPooling, "PSROIPooling", dialects=True)
def read_psroi_pooling(layer: Any) -> Reading:
    """Reads ``psroi_pooling_param``."""
    param = layer.psroi_pooling_param
    if param.output_dim < 1 or param.group_size < 1:
        raise CannotReadError("output_dim and group_size must be positive")
    return Reading(PSROIPooling(param.output_dim, param.group_size, param.spatial_scale))
