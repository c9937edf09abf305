"""How each operator is computed by stock layers, one module for each family of operators."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.registry import ELSEWHERE, EMITTERS, REFUSALS
from nuqconv.ir.families import import_families

__all__ = ["ELSEWHERE", "EMITTERS", "REFUSALS", "LayerBuilder"]

import_families(__name__)
