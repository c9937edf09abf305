"""What an evaluator says of itself, for reports; nothing that a search does depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from nuqconv.errors import EvaluatorError

__all__ = ["EvaluatorFacts", "read_facts"]


@dataclass(frozen=True)
class EvaluatorFacts:
    """What an evaluator measures and demands, on which data.

    Attributes:
        metric: Name of the metric, as ``top1``.
        demand: What the metric of a quantized model must be, in words.
        better: Which metrics are better; None if that is not known.
        limit: The worst metric that is accepted, or None if that is not known.
        data: The data in words, or None.
        preparation: What is done with the data before the net sees them, or None.
        samples: How many samples are evaluated, or None.
        runtime: What runs the models, or None.
    """

    metric: str
    demand: str
    better: Literal["higher", "lower"] | None = None
    limit: float | None = None
    data: str | None = None
    preparation: str | None = None
    samples: int | None = None
    runtime: str | None = None


def read_facts(evaluator: Any, original: float) -> EvaluatorFacts:
    """Returns what an evaluator says of itself, and what can be said of any for the rest.

    Args:
        evaluator: Any evaluator; its ``report_facts(original_metric)``, if it has one, returns some of the fields of `EvaluatorFacts` by name.
        original: Metric of the original model.

    Raises:
        EvaluatorError: It raises, or returns something else; all faults are listed.
    """
    name = type(evaluator).__name__
    call = f"{name}.report_facts({original!r})"
    hook = getattr(evaluator, "report_facts", None)
    try:
        found = hook(original) if callable(hook) else None
    except Exception as error:
        raise EvaluatorError(f"{call} raised {type(error).__name__}: {error}") from error
    own = {} if found is None else found
    kinds = {field.name: field.type for field in fields(EvaluatorFacts)}
    if not isinstance(own, Mapping):
        raise EvaluatorError(f"{call} returned {own!r:.60}; it must return a mapping from names to texts or numbers")
    problems = [f"{key!r} is not known; known are {', '.join(kinds)}" for key in own if key not in kinds]
    problems += [
        f"{key}: {value!r:.60} is no {kind}"
        for key, value in own.items()
        if key in kinds and value is not None and not _fits(value, kind := str(kinds[key]))
    ]
    if problems:
        raise EvaluatorError(f"{call} returned what a report cannot show", problems)
    default = {"metric": f"{name}.eval_model", "demand": f"{name}.is_satisfied"}
    return EvaluatorFacts(**{**default, **{key: value for key, value in own.items() if value is not None}})


def _fits(value: object, kind: str) -> bool:
    if kind.startswith("Literal"):
        return value in ("higher", "lower")
    if kind.startswith("float"):
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124
    return isinstance(value, int if kind.startswith("int") else str)
