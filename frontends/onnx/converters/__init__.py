"""How each ONNX operator is read, one module for each family of operators."""

from __future__ import annotations

from nuqconv.frontends.onnx.registry import claimed, converter_for
from nuqconv.ir.families import import_families

__all__ = ["claimed", "converter_for"]

import_families(__name__)
