"""How sure a metric is: intervals from samples drawn again.

Units are drawn with replacement, as many as there are, and the metric is taken of each draw (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13: the percentile interval). For a difference of two nets both are measured on the same draw, which takes out what the
samples have in common (Koehn, Statistical Significance Tests for Machine Translation Evaluation, 2004).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array
from nuqconv.search.metrics.base import Metric, Terms

__all__ = ["DRAWS", "Interval", "difference_interval", "value_interval"]

DRAWS = 1000
_AT_ONCE = 1 << 17
"""Numbers of a part of all weights that is held at once."""


@dataclass(frozen=True)
class Interval:
    """Where a number lies.

    Attributes:
        estimate: The number itself.
        low: Lower end of the interval.
        high: Upper end.
        confidence: The share of draws within.
        units: How many units there were to draw: samples, or pairs of them.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    units: int

    @property
    def settled(self) -> bool:
        """Whether 0 is outside."""
        return self.low > 0 or self.high < 0


def value_interval(
    metric: Metric, terms: Terms, *, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Returns the interval of a metric; see `difference_interval`."""
    found = np.concatenate([metric.values(terms, weights) for weights in _weights(terms.units, draws, seed)])
    return _interval(metric.value(terms), found, confidence, terms.units)


def difference_interval(
    metric: Metric, original: Terms, other: Terms, *, confidence: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """Returns the interval of the difference ``other - original`` of a metric of two nets on the same samples.

    Args:
        metric: The metric.
        original: Terms of the original net.
        other: Terms of the other one.
        confidence: The share of draws within the interval.
        draws: How often the samples are drawn.
        seed: Of the random numbers; the same seed gives the same interval.

    Raises:
        EvaluatorError: The terms are not of the same samples, or hold nothing to measure.
    """
    if original.units != other.units:
        raise EvaluatorError(f"the metrics are of {original.units} and {other.units} samples, expected the same ones")
    found = np.concatenate(
        [
            metric.values(other, weights) - metric.values(original, weights)
            for weights in _weights(original.units, draws, seed)
        ]
    )
    return _interval(metric.value(other) - metric.value(original), found, confidence, original.units)


def _interval(estimate: float, found: Array, confidence: float, units: int) -> Interval:
    # A draw may hold nothing to measure, as pictures without objects.
    found = found[np.isfinite(found)]
    if not found.size:
        return Interval(estimate, estimate, estimate, confidence, units)
    outside = (1 - confidence) / 2
    low, high = np.quantile(found, [outside, 1 - outside])
    return Interval(estimate, float(low), float(high), confidence, units)


def _weights(units: int, draws: int, seed: int) -> Iterator[Array]:
    """Yields how often each unit is drawn, float64 (some draws, units), until all draws are made."""
    random = np.random.default_rng(seed)
    most = max(1, _AT_ONCE // units)
    for start in range(0, draws, most):
        count = min(most, draws - start)
        drawn = random.integers(0, units, (count, units))
        drawn += units * np.arange(count)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units).astype(np.float64)
