"""Metrics of nets that name a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, MeanMetric, Outputs, Terms, Truth, one_output

__all__ = ["Agreement", "TopK", "classified", "hits"]


@dataclass(frozen=True)
class TopK(MeanMetric):
    """The share of samples whose label is among the k highest scores."""

    k: int = 1

    names: ClassVar[tuple[str, ...]] = ("top",)
    numbered: ClassVar[bool] = True
    definition: ClassVar[str] = (
        "the share of samples whose class is among the k highest scores; an equal score counts as higher"
    )
    source: ClassVar[str] = "Caffe's Accuracy layer"

    def __post_init__(self) -> None:
        if type(self.k) is not int or self.k < 1:
            raise EvaluatorError(f"k of a top-k metric must be a positive integer, found {self.k!r}")

    @property
    def truth(self) -> Truth:
        """The class."""
        return Truth.CLASS

    def terms(self, answers: Answers) -> Terms:
        """Returns for each sample whether it is right, and the class with the highest score."""
        scores, classes = classified(one_output(self, answers.outputs), answers.truths, answers.first)
        rows = np.stack([hits(scores, classes, self.k), scores.argmax(axis=1)], axis=1)
        return Terms(answers.count, rows.astype(np.float64))


@dataclass(frozen=True)
class Agreement(MeanMetric):
    """The share of samples for which the net names the class that the original net names."""

    names: ClassVar[tuple[str, ...]] = ("agreement",)
    definition: ClassVar[str] = (
        "the share of samples that get the class that the original net gives them; with a class for each place, of places"
    )
    source: ClassVar[str] = "top-1 with the original net's answers as labels"

    @property
    def against_float(self) -> bool:
        """It is."""
        return True

    def keep(self, outputs: Outputs, count: int) -> Outputs:
        """Returns the classes."""
        del count
        return {name: self._classes(array) for name, array in outputs.items()}

    def terms(self, answers: Answers) -> Terms:
        """Returns for each sample the share of places with the same class, and the class of the first one."""
        found = self._classes(one_output(self, answers.outputs))
        wanted = one_output(self, answers.reference)
        if found.shape != wanted.shape:
            raise EvaluatorError(f"expected classes for {wanted.shape} as the original net has, found {found.shape}")
        found, wanted = found.reshape(len(found), -1), wanted.reshape(len(wanted), -1)
        return Terms(answers.count, np.stack([(found == wanted).mean(axis=1), found[:, 0].astype(np.float64)], axis=1))

    def _classes(self, scores: Array) -> Array:
        if scores.ndim < 2 or not scores.size or scores.dtype.kind not in "fiu":
            raise EvaluatorError(f"expected scores of shape (samples, classes, ...), found {scores.shape}")
        if np.isnan(scores).any():
            raise EvaluatorError("the scores hold NaN")
        classes: Array = scores.argmax(axis=1).astype(np.uint16 if scores.shape[1] <= 1 << 16 else np.int64)
        return classes


def hits(scores: Array, classes: Array, k: int) -> Array:
    """Returns for each sample whether less than `k` other scores are as high as its label's, bool (samples,).

    Raises:
        EvaluatorError: There are less than `k` classes.
    """
    if k > scores.shape[1]:
        raise EvaluatorError(f"top-{k} needs {k} classes, found {scores.shape[1]}; choose a smaller k")
    own = scores[np.arange(len(classes)), classes]
    found: Array = (scores >= own[:, np.newaxis]).sum(axis=1) - 1 < k
    return found


def classified(outputs: ArrayLike, labels: ArrayLike, first: int = 0) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Returns scores (samples, classes) and labels (samples,).

    Args:
        outputs: Scores, with further axes of length 1.
        labels: Whole numbers, with further axes of length 1.
        first: Number of the first sample, for messages.

    Raises:
        EvaluatorError: They do not fit, a label is no class, or a score is NaN.
    """
    scores, classes = np.asarray(outputs), np.asarray(labels)
    if scores.ndim < 2 or not scores.size or any(length != 1 for length in scores.shape[2:]):
        raise EvaluatorError(f"expected scores of shape (samples, classes), found {scores.shape}")
    samples, count = scores.shape[0], scores.shape[1]
    scores = scores.reshape(samples, count)
    if classes.shape[:1] != (samples,) or classes.size != samples:
        raise EvaluatorError(f"expected {samples} labels, one for each sample, found the shape {classes.shape}")
    if scores.dtype.kind not in "fiu" or classes.dtype.kind not in "fiu":
        raise EvaluatorError(f"expected scores and labels that are numbers, found {scores.dtype} and {classes.dtype}")
    classes = classes.reshape(-1)
    wrong = ~((classes >= 0) & (classes < count) & (classes == np.floor(classes)))
    if wrong.any():
        raise EvaluatorError(
            f"expected labels that are whole numbers from 0 to {count - 1}, found {classes[wrong][0]} "
            f"at sample {first + int(np.flatnonzero(wrong)[0])}"
        )
    if np.isnan(scores).any():
        raise EvaluatorError(
            f"the scores of sample {first + int(np.flatnonzero(np.isnan(scores).any(axis=1))[0])} hold NaN"
        )
    return scores, classes.astype(np.intp)
