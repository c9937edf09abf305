"""What a user should know of the data that a search is judged and calibrated on."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nuqconv.evaluators.demand import LARGE_DROP
from nuqconv.evaluators.ready_made import BatchEvaluator
from nuqconv.search.metrics import parse_metric
from nuqconv.search.metrics.base import MeanMetric

__all__ = ["data_notes"]


def data_notes(evaluator: object) -> tuple[str, ...]:
    """Returns what is to be said of an evaluator's data and demand; nothing of an evaluator of the user's own, whose data are not known."""
    return tuple(_notes(evaluator)) if isinstance(evaluator, BatchEvaluator) else ()


def _notes(evaluator: BatchEvaluator) -> Iterator[str]:
    samples = len(evaluator.data)
    if samples == 1:
        yield "the metric is measured on one sample"
    if evaluator.calibration is evaluator.data:
        yield (
            "calibrated on the evaluation data themselves, so that the ranges fit these samples; data of their own (calibration=, --calibration) "
            "would say more"
        )
    drop = evaluator.demand.max_drop
    metric = parse_metric(evaluator.metric) if isinstance(evaluator.metric, str) else None
    if drop is None or metric is None or not metric.share or not math.isfinite(drop):
        return
    if drop >= LARGE_DROP:
        yield f"max_drop {drop:g} lets {100 * drop:g} percentage points of {metric.text} go"
    # A mean of rights and wrongs moves in steps of one sample.
    if isinstance(metric, MeanMetric) and not metric.tolerance and 0 < drop < 1 / samples:
        yield f"max_drop {drop:g} is finer than one of the {samples} samples ({1 / samples:.3g}): not one of them may be lost"
