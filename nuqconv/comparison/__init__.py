"""Parts of `nuqconv.compare`: the runtimes, the measures, the likely causes and the report."""

from __future__ import annotations

from nuqconv.comparison.measure import Tolerance, compare_blob
from nuqconv.comparison.report import BlobComparison, CompareReport, Divergence
from nuqconv.runtimes.sides import RUNTIMES, Side, make_side

__all__ = [
    "RUNTIMES",
    "BlobComparison",
    "CompareReport",
    "Divergence",
    "Side",
    "Tolerance",
    "compare_blob",
    "make_side",
]
