"""Metrics of how far outputs are from those of the original net."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, Metric, Terms

__all__ = ["Cosine", "OutputError", "decibels"]


@dataclass(frozen=True)
class OutputError(Metric):
    """The relative L2 error of the outputs; of several outputs the largest."""

    names: ClassVar[tuple[str, ...]] = ("output_error",)
    higher_is_better: ClassVar[bool] = False
    share: ClassVar[bool] = False
    several: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-3
    definition: ClassVar[str] = (
        "sqrt(sum((outputs - original's)^2) / sum(original's^2)) over all entries of all samples; of several outputs the largest; "
        "as a signal-to-noise ratio it is -20 log10 of that, in dB. It knows no task: it can fall while boxes are lost or answers change; "
        "agreement and detections say that"
    )
    source: ClassVar[str] = "relative L2 error"

    @property
    def against_float(self) -> bool:
        """It is."""
        return True

    def terms(self, answers: Answers) -> Terms:
        """Returns for each sample and output the norms of the difference and of the original's output."""
        columns = []
        for found, wanted in _pairs(answers):
            columns += [_norms(found - wanted), _norms(wanted)]
        rows = np.stack(columns, axis=1)
        return Terms(len(rows), rows)

    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the errors."""
        # Norms, and not squares, are kept: relative to the largest one their squares can neither overflow nor vanish.
        largest = terms.rows.max(initial=0.0) or 1.0
        sums = weights @ np.square(terms.rows / largest)
        noise, signal = sums[:, 0::2], sums[:, 1::2]
        with np.errstate(divide="ignore", invalid="ignore"):
            errors = np.where(noise == 0, 0.0, np.sqrt(noise / signal))
        found: Array = np.where(weights.any(axis=1), errors.max(axis=1), np.nan)
        return found

    def value(self, terms: Terms) -> float:
        """Returns the error.

        Raises:
            EvaluatorError: The original's output is all zeros and this one is not.
        """
        found = super().value(terms)
        if math.isinf(found):
            raise EvaluatorError("the reference outputs are all zeros, so no relative error exists; use other inputs")
        return found

    def shown(self, value: float) -> str:
        """Returns the error with the signal-to-noise ratio."""
        return f"{value:.5g}" if value <= 0 else f"{value:.5g} ({decibels(value):.1f} dB)"


@dataclass(frozen=True)
class Cosine(Metric):
    """The cosine of the angle between the outputs and the original's; of several outputs the least."""

    names: ClassVar[tuple[str, ...]] = ("cosine",)
    several: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-6
    definition: ClassVar[str] = (
        "the mean over samples of the cosine between output and original's output; of several outputs the smallest mean"
    )
    source: ClassVar[str] = "cosine similarity; two vectors of zeros are alike (1), one of them is not (0)"

    @property
    def against_float(self) -> bool:
        """It is."""
        return True

    def terms(self, answers: Answers) -> Terms:
        """Returns the cosine of each sample and output."""
        rows = np.stack([_cosines(found, wanted) for found, wanted in _pairs(answers)], axis=1)
        return Terms(len(rows), rows)

    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the means of the worst output."""
        with np.errstate(invalid="ignore"):
            found: Array = ((weights @ terms.rows) / weights.sum(axis=1, keepdims=True)).min(axis=1)
        return found

    def shown(self, value: float) -> str:
        """Returns the cosine with as many digits as tell it from 1."""
        return f"{value:.7g}"


def decibels(error: float) -> float:
    """Returns a relative error as a signal-to-noise ratio in dB."""
    return math.inf if error == 0 else -20 * math.log10(error)


def _pairs(answers: Answers) -> Iterator[tuple[Array, Array]]:
    """Yields each output and the original's as float64 (samples, entries); with another first axis than the samples' the batch is one row."""
    for name, array in answers.outputs.items():
        reference = answers.reference.get(name)
        found, wanted = np.asarray(array), np.asarray(reference)
        if found.shape != wanted.shape or not found.size:
            raise EvaluatorError(f"expected outputs of the reference's shape {wanted.shape}, found {found.shape}")
        if found.dtype.kind not in "fiu" or wanted.dtype.kind not in "fiu":
            raise EvaluatorError(f"expected arrays of numbers, found {found.dtype} and {wanted.dtype}")
        if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
            raise EvaluatorError("the outputs or their reference hold NaN or infinity")
        rows = answers.count if found.shape[:1] == (answers.count,) else 1
        yield found.reshape(rows, -1).astype(np.float64), wanted.reshape(rows, -1).astype(np.float64)


def _norms(vectors: Array) -> Array:
    """Returns the norms of rows; numbers of any size are fine."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    largest[largest == 0] = 1
    found: Array = largest[:, 0] * np.sqrt(np.square(vectors / largest).sum(axis=1))
    return found


def _cosines(found: Array, wanted: Array) -> Array:
    sizes = [np.abs(vectors).max(axis=1, keepdims=True) for vectors in (found, wanted)]
    zero = [size[:, 0] == 0 for size in sizes]
    one, two = (vectors / np.where(size == 0, 1, size) for vectors, size in zip((found, wanted), sizes, strict=True))
    lengths = np.sqrt(np.square(one).sum(axis=1) * np.square(two).sum(axis=1))
    with np.errstate(invalid="ignore"):
        cosines = (one * two).sum(axis=1) / lengths
    either: Array = np.where(zero[0] | zero[1], (zero[0] & zero[1]).astype(np.float64), cosines)
    return either
