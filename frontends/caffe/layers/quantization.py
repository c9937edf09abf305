"""Quant and DeQuant of a deploy model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, WrongLayerError, reads, reads_with_shapes
from nuqconv.frontends.caffe.weights import blob_array
from nuqconv.ir import Array
from nuqconv.ir.ops import Dequantize, Quantize, Shape
from nuqconv.ir.ops.quantization import MOST_SHIFT

__all__: list[str] = []


@reads(Quantize, "Quant")
def read_quant(layer: Any) -> Reading:
    """Reads ``quant_param``; its scale is the reciprocal of the step size, its offset one signed byte."""
    param = layer.quant_param
    if len(param.offset) != 1 or not param.scale > 0:
        raise CannotReadError("quant_param needs a positive scale and an offset of one byte")
    return Reading(Quantize(param.scale, int.from_bytes(param.offset, "little", signed=True)))


@reads_with_shapes(Dequantize, "DeQuant")
def read_dequant(layer: Any, shapes: Sequence[Shape | None]) -> Reading:
    """Step sizes and shifts are in the blob: one uint64 for each channel, or one for all."""
    del layer
    shape = shapes[0] if shapes else None
    channels = shape[1] if shape is not None and len(shape) > 1 else None

    def of_channels(found: Array) -> Array:
        return found if channels is None or found.size != 1 else np.repeat(found, channels)

    def by_blobs(blobs: Sequence[Any]) -> Reading:
        if len(blobs) == _FAKE_QUANT_BLOBS:
            raise WrongLayerError(
                "is of a fake_quant model that only the original's own Caffe runs; read its deploy model"
            )
        return Reading(Dequantize(_shifts(blobs, of_channels)), (1,), lambda packed: of_channels(step_sizes(packed)))

    return Reading(Dequantize(), (1,), by_blobs=by_blobs)


_FAKE_QUANT_BLOBS = 3


def step_sizes(packed: Array) -> Array:
    """Unpacks a DeQuant blob: bits 31..0 the float32 step size, 39..32 the shift, 47..40 the weight offset.

    Args:
        packed: uint64 (C,).

    Returns:
        float32 (C,).

    Raises:
        CannotReadError: The blob holds no uint64, a weight offset that is not 0, or shifts that the device does not have.
    """
    if packed.dtype != np.uint64:
        raise CannotReadError(f"a blob of {packed.dtype} where uint64 is expected")
    if (packed >> np.uint64(40)).any():
        raise CannotReadError("a weight offset that is not 0")
    shifts = packed >> np.uint64(32)
    if shifts.any() and (not shifts.all() or shifts.max() > MOST_SHIFT):
        found = ", ".join(map(str, np.unique(shifts).tolist()[:8]))
        raise CannotReadError(f"shifts of {found} bits; either all are 0 or all are 1 to {MOST_SHIFT}")
    return packed.astype("<u4").view("<f4")


def _shifts(blobs: Sequence[Any], of_channels: Callable[[Array], Array]) -> tuple[int, ...]:
    """Returns the shifts in the blobs of a DeQuant; none where there are no sound ones, which `step_sizes` says."""
    try:
        (packed,) = (blob_array(blob, 1) for blob in blobs)
        step_sizes(packed)
    except (ValueError, ModelError, CannotReadError):
        return ()
    shifts = packed >> np.uint64(32)
    return tuple(of_channels(shifts).tolist()) if shifts.any() else ()
