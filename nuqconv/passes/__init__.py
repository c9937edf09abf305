"""Graph -> Graph."""

from __future__ import annotations

from nuqconv.passes.fold import FoldResult, fold_affine

__all__ = ["FoldResult", "fold_affine"]
