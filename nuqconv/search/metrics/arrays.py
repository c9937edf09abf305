"""Metrics as functions of all outputs at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from nuqconv.search.metrics.base import Answers
from nuqconv.search.metrics.classification import TopK, classified, hits
from nuqconv.search.metrics.difference import OutputError, decibels

__all__ = ["output_error", "sqnr_db", "top1", "topk"]


def top1(outputs: ArrayLike, labels: ArrayLike) -> float:
    """Returns the fraction of samples whose label has the highest score; higher is better.

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
    """Returns a metric: the fraction of samples whose label is among the `k` highest scores; arguments and ties as in `top1`.

    Raises:
        EvaluatorError: `k` is no positive integer; the metric itself also raises it if there are less than `k` classes.
    """
    TopK(k)

    def metric(outputs: ArrayLike, labels: ArrayLike) -> float:
        return float(hits(*classified(outputs, labels), k).mean())

    return metric


def output_error(outputs: ArrayLike, reference: ArrayLike) -> float:
    """Returns the relative L2 error ``sqrt(sum((outputs - reference)^2) / sum(reference^2))`` over all elements; lower is better.

    It is 0 for equal arrays, also for arrays of zeros.

    Args:
        outputs: Outputs of the network under test, any shape.
        reference: Outputs of the original network on the same inputs, the same shape.

    Raises:
        EvaluatorError: The shapes differ or are empty, a value is not finite, or the reference is all zeros and the outputs are not.
    """
    metric = OutputError()
    return metric.value(metric.terms(Answers({"": np.asarray(outputs)}, 1, reference={"": np.asarray(reference)})))


def sqnr_db(outputs: ArrayLike, reference: ArrayLike) -> float:
    """Returns the ratio of signal to quantization noise, ``10 * log10(sum(reference^2) / sum((outputs - reference)^2))``, in dB.

    Higher is better. It is infinite for equal arrays, and so for the original model itself; an evaluator, whose metric must be finite,
    uses `output_error` instead.

    Args:
        outputs: Outputs of the network under test, any shape.
        reference: Outputs of the original network on the same inputs, the same shape.

    Raises:
        EvaluatorError: As in `output_error`.
    """
    return decibels(output_error(outputs, reference))
