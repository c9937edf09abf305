"""Quant and DeQuant of a deploy model."""

from __future__ import annotations

from typing import Any

import numpy as np

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir import Array
from nuqconv.ir.ops import Dequantize, Quantize

__all__: list[str] = []


@reads(Quantize, "Quant")
def read_quant(layer: Any) -> Reading:
    """Reads ``quant_param``; its scale is the reciprocal of the step size, its offset one signed byte."""
    param = layer.quant_param
    if len(param.offset) != 1 or not param.scale > 0:
        raise CannotReadError("quant_param needs a positive scale and an offset of one byte")
    return Reading(Quantize(param.scale, int.from_bytes(param.offset, "little", signed=True)))


@reads(Dequantize, "DeQuant")
def read_dequant(layer: Any) -> Reading:
    """The step sizes are in the blob: one uint64 for each channel."""
    del layer
    return Reading(Dequantize(), (1,), step_sizes)


def step_sizes(packed: Array) -> Array:
    """Unpacks a DeQuant blob: bits 31..0 the float32 step size, 39..32 the shift, 47..40 the weight offset.

    Args:
        packed: uint64 (C,).

    Returns:
        float32 (C,).

    Raises:
        CannotReadError: The blob holds no uint64, or a shift or an offset that is not 0.
    """
    if packed.dtype != np.uint64:
        raise CannotReadError(f"a blob of {packed.dtype} where uint64 is expected")
    if (packed >> np.uint64(32)).any():
        raise CannotReadError("a shift or a weight offset that is not 0")
    return packed.astype("<u4").view("<f4")
