"""What is known of a sample that a net is judged by, where it is more than the number of a class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array

__all__ = ["Boxes"]


def _no_flags() -> Array:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects in one picture; there may be none.

    The arrays are checked, copied and made read-only.

    Attributes:
        classes: Class of each object as the net numbers them, int64 (k,); with DetectionOutput 0 is the background.
        boxes: float64 (k, 4): xmin, ymin, xmax, ymax as parts of the picture's width and height, 0 at the left and at the top.
        difficult: bool (k,): objects that VOC's rule neither wants found nor counts as wrong; none by default.
        crowd: bool (k,): boxes around many objects, COCO's ``iscrowd``; none by default.
        size: Height and width of the picture in pixels, for rules that count in pixels; None where nobody knows.

    Raises:
        EvaluatorError: The arrays do not fit each other, a class is no whole number from 0, or a box has no extent; all faults are listed.
    """

    classes: Array
    boxes: Array
    difficult: Array = field(default_factory=_no_flags)
    crowd: Array = field(default_factory=_no_flags)
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        problems: list[str] = []
        classes = _numbers("classes", self.classes, (-1,), problems)
        boxes = _numbers("boxes", self.boxes, (-1, 4), problems)
        if not problems:
            problems += _misfits(classes, boxes)
        flags = {name: _flags(name, getattr(self, name), len(classes), problems) for name in ("difficult", "crowd")}
        if self.size is not None and not (len(self.size) == 2 and all(side >= 1 for side in self.size)):
            problems.append(f"size is {self.size}, expected height and width in pixels")
        if problems:
            raise EvaluatorError("the objects of a picture are wrong", problems)
        for name, array in {"classes": classes.astype(np.int64), "boxes": boxes, **flags}.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.classes)


def _numbers(name: str, value: Any, shape: tuple[int, ...], problems: list[str]) -> Array:
    array = np.asarray(value)
    if not array.size:
        return np.zeros([max(length, 0) for length in shape])
    if array.dtype.kind not in "fiu" or array.ndim != len(shape) or array.shape[1:] != shape[1:]:
        wanted = ", ".join(str(length) if length >= 0 else "k" for length in shape)
        problems.append(f"{name} has shape {array.shape} of {array.dtype}, expected numbers ({wanted})")
        return np.zeros([max(length, 0) for length in shape])
    return array.astype(np.float64)


def _misfits(classes: Array, boxes: Array) -> list[str]:
    problems = []
    if len(classes) != len(boxes):
        problems.append(f"there are {len(classes)} classes for {len(boxes)} boxes")
    wrong = classes[~((classes >= 0) & (classes == np.floor(classes)) & (classes < 2**53))]
    if wrong.size:
        problems.append(f"class {wrong[0]:g} is no whole number from 0")
    bad = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1]))
    problems += [
        f"box {row} is {boxes[row].tolist()}, expected xmin, ymin, xmax, ymax in this order"
        for row in np.flatnonzero(bad)
    ]
    return problems


def _flags(name: str, value: Any, count: int, problems: list[str]) -> Array:
    array = np.asarray(value)
    if not array.size:
        return np.zeros(count, np.bool_)
    if array.shape != (count,) or not np.isin(array, (0, 1)).all():
        problems.append(
            f"{name} must be {count} truth values, one for each object, found {array.shape} of {array.dtype}"
        )
        return np.zeros(count, np.bool_)
    return array.astype(np.bool_)
