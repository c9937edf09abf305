"""What a search is for: which states may be the result, and which of them is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from nuqconv.errors import SearchError
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.search.trial import Trial

__all__ = ["NearestMetric", "Objective", "SmallestBytes", "pareto_front"]


class Objective(Protocol):
    """What a search is for."""

    def allows(self, plan: Plan, size: float) -> bool:
        """Returns whether a plan of a size in bytes can be the result, whatever the evaluator says of it."""

    def rank(self, trial: Trial, original: float) -> tuple[float, ...] | None:
        """Returns what trials are compared by, smaller is better; None if the trial cannot be the result.

        Args:
            trial: A trial.
            original: Metric of the original model.
        """


@dataclass(frozen=True)
class SmallestBytes:
    """Accepted plans with at least one quantized layer, the smallest first; of equal ones that with the fewest layers in float.

    Attributes:
        max_layers: How many layers may have a codebook; None for any number.

    Raises:
        SearchError: `max_layers` is no positive integer.
    """

    max_layers: int | None = None

    def __post_init__(self) -> None:
        if self.max_layers is not None and (type(self.max_layers) is not int or self.max_layers < 1):
            raise SearchError(f"max_layers: expected a positive integer or None, found {self.max_layers!r}")

    def rank(self, trial: Trial, original: float) -> tuple[float, ...] | None:  # noqa: ARG002  (the protocol's)
        """Returns size and number of float layers; see `Objective.rank`."""
        if not trial.accepted or not self.allows(trial.plan, trial.bytes):
            return None
        return (trial.bytes, float(len(trial.float_layers)))

    def allows(self, plan: Plan, size: float) -> bool:  # noqa: ARG002  (the protocol's)
        """Returns whether a layer is quantized and no more have a codebook than may; see `Objective.allows`."""
        forms = [layer.precision for layer in plan.values()]
        limit = len(forms) if self.max_layers is None else self.max_layers
        return forms.count(Precision.FLOAT) < len(forms) and forms.count(Precision.NUQ) <= limit


@dataclass(frozen=True)
class NearestMetric:
    """Plans of at most a size, that whose metric is nearest to the original's first; those that the evaluator accepts go before all others.

    Attributes:
        max_bytes: The size of all parameters of the model.

    Raises:
        SearchError: `max_bytes` is not positive.
    """

    max_bytes: float

    def __post_init__(self) -> None:
        if not self.max_bytes > 0:
            raise SearchError(f"max_bytes: expected a positive number, found {self.max_bytes!r}")

    def rank(self, trial: Trial, original: float) -> tuple[float, ...] | None:
        """Returns whether it is refused, the distance of the metric, and the size; see `Objective.rank`."""
        if not self.allows(trial.plan, trial.bytes):
            return None
        return self.place(trial.metric, original, trial.bytes, accepted=trial.accepted)

    def allows(self, plan: Plan, size: float) -> bool:  # noqa: ARG002  (the protocol's)
        """Returns whether it is small enough; see `Objective.allows`."""
        return size <= self.max_bytes

    def place(self, metric: float, original: float, size: float, *, accepted: bool) -> tuple[float, ...]:
        """Returns what plans that are small enough are compared by, smaller is better."""
        return (float(not accepted), abs(metric - original), size)


def pareto_front(trials: Iterable[Trial], original: float) -> tuple[Trial, ...]:
    """Returns the trials that no other one beats in size or distance of the metric without losing in the other; see `SearchOutcome`."""
    front: list[Trial] = []
    nearest = math.inf
    for trial in sorted(trials, key=lambda item: (item.bytes, abs(item.metric - original), item.number)):
        distance = abs(trial.metric - original)
        if distance < nearest:
            front.append(trial)
            nearest = distance
    return tuple(front)
