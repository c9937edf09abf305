"""Metrics of nets that find objects: against the original net, by VOC's rule, and by COCO's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, Metric, Outputs, Takes, Terms, one_output
from nuqconv.search.metrics.boxes import by_picture, real_rows, unions
from nuqconv.search.metrics.events import NO_EVENTS, Curve, PrecisionMetric, event_rows
from nuqconv.search.metrics.truth import Boxes

__all__ = ["CocoAp", "Detections", "VocMap"]


@dataclass(frozen=True)
class Detections(Metric):
    """How far the boxes are those of the original net.

    Attributes:
        iou: Least overlap of two boxes that are the same object.
        score: Boxes with a lower score do not count, of neither net.
    """

    iou: float = 0.5
    score: float = 0.25

    names: ClassVar[tuple[str, ...]] = ("detections",)
    takes: ClassVar[Takes] = Takes.DETECTIONS
    definition: ClassVar[str] = (
        "2 both / (net's + original's boxes): the F1 of the boxes with the original net's as truth. Each box, by falling score, takes the free "
        "box of its class and picture that it overlaps most, if at least by iou; boxes below score do not count"
    )
    source: ClassVar[str] = "F1 (van Rijsbergen 1979) with the greedy matching of VOC"

    def __post_init__(self) -> None:
        _check_iou(self.iou)

    @property
    def against_float(self) -> bool:
        """It is."""
        return True

    def keep(self, outputs: Outputs, count: int) -> Outputs:
        """Returns the rows of boxes that count."""
        del count
        return {name: self._counted(array) for name, array in outputs.items()}

    def terms(self, answers: Answers) -> Terms:
        """Returns for each picture how many boxes both nets have, and how many each has."""
        found = by_picture(self._counted(one_output(self, answers.outputs)), answers.count)
        wanted = by_picture(one_output(self, answers.reference), answers.count)
        rows = [(self._common(one, two), len(one), len(two)) for one, two in zip(found, wanted, strict=True)]
        return Terms(answers.count, np.array(rows, np.float64))

    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the shares; 1 where neither net has boxes."""
        common, found, wanted = (weights @ terms.rows).T
        with np.errstate(invalid="ignore"):
            shares = np.where(found + wanted > 0, 2 * common / (found + wanted), 1.0)
        return np.where(weights.any(axis=1), shares, np.nan)

    def _counted(self, rows: Array) -> Array:
        real = real_rows(rows)
        counted: Array = real[real[:, 2] >= self.score]
        return counted

    def _common(self, found: Array, wanted: Array) -> int:
        overlaps = unions(found[:, 3:], wanted[:, 3:])
        overlaps[found[:, 1, np.newaxis] != wanted[np.newaxis, :, 1]] = 0
        common = 0
        for number in np.argsort(-found[:, 2], kind="stable") if len(wanted) else ():
            best = int(overlaps[number].argmax())
            if overlaps[number, best] >= self.iou:
                overlaps[:, best] = -1
                common += 1
        return common


