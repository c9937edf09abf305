"""InnerProduct."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import Reading, WrongLayerError, reads
from nuqconv.ir.ops import InnerProduct

__all__: list[str] = []


@reads(InnerProduct, "InnerProduct")
def read_inner_product(layer: Any) -> Reading:
    """Reads ``inner_product_param``."""
    param = layer.inner_product_param
    if param.num_output == 0:
        raise WrongLayerError("num_output must be positive")
    op = InnerProduct(param.num_output, axis=param.axis, transpose=param.transpose, bias_term=param.bias_term)
    return Reading(op, (2, 1) if param.bias_term else (2,))
