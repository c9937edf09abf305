"""The quantizer: how a float becomes an 8-bit integer, and back.

Source: decision D2 in ``docs/decisions.md``. All arithmetic is float32 and multiplies by the reciprocal of the scale, because that is
what a deploy model's Quant layer stores and what Caffe's Power layer computes; every part of the package rounds with these functions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nuqconv.errors import QuantizationError

__all__ = ["INT8_MAX", "INT8_MIN", "SCALE_MAX", "SCALE_MIN", "dequantize", "quantize", "reciprocal"]

INT8_MIN = -128
INT8_MAX = 127

SCALE_MIN = 2.0**-126
"""Smallest scale: the smallest normal float32, whose reciprocal is still finite."""

SCALE_MAX = 2.0**126
"""Largest scale: its reciprocal is still a normal float32, so no flush-to-zero mode can turn it into 0."""


def reciprocal(scale: float | np.floating) -> np.float32:
    """Returns what a Quant layer stores for a scale: ``float32(1) / float32(scale)``.

    Args:
        scale: Step size of the quantized value, in units of the float tensor per integer step.

    Returns:
        The float32 reciprocal, a normal positive number.

    Raises:
        QuantizationError: The scale is not finite, not positive, or it or its reciprocal is no normal float32.
    """
    with np.errstate(over="ignore"):
        rounded = np.float32(scale)
    if not SCALE_MIN <= rounded <= SCALE_MAX:
        raise QuantizationError(
            f"a scale must be a float32 in [{SCALE_MIN:g}, {SCALE_MAX:g}], found {scale!r}; "
            "calibrate with data of ordinary magnitude or skip the layer"
        )
    inverse: np.float32 = np.float32(1.0) / rounded
    return inverse


def _checked_offset(offset: int | np.integer) -> np.float32:
    if not INT8_MIN <= offset <= INT8_MAX:
        raise QuantizationError(f"an offset must lie in [{INT8_MIN}, {INT8_MAX}], found {offset!r}")
    shift: np.float32 = np.float32(offset)
    return shift


def quantize(x: ArrayLike, scale: float | np.floating, offset: int | np.integer) -> NDArray[np.int8]:
    """Quantize floats: ``clip(rint(x * reciprocal(scale)) + offset, -128, 127)`` with ties to even (D2).

    Args:
        x: Floats of any shape, taken as float32. Infinities saturate.
        scale: Step size, see `reciprocal`.
        offset: The integer that stands for 0.0, in [-128, 127].

    Returns:
        An int8 array of the shape of ``x``.

    Raises:
        QuantizationError: ``x`` holds a NaN, or scale or offset is out of range.
    """
    inverse, shift = reciprocal(scale), _checked_offset(offset)
    values = np.asarray(x, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):
        steps = np.asarray(np.multiply(values, inverse), dtype=np.float32)
    if steps.size and np.isnan(steps.min()):
        raise QuantizationError(
            f"cannot quantize {int(np.isnan(steps).sum())} NaN among {steps.size} values; look for the layer that produces NaN"
        )
    np.rint(steps, out=steps)
    steps += shift
    np.clip(steps, INT8_MIN, INT8_MAX, out=steps)
    return steps.astype(np.int8)


def dequantize(q: NDArray[np.int8], scale: float | np.floating, offset: int | np.integer) -> NDArray[np.float32]:
    """Give back the floats that quantized values stand for: ``(q - offset) * scale`` in float32 (D2).

    Args:
        q: Quantized values, int8, any shape.
        scale: Step size, see `reciprocal`.
        offset: The integer that stands for 0.0, in [-128, 127].

    Returns:
        A float32 array of the shape of ``q``; a product beyond float32 is an infinity.

    Raises:
        QuantizationError: Scale or offset is out of range.
    """
    reciprocal(scale)
    values = np.asarray(np.subtract(q, _checked_offset(offset), dtype=np.float32))
    with np.errstate(over="ignore", under="ignore"):
        values *= np.float32(scale)
    return values
