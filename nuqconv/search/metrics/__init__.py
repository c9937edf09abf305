"""Measures of a network's outputs."""

from __future__ import annotations

from nuqconv.search.metrics.arrays import output_error, sqnr_db, top1, topk
from nuqconv.search.metrics.truth import Boxes

__all__ = ["Boxes", "output_error", "sqnr_db", "top1", "topk"]
