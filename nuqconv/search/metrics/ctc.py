"""A metric of nets that read text."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Answers, MeanMetric, Takes, Terms, Truth, one_output

__all__ = ["CtcAccuracy"]

_LAYOUTS = {"tnc": (1, 0, 2), "ntc": (0, 1, 2), "nct": (0, 2, 1)}
"""Where time, sample and class are, and the order of axes that puts the sample first and the class last."""


@dataclass(frozen=True)
class CtcAccuracy(MeanMetric):
    """The share of texts that are read without a mistake.

    Attributes:
        blank: The class that stands for no letter; -1 is the last one.
        layout: Order of the output's axes: ``tnc`` (time, samples, classes), ``ntc`` or ``nct``; axes of length 1 beyond these three are left out.
        alphabet: The letters of the other classes in order, where labels are texts.
    """

    blank: int = 0
    layout: str = "tnc"
    alphabet: str = ""

    names: ClassVar[tuple[str, ...]] = ("ctc",)
    takes: ClassVar[Takes] = Takes.TIMES
    definition: ClassVar[str] = (
        "the share of samples whose text is right: the class with the highest score at each time, repetitions merged, then blanks dropped. Labels "
        "are texts (with alphabet=...) or classes, which -1 or the blank end"
    )
    source: ClassVar[str] = "best path decoding: Graves and others, Connectionist Temporal Classification, 2006"

    def __post_init__(self) -> None:
        problems = []
        if self.blank < -1:
            problems.append(f"blank is {self.blank}: expected a class, or -1 for the last one")
        if self.layout not in _LAYOUTS:
            problems.append(f"layout is '{self.layout}': expected {', '.join(_LAYOUTS)}")
        if len(set(self.alphabet)) != len(self.alphabet):
            problems.append(f"alphabet '{self.alphabet}' has a letter twice")
        if problems:
            raise EvaluatorError("metric 'ctc' has wrong parameters", problems)

    @property
    def truth(self) -> Truth:
        """The text."""
        return Truth.TEXT

    def terms(self, answers: Answers) -> Terms:
        """Returns for each sample whether it is right, and a hash of what was read."""
        scores = self._scores(one_output(self, answers.outputs), answers.count)
        blank = scores.shape[2] - 1 if self.blank == -1 else self.blank
        if blank >= scores.shape[2]:
            raise EvaluatorError(f"blank is class {blank}, the output has {scores.shape[2]} classes")
        best = scores.argmax(axis=2)
        new = np.ones(best.shape, np.bool_)
        new[:, 1:] = best[:, 1:] != best[:, :-1]
        rows = np.empty((answers.count, 2))
        for number, (classes, kept) in enumerate(zip(best, new & (best != blank), strict=True)):
            read = classes[kept]
            wanted = self._classes(answers.truths[number], blank, scores.shape[2], answers.first + number)
            rows[number] = np.array_equal(read, wanted), zlib.crc32(read.astype("<i4").tobytes())
        return Terms(answers.count, rows)

    def _scores(self, output: Array, count: int) -> Array:
        """Returns the scores as (samples, times, classes)."""
        extra = [axis for axis in range(output.ndim) if output.shape[axis] == 1][: max(output.ndim - 3, 0)]
        array = output.reshape([size for axis, size in enumerate(output.shape) if axis not in extra])
        if array.ndim == 3:
            array = array.transpose(_LAYOUTS[self.layout])
        if array.ndim != 3 or array.shape[0] != count or output.dtype.kind not in "fiu":
            raise EvaluatorError(
                f"expected scores with the axes {', '.join(self.layout)} (t time, n the {count} samples, c classes), found {output.shape}; "
                "another order is said as ctc:layout=ntc"
            )
        if np.isnan(array).any():
            raise EvaluatorError("the scores hold NaN")
        return array

    def _classes(self, truth: Any, blank: int, classes: int, sample: int) -> Array:
        """Returns the classes of a text."""
        if isinstance(truth, str):
            if len(self.alphabet) != classes - 1:
                raise EvaluatorError(
                    f"the labels are texts, so ctc needs the letters of the {classes - 1} classes beside the blank, as ctc:alphabet=0123456789; "
                    f"found {len(self.alphabet)}"
                )
            unknown = sorted(set(truth) - set(self.alphabet))
            if unknown:
                raise EvaluatorError(
                    f"sample {sample}: '{truth}' has {', '.join(map(repr, unknown))}, which the alphabet has not"
                )
            places = np.array([self.alphabet.index(letter) for letter in truth], np.int64)
            return places + (places >= blank)
        array = np.asarray(truth).reshape(-1)
        if array.dtype.kind not in "fiu" or (array != np.floor(array)).any():
            raise EvaluatorError(
                f"sample {sample}: the label is {array.dtype}, expected a text or the classes of its letters"
            )
        ends = np.flatnonzero((array < 0) | (array == blank))
        text = array[: ends[0]] if len(ends) else array
        if (text >= classes).any():
            raise EvaluatorError(f"sample {sample}: the label has class {text.max():g}, the output {classes} classes")
        return text.astype(np.int64)
