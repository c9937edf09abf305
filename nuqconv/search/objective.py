"""What a search is for: which states may be the result, and which of them is the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nuqconv.errors import SearchError
from nuqconv.quantize.plan import Plan, Precision
from nuqconv.search.trial import Trial

__all__ = ["NearestMetric", "Objective", "SmallestBytes"]


class Objective(Protocol):
    """What a search is for."""

    def rank(self, trial: Trial, original: float) -> tuple[float, ...] | None:
        """Return what trials are compared by, smaller is better; None if the trial cannot be the result.

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
        """Return size and number of float layers; see `Objective.rank`."""
        if not trial.accepted or not self._may_be_result(trial.plan):
            return None
        return (trial.bytes, float(len(trial.float_layers)))

    def _may_be_result(self, plan: Plan) -> bool:
        forms = [layer.precision for layer in plan.values()]
        limit = len(forms) if self.max_layers is None else self.max_layers
        return forms.count(Precision.FLOAT) < len(forms) and forms.count(Precision.NUQ) <= limit


@dataclass(frozen=True)
class NearestMetric:
    """Plans of at most a size, that whose metric is nearest to the original's first; those that the evaluator accepts go before all others.

    Attributes:
        max_bytes: The size of all layers of the search space together.

    Raises:
        SearchError: `max_bytes` is not positive.
    """

    max_bytes: float

    def __post_init__(self) -> None:
        if not self.max_bytes > 0:
            raise SearchError(f"max_bytes: expected a positive number, found {self.max_bytes!r}")

    def rank(self, trial: Trial, original: float) -> tuple[float, ...] | None:
        """Return whether it is refused, the distance of the metric, and the size; see `Objective.rank`."""
        if trial.bytes > self.max_bytes:
            return None
        return (float(not trial.accepted), abs(trial.metric - original), trial.bytes)
