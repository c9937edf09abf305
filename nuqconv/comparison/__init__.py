"""Parts of `nuqconv.compare`: the measures, the likely causes and the report."""

from __future__ import annotations

from nuqconv.comparison.measure import Tolerance, compare_blob
from nuqconv.comparison.report import BlobComparison, CompareReport, Divergence

__all__ = [
    "BlobComparison",
    "CompareReport",
    "Divergence",
    "Tolerance",
    "compare_blob",
]
