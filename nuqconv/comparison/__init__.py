"""Parts of `nuqconv.compare`: the measures, the likely causes and the report."""

from __future__ import annotations

from nuqconv.comparison.measure import compare_blob
from nuqconv.comparison.report import BlobComparison, CompareReport, Divergence
from nuqconv.comparison.tolerance import Tolerance

__all__ = [
    "BlobComparison",
    "CompareReport",
    "Divergence",
    "Tolerance",
    "compare_blob",
]
