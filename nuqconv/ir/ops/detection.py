"""Operators of detectors that decode boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from nuqconv.ir.ops.base import Op, OpError, Shape, expect_params
from nuqconv.ir.traits import Jumps, SizedByData

__all__ = ["DetectionOutput", "PriorBox", "YoloOutput"]


@dataclass(frozen=True)
class PriorBox(Op, traits=()):
    """Default boxes around the centre of every cell of a feature map, as parts of the image.

    Inputs are the feature map and the image, both (N, C, H, W); only their sizes matter, so the output is a constant. For each cell, row by
    row, and each of ``min_sizes`` in turn there is a square of that size, with ``max_sizes`` a square of the geometric mean of both sizes, and
    a box ``min * sqrt(r)`` wide and ``min / sqrt(r)`` high for each ``r`` of ``aspect_ratios``.

    With ``sizes`` there are boxes of these widths and heights instead (PriorBoxClustered of Intel's Caffe and OpenVINO).

    Attributes:
        min_sizes: Sizes in pixels.
        max_sizes: None, or one for each of ``min_sizes``.
        aspect_ratios: All ratios other than 1, flipped ones included.
        clip: Whether coordinates are clipped to [0, 1].
        variances: The four numbers of the output's second row.
        image: Height and width of the image; (0, 0) takes those of the second input.
        step: Pixels from cell to cell, down and across; (0, 0) takes image size / feature map size.
        offset: Place of the centre inside its cell, in cells.
        sizes: Width and height of each box, where they are given one by one.
    """

    min_sizes: tuple[float, ...]
    max_sizes: tuple[float, ...] = ()
    aspect_ratios: tuple[float, ...] = ()
    clip: bool = False
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.1, 0.1)
    image: tuple[int, int] = (0, 0)
    step: tuple[float, float] = (0.0, 0.0)
    offset: float = 0.5
    sizes: tuple[tuple[float, float], ...] = ()

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    @property
    def boxes_per_cell(self) -> int:
        """Number of boxes around one centre."""
        return len(self.sizes) or len(self.min_sizes) * (1 + len(self.aspect_ratios)) + len(self.max_sizes)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output (1, 2, 4 * boxes)."""
        expect_params(params, [])
        if any(len(shape) != 4 for shape in inputs):
            raise OpError("the feature map and the image must have 4 dimensions")
        return ((1, 2, 4 * prod(inputs[0][2:]) * self.boxes_per_cell),)

    def boxes(self, feature_map: Shape, image: Shape) -> NDArray[Any]:
        """Computes the output.

        Args:
            feature_map: Shape of the first input.
            image: Shape of the second input.

        Returns:
            float32 of shape (1, 2, 4 * boxes): xmin, ymin, xmax, ymax of each box, then the variances of each box.
        """
        size = np.array(self.image if all(self.image) else image[2:], np.int64)
        cells = feature_map[2:]
        given = all(self.step)
        step = np.array(self.step, np.float32) if given else size.astype(np.float32) / np.array(cells, np.float32)
        down, across = (
            (np.arange(count, dtype=np.float32) + np.float32(self.offset)) * pixels
            for count, pixels in zip(cells, step, strict=True)
        )
        centre = np.stack(np.broadcast_arrays(across[None, :, None], down[:, None, None]), axis=-1)
        half = np.array(self._sizes(), np.float32).astype(np.float64) / 2
        corners = np.concatenate([centre - half, centre + half], axis=-1) / np.concatenate([size[::-1]] * 2)
        corners = corners.astype(np.float32)
        if self.clip:
            corners = np.clip(corners, np.float32(0), np.float32(1))
        variances = np.broadcast_to(np.array(self.variances, np.float32), corners.shape)
        return np.stack([corners.reshape(-1), variances.reshape(-1)])[np.newaxis]

    def _sizes(self) -> list[tuple[float, float]]:
        """Width and height of the boxes around one centre."""
        if self.sizes:
            return list(self.sizes)
        sizes = []
        for number, least in enumerate(self.min_sizes):
            sizes.append((least, least))
            if self.max_sizes:
                mean = float(np.sqrt(least * self.max_sizes[number]))
                sizes.append((mean, mean))
            for ratio in self.aspect_ratios:
                root = float(np.sqrt(np.float32(ratio)))
                sizes.append((least * root, least / root))
        return sizes


@dataclass(frozen=True)
class DetectionOutput(Op, traits=(Jumps(), SizedByData("how many detections it lists depends on the weights"))):
    """Decodes the boxes that an SSD predicts, suppresses overlapping ones and lists what is left.

    Inputs are the locations (N, boxes * (1 or classes) * 4), the confidences (N, boxes * classes) and the default boxes (1, 2, boxes * 4) of
    `PriorBox`, of which only the first counts where there are several; further axes of length 1 are allowed. RefineDet (Zhang et al. 2018) has two
    inputs more: whether there is an object (N, boxes * 2) and locations (N, boxes * 4) that move the default boxes before the others do.

    The output is (1, 1, detections, 7) with a number of rows known only at run time: image, label, confidence, xmin, ymin, xmax, ymax; by
    image, then label, then falling confidence. Without any detection there is one row for each image: its number and six times -1.

    Attributes:
        num_classes: Number of classes, the background included.
        share_location: Whether all classes share the locations.
        background_label: The class that is left out; none if it is outside of the classes.
        nms_threshold: A box is dropped if its intersection over union with a better one of its class exceeds this.
        top_k: Boxes of a class that are looked at, the best ones; -1 for all.
        code: How locations are relative to default boxes.
        variance_encoded: Whether the variances are already in the locations.
        keep_top_k: Detections of an image that are kept, the best ones over all classes; -1 for all.
        confidence_threshold: Only higher confidences count.
        objectness: Boxes whose number in the second column of the fourth input is lower hold nothing; None where there is no such input.
    """

    num_classes: int
    share_location: bool = True
    background_label: int = 0
    nms_threshold: float = 0.3
    top_k: int = -1
    code: Literal["CORNER", "CENTER_SIZE", "CORNER_SIZE"] = "CORNER"
    variance_encoded: bool = False
    keep_top_k: int = -1
    confidence_threshold: float = float(np.finfo(np.float32).min)
    objectness: float | None = None

    min_inputs: ClassVar[int] = 3
    max_inputs: ClassVar[int | None] = 5

    def boxes(self, priors: Shape) -> int:
        """Returns the number of default boxes of the third input."""
        return priors[2] // 4

    @property
    def labels(self) -> tuple[int, ...]:
        """The classes that are detected."""
        return tuple(label for label in range(self.num_classes) if label != self.background_label)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[None]:
        """The output's shape is not known before the run."""
        expect_params(params, [])
        locations, confidences, priors, *refined = inputs
        if len(refined) != (0 if self.objectness is None else 2):
            raise OpError(f"{len(inputs)} inputs, expected 3, or 5 where objectness counts")
        if len(priors) < 3 or priors[1] != 2 or priors[2] % 4 or prod(priors[3:]) != 1:
            raise OpError(f"default boxes have shape {priors}, expected 1 x 2 x (4 for each box)")
        count = self.boxes(priors)
        groups = 1 if self.share_location else self.num_classes
        expectations = (
            ("locations", locations, count * groups * 4),
            ("confidences", confidences, count * self.num_classes),
            *zip(("objects", "locations of the first step"), refined, (count * 2, count * 4), strict=False),
        )
        for what, shape, expected in expectations:
            if len(shape) < 2 or shape[1] != expected or prod(shape[2:]) != 1:
                raise OpError(f"{what} have shape {shape}, expected N x {expected} for {count} boxes")
        if any(shape[0] != locations[0] for shape in (confidences, *refined)):
            raise OpError(f"locations are of {locations[0]} images and confidences of {confidences[0]}")
        return (None,)


Anchors = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class YoloOutput(Op, traits=(Jumps(), SizedByData("how many detections it lists depends on the weights"))):
    """Decodes the boxes that YOLO predicts, and suppresses overlapping ones of whatever class (Redmon and Farhadi 2016, 2018).

    Inputs are maps (1, boxes * (5 + classes), H, W): of each box of a cell the place of its centre in the cell, its width and height, whether there
    is something, and the classes. Places go through a sigmoid, sizes are exponentials times ``anchors``, both as parts of the image. The output is
    (1, 1, detections, 7): 0, class + 1, confidence, xmin, ymin, xmax, ymax by falling confidence; without a detection one row of 0 and six times -1.

    Attributes:
        num_classes: Number of classes.
        anchors: Width and height of each input's boxes, in its cells.
        exclusive: Whether classes exclude each other (a softmax, of which the best counts: YOLO v2); else each has a sigmoid and counts.
        confidence_threshold: Only higher confidences count; with ``exclusive`` equal ones too.
        nms_threshold: A box is dropped if its intersection over union with a better one reaches this.
    """

    num_classes: int
    anchors: tuple[Anchors, ...]
    exclusive: bool = False
    confidence_threshold: float = 0.01
    nms_threshold: float = 0.45

    max_inputs: ClassVar[int | None] = None

    @property
    def fixed_batch(self) -> str:
        """The published layers throw the boxes of all images together."""
        return "boxes are listed for one image at a time"

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[None]:
        """The output's shape is not known before the run."""
        expect_params(params, [])
        if len(inputs) != len(self.anchors):
            raise OpError(f"{len(inputs)} inputs and anchors for {len(self.anchors)}")
        for shape, boxes in zip(inputs, self.anchors, strict=True):
            expected = len(boxes) * (5 + self.num_classes)
            if len(shape) != 4 or shape[:2] != (1, expected):
                raise OpError(
                    f"input has shape {shape}, expected 1 x {expected} x H x W for {len(boxes)} boxes of a cell"
                )
        return (None,)
