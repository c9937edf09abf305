"""A metric of nets that tell whether two pictures show the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, Metric, Terms, Truth, one_output

__all__ = ["Verification"]

_LIMITS = np.arange(400) / 100
"""Distances that are tried as limits."""


@dataclass(frozen=True)
class Verification(Metric):
    """The share of pairs that are judged right, as LFW's protocol asks.

    Samples 2i and 2i + 1 are a pair; it is of the same where they have the same label.

    Attributes:
        folds: Into how many parts the pairs are cut, in order.
    """

    folds: int = 10

    names: ClassVar[tuple[str, ...]] = ("verification",)
    group: ClassVar[int] = 2
    tolerance: ClassVar[float] = 1e-3
    definition: ClassVar[str] = (
        "samples 2i and 2i+1 are a pair, of the same if their labels are equal; it is called so if the squared distance of the outputs, each "
        "divided by its length, is below a limit. For each of the folds the limit (0, 0.01 ... 3.99) that is best on the others, the least of "
        "equal ones; the mean share of right pairs over the folds"
    )
    source: ClassVar[str] = (
        "Labeled Faces in the Wild, view 2 (ten folds in order); limits as in the evaluation of FaceNet's descendants"
    )

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise EvaluatorError(f"folds is {self.folds}: expected 2 or more; LFW has 10")

    @property
    def truth(self) -> Truth:
        """Who or what is shown."""
        return Truth.CLASS

    def terms(self, answers: Answers) -> Terms:
        """Returns for each pair the squared distance, and whether it is of the same."""
        vectors, labels = one_output(self, answers.outputs), np.asarray(answers.truths)
        if vectors.shape[:1] != (answers.count,) or not vectors.size or vectors.dtype.kind not in "fiu":
            raise EvaluatorError(f"expected vectors (samples, entries), found {vectors.shape}")
        if labels.shape[:1] != (answers.count,) or labels.size != answers.count:
            raise EvaluatorError(
                f"expected {answers.count} labels, one for each sample, found the shape {labels.shape}"
            )
        flat = vectors.reshape(answers.count, -1).astype(np.float64)
        lengths = np.linalg.norm(flat, axis=1, keepdims=True)
        if not np.isfinite(flat).all() or not lengths.all():
            raise EvaluatorError("an output holds NaN or infinity, or is all zeros, and so has no direction")
        flat, labels = flat / lengths, labels.reshape(-1)
        distances = np.square(flat[0::2] - flat[1::2]).sum(axis=1)
        return Terms(len(distances), np.stack([distances, labels[0::2] == labels[1::2]], axis=1))

    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the mean accuracies over the folds."""
        distances, same = terms.rows[:, 0], terms.rows[:, 1] != 0
        if terms.units < self.folds:
            raise EvaluatorError(f"{terms.units} pairs are fewer than {self.folds} folds; write verification:folds=2")
        right = (distances < _LIMITS[:, np.newaxis]) == same
        parts = np.array_split(np.arange(terms.units), self.folds)
        hits = np.stack([weights[:, part] @ right[:, part].T for part in parts])
        sizes = np.stack([weights[:, part].sum(axis=1) for part in parts])
        best = (hits.sum(axis=0) - hits).argmax(axis=2)
        own = np.take_along_axis(hits, best[..., np.newaxis], axis=2)[..., 0]
        with np.errstate(invalid="ignore"):
            shares = np.where(sizes > 0, own / sizes, 0.0)
            found: Array = shares.sum(axis=0) / (sizes > 0).sum(axis=0)
        return found