@dataclass(frozen=True)
class VocMap(PrecisionMetric):
    """The mean average precision of PASCAL VOC.

    Attributes:
        points: 11 for the mean of the precision at the recalls 0, 0.1 ... 1 (VOC 2007); 0 for the area below the curve (from 2010 on).
        iou: Least overlap of a box that is right.
        pixels: Whether to count in whole pixels, a box's last row and column included, as VOC's development kit does; the pictures' sizes must
            then be known.
    """

    points: int = 0
    iou: float = 0.5
    pixels: bool = False

    names: ClassVar[tuple[str, ...]] = ("voc_map",)
    definition: ClassVar[str] = (
        "the mean over classes of the average precision. A box, by falling score, is right if the object of its class that it overlaps most is "
        "overlapped by iou and not taken yet; difficult objects count neither way. The area below the curve, or with points=11 the mean at 11 "
        "recalls; with pixels boxes include their last pixel"
    )
    source: ClassVar[str] = "development kits of VOC 2007 (11 points) and 2010 (area), VOCevaldet"

    def __post_init__(self) -> None:
        _check_iou(self.iou)
        if self.points not in (0, 11):
            raise EvaluatorError(f"points is {self.points}: VOC's rule has 11, or 0 for the area below the curve")

    @property
    def thresholds(self) -> Array:
        """One overlap."""
        return np.array([self.iou])

    def average(self, curve: Curve) -> Array:
        """Returns the average precision of a curve."""
        if not self.points:
            return curve.area()
        # The recall found / wanted is at least tenths / 10, without a rounding error.
        needed = -(-curve.wanted[:, np.newaxis] * np.arange(11) // 10)
        precision: Array = curve.at(needed).mean(axis=1)
        return precision

    def picture(self, rows: Array, truth: Boxes, sample: int) -> Array:
        """Returns the events of a picture."""
        scale, pixel = np.ones(4), 0.0
        if self.pixels:
            if truth.size is None:
                raise EvaluatorError(
                    f"sample {sample}: the size of the picture is not known, which '{self.text}' needs; leave 'pixels' out"
                )
            scale, pixel = np.array([truth.size[1], truth.size[0]] * 2, np.float64), 1.0
        overlaps = unions(rows[:, 3:] * scale, truth.boxes * scale, pixel=pixel)
        overlaps[rows[:, 1, np.newaxis] != truth.classes] = 0
        right, ignored = np.zeros((2, 1, len(rows)), np.bool_)
        taken = np.zeros(len(truth), np.bool_)
        for number in np.argsort(-rows[:, 2], kind="stable") if len(truth) else ():
            best = int(overlaps[number].argmax())
            if overlaps[number, best] >= self.iou:
                ignored[0, number] = truth.difficult[best]
                right[0, number] = not truth.difficult[best] and not taken[best]
                taken[best] = True
        return event_rows(rows[:, 1], rows[:, 2], right, ignored, truth.classes[~truth.difficult])


@dataclass(frozen=True)
class CocoAp(PrecisionMetric):
    """COCO's average precision over the overlaps 0.50, 0.55 ... 0.95.

    Attributes:
        iou: One overlap instead of the ten, as 0.5 for COCO's AP50; 0 for all ten.
        most: Detections of a picture and class that count, the best ones.
    """

    iou: float = 0.0
    most: int = 100

    names: ClassVar[tuple[str, ...]] = ("coco_ap",)
    definition: ClassVar[str] = (
        "the mean over classes and the overlaps 0.50, 0.55 ... 0.95 (or iou alone) of the precision at the 101 recalls 0, 0.01 ... 1. A box, by "
        "falling score, takes the free object of its class that it overlaps most; boxes on a crowd do not count; of a picture and class the "
        "best 100"
    )
    source: ClassVar[str] = "COCO's evaluation (cocodataset.org, pycocotools' COCOeval), all areas"
    guard: ClassVar[float] = float(np.spacing(1))

    def __post_init__(self) -> None:
        if self.iou:
            _check_iou(self.iou)
        if self.most < 1:
            raise EvaluatorError(f"most is {self.most}: expected how many detections count, from 1")

    @property
    def thresholds(self) -> Array:
        """One overlap or ten."""
        return np.array([self.iou]) if self.iou else np.linspace(0.5, 0.95, 10)

    def average(self, curve: Curve) -> Array:
        """Returns the average precision of a curve."""
        recalls, wanted = np.linspace(0, 1, 101), np.maximum(curve.wanted[:, np.newaxis], 1)
        # The least number with number / wanted >= recall, as floats are compared.
        needed = np.ceil(recalls * wanted).astype(np.int64)
        needed -= ((needed - 1) / wanted >= recalls) & (needed > 0)
        needed += needed / wanted < recalls
        precision: Array = curve.at(needed).mean(axis=1)
        return precision

    def picture(self, rows: Array, truth: Boxes, sample: int) -> Array:
        """Returns the events of a picture."""
        del sample
        return np.concatenate([NO_EVENTS, *self._classes(rows, truth)])

    def _classes(self, rows: Array, truth: Boxes) -> Iterator[Array]:
        for number in np.unique(np.concatenate([rows[:, 1], truth.classes])):
            mine = rows[rows[:, 1] == number]
            mine = mine[np.argsort(-mine[:, 2], kind="stable")][: self.most]
            objects = truth.classes == number
            crowd = truth.crowd[objects]
            right, ignored = self._matched(unions(mine[:, 3:], truth.boxes[objects], crowd), crowd)
            yield event_rows(mine[:, 1], mine[:, 2], right, ignored, truth.classes[objects][~crowd])

    def _matched(self, overlaps: Array, crowd: Array) -> tuple[Array, Array]:
        """Returns which detections, given by falling score, are right and which do not count, bool (thresholds, found)."""
        least = np.minimum(self.thresholds, 1 - 1e-10)[:, np.newaxis]
        right, ignored = np.zeros((2, len(least), len(overlaps)), np.bool_)
        if not overlaps.size:
            return right, ignored
        free = np.broadcast_to(~crowd, (len(least), len(crowd))).copy()
        rows = np.arange(len(least))
        for number, row in enumerate(overlaps):
            fitting = free & (row >= least)
            # Of objects that are overlapped alike, the last one.
            best = len(row) - 1 - np.where(fitting, row, -1.0)[:, ::-1].argmax(axis=1)
            right[:, number] = fitting.any(axis=1)
            free[rows[right[:, number]], best[right[:, number]]] = False
            ignored[:, number] = ~right[:, number] & (crowd & (row >= least)).any(axis=1)
        return right, ignored


def _check_iou(iou: float) -> None:
    if not 0 < iou <= 1:
        raise EvaluatorError(f"iou is {iou}: expected the least overlap of boxes, above 0 and at most 1")
