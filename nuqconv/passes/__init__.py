"""Graph -> Graph."""

from __future__ import annotations

from nuqconv.passes.fold import FoldResult, fold_affine
from nuqconv.passes.layout import straighten_layout
from nuqconv.passes.pads import absorb_pads
from nuqconv.passes.rows import rows_as_matrix
from nuqconv.passes.stock import collapse_quantize

__all__ = ["FoldResult", "absorb_pads", "collapse_quantize", "fold_affine", "rows_as_matrix", "straighten_layout"]
