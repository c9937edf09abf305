"""Measures of a network's outputs, for evaluators: pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nuqconv.errors import EvaluatorError

__all__ = ["output_error", "sqnr_db", "top1", "topk"]


def top1(outputs: ArrayLike, labels: ArrayLike) -> float:
    """Return the fraction of samples whose label has the highest score; higher is better.

    A score that equals the label's counts as higher, as in Caffe's Accuracy layer, so an output that says nothing scores 0.

    Args:
        outputs: Scores, shape (samples, classes); further axes of length 1 are allowed, as of a fully convolutional net.
        labels: Class indices from 0, shape (samples,); integers, or floats with integer values as Caffe has them; further axes of
            length 1 are allowed.

    Raises:
        EvaluatorError: The shapes do not fit, a label is no class, or a score is NaN.
    """
    return topk(1)(outputs, labels)


def topk(k: int) -> Callable[[ArrayLike, ArrayLike], float]:
    """Return a metric: the fraction of samples whose label is among the `k` highest scores; arguments and ties as in `top1`.

    Raises:
        EvaluatorError: `k` is no positive integer; the metric itself also raises it if there are less than `k` classes.
    """
    if type(k) is not int or k < 1:
        raise EvaluatorError(f"k of a top-k metric must be a positive integer, found {k!r}")

    def metric(outputs: ArrayLike, labels: ArrayLike) -> float:
        scores, classes = _classified(outputs, labels)
        if k > scores.shape[1]:
            raise EvaluatorError(f"top-{k} needs {k} classes, found {scores.shape[1]}; choose a smaller k")
        own = scores[np.arange(len(classes)), classes]
        rivals = (scores >= own[:, np.newaxis]).sum(axis=1) - 1
        return float((rivals < k).mean())

    return metric


def output_error(outputs: ArrayLike, reference: ArrayLike) -> float:
    """Return the relative L2 error ``sqrt(sum((outputs - reference)^2) / sum(reference^2))`` over all elements; lower is better.

    It is 0 for equal arrays, also for arrays of zeros.

    Args:
        outputs: Outputs of the network under test, any shape.
        reference: Outputs of the original network on the same inputs, the same shape.

    Raises:
        EvaluatorError: The shapes differ or are empty, a value is not finite, or the reference is all zeros and the outputs are not.
    """
    noise, signal = _energies(outputs, reference)
    if not noise:
        return 0.0
    if not signal:
        raise EvaluatorError("the reference outputs are all zeros, so no relative error exists; use other inputs")
    return math.sqrt(noise / signal)


def sqnr_db(outputs: ArrayLike, reference: ArrayLike) -> float:
    """Return the ratio of signal to quantization noise, ``10 * log10(sum(reference^2) / sum((outputs - reference)^2))``, in dB.

    Higher is better. It is infinite for equal arrays, and so for the original model itself; an evaluator, whose metric must be finite,
    uses `output_error` instead.

    Args:
        outputs: Outputs of the network under test, any shape.
        reference: Outputs of the original network on the same inputs, the same shape.

    Raises:
        EvaluatorError: As in `output_error`.
    """
    error = output_error(outputs, reference)
    return math.inf if error == 0 else -20 * math.log10(error)


def _classified(outputs: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[np.intp]]:
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
            f"at sample {int(np.flatnonzero(wrong)[0])}"
        )
    if np.isnan(scores).any():
        raise EvaluatorError(f"the scores of sample {int(np.flatnonzero(np.isnan(scores).any(axis=1))[0])} hold NaN")
    return scores, classes.astype(np.intp)


def _energies(outputs: ArrayLike, reference: ArrayLike) -> tuple[float, float]:
    """Return the energies of the difference and of the reference, both relative to the largest value, which cannot overflow."""
    found, wanted = np.asarray(outputs), np.asarray(reference)
    if found.shape != wanted.shape or not found.size:
        raise EvaluatorError(f"expected outputs of the reference's shape {wanted.shape}, found {found.shape}")
    if found.dtype.kind not in "fiu" or wanted.dtype.kind not in "fiu":
        raise EvaluatorError(f"expected arrays of numbers, found {found.dtype} and {wanted.dtype}")
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        raise EvaluatorError("the outputs or their reference hold NaN or infinity")
    largest = max(float(np.abs(found).max()), float(np.abs(wanted).max())) or 1.0
    found, wanted = found / largest, wanted / largest
    return float(np.square(found - wanted).sum()), float(np.square(wanted).sum())
