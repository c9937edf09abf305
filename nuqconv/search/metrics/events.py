"""Average precision of detections that were judged right or wrong, under any weighting of the pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, Metric, Takes, Terms, Truth, one_output
from nuqconv.search.metrics.boxes import by_picture, real_rows, truths_of
from nuqconv.search.metrics.truth import Boxes

__all__ = ["EVENT", "NO_EVENTS", "Curve", "PrecisionMetric", "event_rows"]

EVENT = np.dtype([("class", "<i4"), ("score", "<f8"), ("right", "<u2"), ("ignored", "<u2"), ("wanted", "?")])
"""A detection, or an object that is wanted. Of a detection, bit t of `right` and `ignored` is about the t-th threshold of overlap."""
NO_EVENTS = np.zeros(0, EVENT)


@dataclass(frozen=True)
class Curve:
    """Precision against recall of one class at one threshold, for several weightings of the pictures.

    Attributes:
        found: How many wanted objects are found up to each detection, by falling score, int64 (weightings, detections).
        precision: The highest precision at this recall or a higher one, float64 (weightings, detections).
        wanted: How many objects are wanted, int64 (weightings,).
    """

    found: Array
    precision: Array
    wanted: Array

    def at(self, needed: Array) -> Array:
        """Returns the precision where so many objects are found first, 0 where they never are; (weightings, points).

        Args:
            needed: Numbers of objects, int64 (weightings, points).
        """
        draws, count = self.found.shape
        if not count:
            return np.zeros(needed.shape)
        # One search for all weightings: each has a range of its own among whole numbers.
        span = int(max(self.found.max(), needed.max())) + 1
        starts = np.arange(draws)[:, np.newaxis]
        places = np.searchsorted((self.found + starts * span).ravel(), (needed + starts * span).ravel())
        places = places.reshape(needed.shape) - starts * count
        padded = np.concatenate([self.precision, np.zeros((draws, 1))], axis=1)
        return np.take_along_axis(padded, np.minimum(places, count), axis=1)

    def area(self) -> Array:
        """Returns the area below the curve, (weightings,)."""
        steps = np.diff(self.found, axis=1, prepend=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = (steps * self.precision).sum(axis=1) / self.wanted
        return found


class PrecisionMetric(Metric):
    """A mean over classes of the average precision; its terms are events."""

    takes: ClassVar[Takes] = Takes.DETECTIONS
    guard: ClassVar[float] = 0.0
    """Added to the number of detections that precision is a share of."""

    @property
    def truth(self) -> Truth:
        """The objects."""
        return Truth.BOXES

    def terms(self, answers: Answers) -> Terms:
        """Returns the events of each picture."""
        found = by_picture(real_rows(one_output(self, answers.outputs)), answers.count)
        truths = truths_of(answers.truths, answers.first)
        pictures = [
            self.picture(rows, truth, answers.first + number)
            for number, (rows, truth) in enumerate(zip(found, truths, strict=True))
        ]
        owners = np.repeat(np.arange(len(pictures)), [len(rows) for rows in pictures])
        return Terms(len(pictures), np.concatenate([NO_EVENTS, *pictures]), owners)

    @abstractmethod
    def picture(self, rows: Array, truth: Boxes, sample: int) -> Array:
        """Returns the events of a picture.

        Args:
            rows: Its detections, float64 (found, 7).
            truth: Its objects.
            sample: Its number, for messages.
        """

    @property
    @abstractmethod
    def thresholds(self) -> Array:
        """Least overlaps, (thresholds,)."""

    @abstractmethod
    def average(self, curve: Curve) -> Array:
        """Returns the average precision of a curve, (weightings,)."""

    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the means over the classes of which objects are wanted."""
        rows, owners = terms.rows, terms.unit_of_row
        classes = np.unique(rows["class"][rows["wanted"]])
        sums, counts = np.zeros(len(weights)), np.zeros(len(weights))
        for number in classes:
            of_class = rows["class"] == number
            precisions = np.stack(
                [self.average(curve) for curve in self._curves(rows[of_class], owners[of_class], weights)]
            )
            present = weights[:, owners[of_class & rows["wanted"]]].any(axis=1)
            sums += np.where(present, precisions.mean(axis=0), 0.0)
            counts += present
        with np.errstate(invalid="ignore"):
            found: Array = sums / counts
        return found

    def why_none(self) -> str:
        """Returns why samples may have no value."""
        return "no object is wanted in any of the pictures"

    def by_unit(self, terms: Terms) -> Array:
        """Returns how many detections of each picture are right at each threshold, how many are not, and how many count."""
        rows, owners = terms.rows, terms.unit_of_row
        detected = ~rows["wanted"]
        bits = 1 << np.arange(len(self.thresholds))
        columns = [detected & ((rows[name] & bit) != 0) for name in ("right", "ignored") for bit in bits]
        return np.stack([np.bincount(owners, column, minlength=terms.units) for column in (detected, *columns)], axis=1)

    def _curves(self, rows: Array, owners: Array, weights: Array) -> Iterator[Curve]:
        wanted = weights[:, owners[rows["wanted"]]].sum(axis=1).astype(np.int64)
        detected = np.flatnonzero(~rows["wanted"])
        order = detected[np.argsort(-rows["score"][detected], kind="stable")]
        times = weights[:, owners[order]].astype(np.int64)
        for bit in 1 << np.arange(len(self.thresholds)):
            right = (rows["right"][order] & bit) != 0
            counted = (rows["ignored"][order] & bit) == 0
            found = np.cumsum(times * (right & counted), axis=1)
            given = np.cumsum(times * counted, axis=1)
            with np.errstate(invalid="ignore"):
                precision = np.where(given > 0, found / (given + self.guard), 0.0)
            # From the back: a precision counts at all lower recalls too.
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            yield Curve(found, best, wanted)


def event_rows(classes: Array, scores: Array, right: Array, ignored: Array, wanted: Array) -> Array:
    """Returns the events of a picture: its detections, then the objects that are wanted.

    Args:
        classes: Class of each detection (found,).
        scores: Score of each detection (found,).
        right: Whether each is right at each threshold, bool (thresholds, found).
        ignored: Whether each does not count, bool (thresholds, found).
        wanted: Class of each object that is wanted.
    """
    rows = np.zeros(len(classes) + len(wanted), EVENT)
    bits = 1 << np.arange(len(right), dtype=np.uint16)[:, np.newaxis]
    rows["class"] = np.concatenate([classes, wanted])
    rows["score"][: len(classes)] = scores
    for name, flags in (("right", right), ("ignored", ignored)):
        rows[name][: len(classes)] = (flags * bits).sum(axis=0)
    rows["wanted"][len(classes) :] = True
    return rows
