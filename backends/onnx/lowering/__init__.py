"""How each operator is written in ONNX, one module for each family of operators."""

from __future__ import annotations

from nuqconv.backends.onnx.lowering.registry import lowering_for
from nuqconv.ir.families import import_families

__all__ = ["lowering_for"]

import_families(__name__)
