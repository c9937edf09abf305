"""What every metric has: its facts, the terms that it takes from each batch, and how its value comes from the terms."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array

__all__ = ["Answers", "MeanMetric", "Metric", "Outputs", "Takes", "Terms", "Truth", "one_output"]

Outputs = Mapping[str, Array]


class Truth(Enum):
    """What a metric must know of each sample; the value says it in words."""

    NONE = "nothing"
    CLASS = "the number of its class"
    BOXES = "its objects (Boxes)"
    LABEL_MAP = "the class of each pixel"
    PICTURE = "the picture that should come out"
    TEXT = "its text, or the classes of its letters"


class Takes(Enum):
    """The outputs that a metric can take; the value says it in words."""

    FIXED = "outputs with a fixed number of entries for each sample"
    TIMES = "scores at each of any number of times"
    DETECTIONS = "the boxes of a DetectionOutput layer, shape (1, 1, found, 7)"


@dataclass(frozen=True)
class Answers:
    """What a net answered to some samples.

    Attributes:
        outputs: Blob name -> array.
        count: How many samples these are.
        truths: One entry for each sample, or None.
        reference: What the metric keeps of the original net's outputs for the same samples (`Metric.keep`); empty where it keeps nothing.
        first: How many samples came before, for messages.
    """

    outputs: Outputs
    count: int
    truths: Any = None
    reference: Outputs = field(default_factory=dict)
    first: int = 0


@dataclass(frozen=True)
class Terms:
    """What a metric keeps of the samples: its value is a function of these and of how often each unit counts.

    Attributes:
        units: Number of things that are judged: samples, or pairs of them.
        rows: The terms, (rows, columns) or (rows,) with named fields.
        owners: For each row the unit that it belongs to, int64 (rows,), ascending; None where row i is that of unit i.
    """

    units: int
    rows: Array
    owners: Array | None = None

    @classmethod
    def joined(cls, parts: Sequence[Terms]) -> Terms:
        """Returns the terms of all units, in this order."""
        if len(parts) == 1:
            return parts[0]
        rows = np.concatenate([part.rows for part in parts])
        starts = np.cumsum([0, *(part.units for part in parts)])
        if all(part.owners is None for part in parts):
            return cls(int(starts[-1]), rows)
        owners = [part.unit_of_row + start for part, start in zip(parts, starts[:-1], strict=True)]
        return cls(int(starts[-1]), rows, np.concatenate(owners))

    @property
    def unit_of_row(self) -> Array:
        """The unit of each row, int64 (rows,)."""
        return np.arange(self.units) if self.owners is None else self.owners


@dataclass(frozen=True)
class Metric(ABC):
    """A measure of a net's outputs; a value, which holds parameters and no data.

    Its fields are the parameters that its text can set, as in ``psnr:border=4,y``.

    Attributes:
        names: What it is called; the first name is the one that is shown. With `numbered`, a number follows and is the parameter ``k``.
        numbered: See `names`.
        higher_is_better: The direction. A loss against the original net (``max_drop``) is demanded of a metric where higher is better, a limit
            (``max_error``) of one where lower is better.
        share: Whether the values are shares, from 0 to 1.
        takes: Which outputs it can take.
        several: Whether it judges all outputs of a net, and not just one.
        group: How many samples in a row are judged together.
        tolerance: Terms that differ by no more count as the same, relative to those above 1; 0 for terms that are counts.
        definition: What it is, in a sentence.
        source: Where the definition is published.
    """

    names: ClassVar[tuple[str, ...]]
    numbered: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = True
    share: ClassVar[bool] = True
    takes: ClassVar[Takes] = Takes.FIXED
    several: ClassVar[bool] = False
    group: ClassVar[int] = 1
    tolerance: ClassVar[float] = 0.0
    definition: ClassVar[str]
    source: ClassVar[str]

    @property
    def truth(self) -> Truth:
        """What it must know of each sample."""
        return Truth.NONE

    @property
    def against_float(self) -> bool:
        """Whether it holds the outputs against those of the original net."""
        return False

    @cached_property
    def text(self) -> str:
        """The text that `parse_metric` makes this metric of, without parameters that are at their defaults."""
        name, words = self.names[0], []
        for parameter in fields(self):
            value = getattr(self, parameter.name)
            if self.numbered and parameter.name == "k":
                name += str(value)
            elif value is True:
                words.append(parameter.name)
            elif value != parameter.default:
                words.append(f"{parameter.name}={value:g}" if isinstance(value, float) else f"{parameter.name}={value}")
        return f"{name}:{','.join(words)}" if words else name

    def keep(self, outputs: Outputs, count: int) -> Outputs:
        """Returns what is needed of the original net's outputs, as small as it can be; only where `against_float`.

        Args:
            outputs: The outputs for a batch.
            count: Samples in it.
        """
        del count
        return outputs

    @abstractmethod
    def terms(self, answers: Answers) -> Terms:
        """Returns the terms of some samples, whole groups of them.

        Raises:
            EvaluatorError: Outputs or truths are not what the metric takes.
        """

    @abstractmethod
    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the metric for several weightings of the units.

        Args:
            terms: The terms of all units.
            weights: How often each unit counts, float64 (weightings, units), whole numbers.

        Returns:
            float64 (weightings,); NaN where a weighting leaves nothing to measure.
        """

    def value(self, terms: Terms) -> float:
        """Returns the metric.

        Raises:
            EvaluatorError: The samples hold nothing to measure.
        """
        found = float(self.values(terms, np.ones((1, terms.units)))[0])
        if math.isnan(found):
            raise EvaluatorError(f"metric '{self.text}' has no value: {self.why_none()}")
        return found

    def why_none(self) -> str:
        """Returns why samples may have no value."""
        return "there are no samples"

    def differing(self, one: Terms, other: Terms) -> Array:
        """Returns for each unit whether the terms of two nets differ, bool (units,)."""
        first, second = (self.by_unit(terms).astype(np.float64) for terms in (one, other))
        if first.shape != second.shape:
            raise EvaluatorError(f"expected the same samples, found terms of {first.shape} and {second.shape}")
        far = np.abs(first - second) > self.tolerance * np.maximum(1, np.abs(first))
        return np.asarray(far.any(axis=1))

    def by_unit(self, terms: Terms) -> Array:
        """Returns the numbers by which units are compared, (units, columns)."""
        return terms.rows

    def shown(self, value: float) -> str:
        """Returns a value as text for people."""
        return f"{value:.5g}"


class MeanMetric(Metric):
    """A mean over the units: the first column of the terms. Further columns say what the net answered."""

    def values(self, terms: Terms, weights: Array) -> Array:
        """Returns the weighted means."""
        with np.errstate(invalid="ignore"):
            found: Array = (weights @ terms.rows[:, 0]) / weights.sum(axis=1)
        return found


def one_output(metric: Metric, outputs: Outputs) -> Array:
    """Returns the only output.

    Raises:
        EvaluatorError: There are several.
    """
    if len(outputs) != 1:
        raise EvaluatorError(
            f"metric '{metric.text}' needs one output, the net has {', '.join(outputs)}; choose one with outputs= (--outputs)"
        )
    return next(iter(outputs.values()))
