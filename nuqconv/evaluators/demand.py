"""What is demanded of a quantized model's metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nuqconv.errors import EvaluatorError
from nuqconv.search.metrics import Metric

__all__ = ["Demand"]


@dataclass(frozen=True)
class Demand:
    """Exactly one rule.

    Attributes:
        max_drop: For a metric where more is better: the loss that is allowed, in the metric's own unit.
        max_error: For a metric where less is better: the largest value that is allowed.
        satisfied: A predicate ``(original, new) -> bool`` instead of the two.

    Raises:
        EvaluatorError: There is no rule, or more than one.
    """

    max_drop: float | None = None
    max_error: float | None = None
    satisfied: Callable[[float, float], bool] | None = None

    def __post_init__(self) -> None:
        if sum(rule is not None for rule in (self.max_drop, self.max_error, self.satisfied)) != 1:
            raise EvaluatorError("give exactly one of max_drop, max_error and satisfied")

    def check_fits(self, metric: Metric) -> None:
        """Checks the rule against the metric's direction: a drop of an error would accept every model, a limit on an accuracy only bad ones.

        Raises:
            EvaluatorError: It is the wrong one.
        """
        wrong, right = ("max_error", "max_drop") if metric.higher_is_better else ("max_drop", "max_error")
        if getattr(self, wrong) is not None:
            raise EvaluatorError(f"metric '{metric.text}' goes with {right}, found {wrong}")

    def accepts(self, original: float, new: float) -> bool:
        """Says whether a model's metric is good enough beside the original's."""
        if self.satisfied is not None:
            return self.satisfied(original, new)
        if self.max_error is not None:
            return new <= self.max_error
        # A guard of a few float64 steps: 0.5016 - 0.01 comes out above 0.4916, which must be accepted.
        return new >= original - (self.max_drop or 0.0) - 1e-12 * abs(original)

    def facts(self, original: float) -> dict[str, Any]:
        """Returns what the rule is for a report: fields of `EvaluatorFacts`; nothing where it is a predicate of the user's own.

        Args:
            original: Metric of the original model.
        """
        rule = self.max_drop if self.max_error is None else self.max_error
        if rule is None:
            return {}
        better = "higher" if self.max_error is None else "lower"
        if not math.isfinite(rule):
            return {"demand": "any value", "better": better}
        if self.max_error is not None:
            return {"demand": f"at most {rule:g}", "limit": rule, "better": better}
        return {"demand": f"at most {rule:g} below the original", "limit": original - rule, "better": better}
