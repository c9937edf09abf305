"""Ready-made evaluators: batches of data and a metric, run in one of the runtimes."""

from __future__ import annotations

from nuqconv.evaluators.ready_made import BatchEvaluator, CaffeEvaluator, OnnxRuntimeEvaluator

__all__ = ["BatchEvaluator", "CaffeEvaluator", "OnnxRuntimeEvaluator"]
