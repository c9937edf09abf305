"""Measures of a network's outputs: one table (`METRICS`), taken batch by batch (`Tally`), with intervals (`difference_interval`)."""

from __future__ import annotations

from nuqconv.search.metrics.arrays import output_error, sqnr_db, top1, topk
from nuqconv.search.metrics.base import Answers, Metric, Outputs, Takes, Terms, Truth
from nuqconv.search.metrics.bootstrap import Interval, difference_interval, value_interval
from nuqconv.search.metrics.function import FunctionTally, MetricFunction
from nuqconv.search.metrics.table import METRIC_NAMES, METRICS, metric_names, metric_shown, parse_metric
from nuqconv.search.metrics.tally import Tally
from nuqconv.search.metrics.truth import Boxes

__all__ = [
    "METRICS",
    "METRIC_NAMES",
    "Answers",
    "Boxes",
    "FunctionTally",
    "Interval",
    "Metric",
    "MetricFunction",
    "Outputs",
    "Takes",
    "Tally",
    "Terms",
    "Truth",
    "difference_interval",
    "metric_names",
    "metric_shown",
    "output_error",
    "parse_metric",
    "sqnr_db",
    "top1",
    "topk",
    "value_interval",
]
