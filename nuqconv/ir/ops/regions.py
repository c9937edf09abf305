"""Operators of detectors of two stages: proposing regions of interest, and pooling over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_image, expect_params
from nuqconv.ir.traits import Jumps, SizedByData

__all__ = ["PSROIPooling", "Proposal", "ROIAlign", "ROIPooling"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Proposal(Op, traits=(Jumps(), SizedByData("how many regions it proposes depends on the weights"))):
    """Regions that are worth a look, as Faster R-CNN's RPN proposes them (Ren et al. 2015; ``rpn/proposal_layer.py`` of py-faster-rcnn).

    Inputs are the scores of background and object (1, 2 * anchors, H, W), the deltas (1, 4 * anchors, H, W) and one row that begins with height,
    width and scale of the image. Around each place there are the anchors, moved by ``stride``; a delta moves the centre by parts of the anchor's
    size and scales it by its exponential. Boxes (both ends inclusive) are clipped to the image. Of the ``before`` best by score those stay that
    overlap no better one by more than ``nms_threshold``, at most ``after``. Outputs are the regions (R, 5): 0, x1, y1, x2, y2 by falling score, and
    if asked for their scores (R, 1).

    Attributes:
        anchors: Corners of the boxes around the first place.
        stride: Pixels from place to place.
        least: Boxes less wide or high than this times the image's scale are small.
        small_last: Whether small boxes count as having a score of 0; else they are left out.
        before: How many boxes are looked at.
        after: How many regions there are at most.
        nms_threshold: The largest overlap, as intersection over union.
        outputs: 1, or 2 with the scores.
        selected: How many regions shapes are inferred for; None stands for the most there can be.
    """

    anchors: tuple[Box, ...]
    stride: int = 16
    least: float = 16.0
    small_last: bool = False
    before: int = 6000
    after: int = 300
    nms_threshold: float = 0.7
    outputs: int = 1
    selected: int | None = None

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 3
    num_outputs: ClassVar[int | None] = None

    @property
    def fixed_batch(self) -> str:
        """The published layer refuses other numbers."""
        return "regions are proposed for one image at a time"

    def output_count(self, inputs: int) -> int | None:
        """The regions, and perhaps their scores."""
        del inputs
        return self.outputs

    def with_count(self, count: int) -> Proposal:
        """A Proposal of so many regions."""
        return replace(self, selected=count)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Outputs (regions, 5) and (regions, 1)."""
        expect_params(params, [])
        scores, deltas, image = inputs
        count = len(self.anchors)
        expect_image(scores, "scores")
        if scores[:2] != (1, 2 * count) or deltas != (1, 4 * count, *scores[2:]):
            raise OpError(
                f"scores have shape {scores} and deltas {deltas}, expected 1 x {2 * count} x H x W and 1 x {4 * count} x H x W for {count} anchors"
            )
        if prod(image[:-1]) != 1 or not image or image[-1] < 3:
            raise OpError(f"the image's height, width and scale have shape {image}, expected 1 x 3")
        most = min(self.after, self.before, prod(scores[2:]) * count) if self.selected is None else self.selected
        return ((most, 5), (most, 1))[: self.outputs]


def _regions(inputs: Sequence[Shape]) -> int:
    """Checks the inputs and returns the number of regions."""
    expect_image(inputs[0])
    regions = inputs[1]
    if len(regions) < 2 or regions[1] != 5 or prod(regions[2:]) != 1:
        raise OpError(f"regions have shape {regions}, expected R x 5: image, x1, y1, x2, y2")
    return regions[0]


@dataclass(frozen=True)
class _OverRegions(Op, abstract=True):
    """What looks at regions of images: inputs are (N, C, H, W) and the regions (R, 5)."""

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    @property
    def fixed_batch(self) -> str:
        """Regions pick their image by number."""
        return "regions pick their image out of a fixed number"


@dataclass(frozen=True)
class ROIPooling(_OverRegions, traits=(Jumps(),)):
    """Maximum over a grid of bins in each region (Fast R-CNN).

    Inputs are (N, C, H, W) and the regions (R, 5): image, x1, y1, x2, y2, both ends inclusive. The corners are multiplied by ``scale`` and
    rounded, half away from zero. A bin's ends are rounded outwards, so bins overlap; a bin outside of the input gives 0.
    """

    pooled: tuple[int, int]
    scale: float = 1.0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (R, C, pooled height, pooled width)."""
        expect_params(params, [])
        return ((_regions(inputs), inputs[0][1], *self.pooled),)


@dataclass(frozen=True)
class ROIAlign(_OverRegions, traits=()):
    """Average of numbers between pixels over a grid of bins in each region (He et al. 2017; Detectron, and ONNX's RoiAlign without half pixels).

    Inputs are (N, C, H, W) and the regions (R, 5): image, x1, y1, x2, y2. The corners are multiplied by ``scale`` and not rounded; a region is
    at least one pixel wide and high. Each bin is looked at in the middles of ``samples`` by ``samples`` parts, or of as many as it has pixels,
    rounded up, where that is 0. A place more than a pixel outside of the input counts as 0, another one outside as the border.
    """

    pooled: tuple[int, int]
    scale: float = 1.0
    samples: int = 0

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (R, C, pooled height, pooled width)."""
        expect_params(params, [])
        return ((_regions(inputs), inputs[0][1], *self.pooled),)


@dataclass(frozen=True)
class PSROIPooling(_OverRegions, traits=(Jumps(),)):
    """Average over a grid of bins in each region, each bin in channels of its own (R-FCN).

    Inputs are (N, ``channels`` * group * group, H, W) and the regions as in `ROIPooling`. The corners are rounded, half away from zero, and then
    multiplied by ``scale``; bin (i, j) of output channel c averages input channel ``(c * group + i) * group + j`` over the rows and columns that
    the bin touches; a bin outside of the input gives 0.
    """

    channels: int
    group: int
    scale: float

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (R, channels, group, group)."""
        expect_params(params, [])
        count = _regions(inputs)
        expected = self.channels * self.group**2
        if inputs[0][1] != expected:
            raise OpError(f"input has {inputs[0][1]} channels, expected {expected} = output_dim * group_size^2")
        return ((count, self.channels, self.group, self.group),)
