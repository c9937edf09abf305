"""How sure the metric of a result is: the interval of its difference to the original's, where the evaluator can tell."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

from nuqconv.errors import NuqconvError
from nuqconv.job.evaluation import Original
from nuqconv.quantize.plan import Plan
from nuqconv.search.journal import Journal
from nuqconv.search.metrics import Interval

__all__ = ["metric_interval"]

_LOG = logging.getLogger(__name__)


def metric_interval(
    original: Original, plan: Plan, write: Callable[[Plan], tuple[Path, Path]], journal: Journal | None
) -> tuple[Interval | None, tuple[str, ...]]:
    """Returns the interval of the difference between a plan's metric and the original's.

    The plan's model is evaluated once more, unless the journal knows the interval. A failure costs the interval and not the result.

    Args:
        original: The original model and the evaluator.
        plan: The plan.
        write: Writes the plan's model.
        journal: Where the interval is kept.

    Returns:
        The interval, or None where the evaluator offers none; and a note if it failed.
    """
    if not original.evaluator.checked.tells_interval:
        return None, ()
    name = f"interval {plan.digest()}"
    known = None if journal is None else _parsed(journal.fact(name))
    if known is not None:
        return known, ()
    try:
        found = original.show().interval(*write(plan), original.batch_num)
    except NuqconvError as error:
        _LOG.warning("the interval of the metric could not be found: %s", error)
        return None, (f"how sure the metric is could not be found out: {error}",)
    if found is not None and journal is not None:
        journal.set_facts({name: json.dumps(asdict(found))})
    return found, ()


def _parsed(text: str | None) -> Interval | None:
    """Returns an interval of the journal; one that is none is found out again."""
    try:
        found = Interval(**json.loads(text or "null"))
    except (TypeError, ValueError):
        return None
    numbers = [getattr(found, field.name) for field in fields(found)]
    return found if all(isinstance(value, int | float) and math.isfinite(value) for value in numbers) else None
