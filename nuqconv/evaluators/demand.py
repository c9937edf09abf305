"""What is demanded of a quantized model's metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nuqconv.errors import EvaluatorError
from nuqconv.search.metrics import Metric

__all__ = ["LARGE_DROP", "Demand"]

LARGE_DROP = 0.2
"""A loss of a share from here on is mostly a number of percent that was meant."""


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

    @classmethod
    def of(
        cls,
        max_drop: float | str | None = None,
        max_error: float | str | None = None,
        satisfied: Callable[[float, float], bool] | None = None,
    ) -> Demand:
        """Returns the demand of numbers or texts; ``1%`` is 0.01.

        Raises:
            EvaluatorError: A text is no number, or there is not exactly one rule.
        """
        return cls(_number("max_drop", max_drop), _number("max_error", max_error), satisfied)

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


def _number(name: str, value: float | str | None) -> float | None:
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = math.nan
    if not found >= 0:
        raise EvaluatorError(f"{name} is '{value}', expected a number from 0 on, as 0.01 or 1%")
    return found
