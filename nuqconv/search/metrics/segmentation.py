"""Metrics of nets that say the class of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, Metric, Terms, Truth, one_output

__all__ = ["MeanIou"]


@dataclass(frozen=True)
class MeanIou(Metric):
    """The mean intersection over union.

    Attributes:
        ignore: A class of pixels that do not count; -1 for none.
        classes: Number of classes, for an output that holds classes instead of scores; 0 where it holds scores.
    """

    ignore: int = 255
    classes: int = 0

    names: ClassVar[tuple[str, ...]] = ("miou",)
    definition: ClassVar[str] = (
        "the mean over classes of (pixels that are and are called so) / (pixels that are or are called so), over the pixels of all samples; "
        "without the pixels labelled ignore and the classes that neither occurs nor is called"
    )
    source: ClassVar[str] = "PASCAL VOC's segmentation task; Jaccard index"

    def __post_init__(self) -> None:
        if self.classes < 0:
            raise EvaluatorError(f"classes is {self.classes}: expected their number")

    @property
    def truth(self) -> Truth:
        """The class of each pixel."""
        return Truth.LABEL_MAP

    def terms(self, answers: Answers) -> Terms:
        """Returns for each sample and class the pixels of the intersection, then those of the union."""
        output = one_output(self, answers.outputs)
        maps, classes = self._maps(output, answers.count)
        rows = np.zeros((answers.count, 2 * classes), np.uint32)
        for number, (found, truth) in enumerate(zip(maps, answers.truths, strict=True)):
            wanted = np.asarray(truth)
            if wanted.size != found.size or wanted.shape[-2:] != found.shape[-2:]:
                raise EvaluatorError(
                    f"sample {answers.first + number}: the label has {_sizes(wanted)} pixels, the output {_sizes(found)}; "
                    "make the labels as large as the output"
                )
            rows[number] = self._counts(found.reshape(-1), wanted.reshape(-1), classes, answers.first + number)
        return Terms(answers.count, rows)

    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the means over the classes that occur."""
        both, either = np.split(weights @ terms.rows, 2, axis=1)
        with np.errstate(invalid="ignore"):
            found: Array = np.where(either > 0, both / either, 0.0).sum(axis=1) / (either > 0).sum(axis=1)
        return found

    def why_none(self) -> str:
        """Returns why samples may have no value."""
        return f"every pixel is labelled {self.ignore}, to be ignored"

    def _maps(self, output: Array, count: int) -> tuple[Array, int]:
        """Returns the class of each pixel (samples, height, width), and the number of classes."""
        if output.shape[:1] != (count,) or output.ndim not in (3, 4) or output.dtype.kind not in "fiu":
            raise EvaluatorError(
                f"expected scores (samples, classes, height, width) or classes (samples, height, width), found {output.shape}"
            )
        if not np.isfinite(output).all():
            raise EvaluatorError("the output holds NaN or infinity")
        if output.ndim == 4 and output.shape[1] > 1:
            return output.argmax(axis=1), output.shape[1]
        if not self.classes:
            raise EvaluatorError(
                f"the output of shape {output.shape} holds classes, not scores; say how many there are: miou:classes=21"
            )
        maps = output.reshape(count, *output.shape[-2:])
        if not np.isin(maps, np.arange(self.classes)).all():
            raise EvaluatorError(f"expected classes from 0 to {self.classes - 1} in the output, found others")
        return maps.astype(np.int64), self.classes

    def _counts(self, found: Array, wanted: Array, classes: int, sample: int) -> Array:
        counted = wanted != self.ignore
        found, wanted = found[counted], wanted[counted]
        wrong = ~np.isin(wanted, np.arange(classes))
        if wrong.any():
            raise EvaluatorError(
                f"sample {sample}: expected labels from 0 to {classes - 1}, or {self.ignore} for pixels that do not count; "
                f"found {wanted[wrong][0]}"
            )
        truth = wanted.astype(np.int64)
        both = np.bincount(found[found == truth], minlength=classes)
        each = [np.bincount(classes_of, minlength=classes) for classes_of in (found, truth)]
        return np.concatenate([both, each[0] + each[1] - both])


def _sizes(array: Array) -> str:
    return "x".join(map(str, array.shape))
