"""Symmetric int8 weights and the int32 bias that goes with them.

Source: decisions D3 and D5 in ``docs/decisions.md``. The offset of weights is always 0, so an integer weight ``q`` stands for
``q * scale``; a scale belongs to one output channel or to the whole tensor.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nuqconv.errors import QuantizationError
from nuqconv.quantize.rounding import INT8_MAX, INT8_MIN, SCALE_MAX, SCALE_MIN

__all__ = [
    "bias_floor",
    "check_accumulator",
    "quantize_bias",
    "quantize_weights",
    "weight_importance",
    "weight_scales",
]

_Float = TypeVar("_Float", bound=np.floating)
_Scalar = TypeVar("_Scalar", bound=np.generic)

_INT32_MAX = 2**31 - 1
_INPUT_SPAN = 255
_BLOCK = 1 << 18


def _where(layer: str) -> str:
    return f"layer {layer!r}: " if layer else ""


def _by_channel(array: NDArray[_Scalar], channel_axis: int | None) -> NDArray[_Scalar]:
    """View an array as (channels, everything else), or as (1, everything) without a channel axis."""
    if channel_axis is None:
        return array.reshape(1, -1)
    moved = np.moveaxis(array, channel_axis, 0)
    return moved.reshape(moved.shape[0], math.prod(moved.shape[1:]))


def _spread(scales: NDArray[_Float], channel_axis: int | None, ndim: int) -> NDArray[_Float]:
    """Shape one value per channel so that it broadcasts against an array of ``ndim`` axes."""
    shape = [1] * ndim
    if channel_axis is not None:
        shape[channel_axis] = scales.size
    return scales.reshape(shape)


def weight_scales(
    weights: NDArray[np.floating],
    channel_axis: int | None,
    *,
    floor: NDArray[np.floating] | None = None,
    layer: str = "",
) -> NDArray[np.float32]:
    """Choose the step sizes of a layer's weights: ``max|w| / 127`` (D5).

    A channel of zeros takes the largest scale of its layer, or 1.0 when the layer is all zeros. A channel whose scale would be
    no normal float32 counts as one of zeros.

    Args:
        weights: Float weights of any shape.
        channel_axis: Axis of the output channels for one scale each, or None for one scale for the tensor.
        floor: Least scale for each output channel, from `bias_floor`; with one scale for the tensor the largest counts.
        layer: Name for error messages.

    Returns:
        Float32 scales > 0, shape (channels,) or (1,).

    Raises:
        QuantizationError: Weights are empty or not finite, or ``floor`` does not fit the channels.
    """
    if not weights.size:
        raise QuantizationError(f"{_where(layer)}no weights to quantize, shape {weights.shape}; skip the layer")
    rows = _by_channel(weights, channel_axis)
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1)).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(largest))
    if bad.size:
        raise QuantizationError(
            f"{_where(layer)}weights of output channel(s) {bad[:8].tolist()} hold NaN or infinity; repair the model or skip the layer"
        )
    scales = largest / INT8_MAX
    scales[scales < SCALE_MIN] = 0.0
    scales[scales == 0.0] = scales.max() or 1.0
    if floor is not None:
        least = np.asarray(floor, dtype=np.float64).reshape(-1)
        least = least.max(keepdims=True) if scales.size == 1 and least.size else least
        if least.shape != scales.shape:
            raise QuantizationError(f"{_where(layer)}{least.size} least scales for {scales.size} output channels")
        if not np.isfinite(least).all():
            raise QuantizationError(f"{_where(layer)}a least scale is not finite; look for NaN or infinity in the bias")
        np.maximum(scales, least, out=scales)
    if scales.max() > SCALE_MAX:
        raise QuantizationError(f"{_where(layer)}a weight scale of {scales.max():g} is out of range; skip the layer")
    rounded: NDArray[np.float32] = scales.astype(np.float32)
    return rounded


def quantize_weights(
    weights: NDArray[np.floating], scales: NDArray[np.float32], channel_axis: int | None, *, layer: str = ""
) -> NDArray[np.int8]:
    """Round weights to integers: ``clip(rint(w / scale), -128, 127)``, divided in float64, ties to even.

    With scales from `weight_scales` the result lies in [-127, 127].

    Args:
        weights: Float weights of any shape.
        scales: Step sizes, shape (channels,), or (1,) for the tensor.
        channel_axis: Axis of the output channels that ``scales`` runs along, or None for one scale.
        layer: Name for error messages.

    Returns:
        An int8 array of the shape of ``weights``, C-contiguous.

    Raises:
        QuantizationError: Weights are not finite, or the scales do not fit the channels or are not positive.
    """
    channels = 1 if channel_axis is None else weights.shape[channel_axis]
    if scales.shape != (channels,):
        raise QuantizationError(f"{_where(layer)}scales of shape {scales.shape} for {channels} output channel(s)")
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise QuantizationError(f"{_where(layer)}weight scales must be finite and > 0")
    quantized = np.empty(weights.shape, dtype=np.int8)
    steps = np.broadcast_to(_spread(scales, channel_axis, weights.ndim), weights.shape)
    rows = max(1, _BLOCK * weights.shape[0] // max(1, weights.size)) if weights.ndim else 1
    for start in range(0, weights.shape[0] if weights.ndim else 0, rows):
        block = np.divide(weights[start : start + rows], steps[start : start + rows], dtype=np.float64)
        if not np.isfinite(block).all():
            raise QuantizationError(f"{_where(layer)}weights hold NaN or infinity; repair the model or skip the layer")
        np.rint(block, out=block)
        np.clip(block, INT8_MIN, INT8_MAX, out=block)
        quantized[start : start + rows] = block
    return quantized


def bias_floor(bias: NDArray[np.floating], scale_d: float) -> NDArray[np.float32]:
    """Give the least weight scales that keep the int32 bias below 2**30: ``|bias| / (2**30 * scale_d)`` (D5).

    Args:
        bias: Float bias, shape (channels,), in units of the layer's output.
        scale_d: Step size of the layer's input.

    Returns:
        Float32 scales >= 0, shape (channels,).
    """
    with np.errstate(over="ignore"):
        return (np.abs(np.asarray(bias, dtype=np.float64).reshape(-1)) / (2.0**30 * scale_d)).astype(np.float32)


def quantize_bias(
    bias: NDArray[np.floating], scale_d: float, scales_w: NDArray[np.float32], layer: str
) -> NDArray[np.int32]:
    """Express a bias in steps of the accumulator: ``rint(bias / (scale_w * scale_d))`` in float64, ties to even.

    Args:
        bias: Float bias, shape (channels,).
        scale_d: Step size of the layer's input.
        scales_w: Step sizes of the weights, shape (channels,) or (1,).
        layer: Name for error messages.

    Returns:
        Int32 bias, shape (channels,).

    Raises:
        QuantizationError: A value is not finite or does not fit int32; the message names layer and channel.
    """
    values = np.asarray(bias, dtype=np.float64).reshape(-1)
    if scales_w.shape not in {(1,), values.shape}:
        raise QuantizationError(f"{_where(layer)}{scales_w.size} weight scales for {values.size} bias values")
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(values / (scales_w.astype(np.float64) * float(np.float32(scale_d))))
    bad = np.flatnonzero(~(np.abs(steps) <= _INT32_MAX))
    if bad.size:
        channel = int(bad[0])
        raise QuantizationError(
            f"{_where(layer)}the bias {values[channel]:g} of output channel {channel} is {steps[channel]:g} steps of "
            f"scale_w * scale_d, beyond int32 ({bad.size} such channel(s)); skip the layer",
        )
    return steps.astype(np.int32)


def check_accumulator(
    q_weights: NDArray[np.int8], q_bias: NDArray[np.int32] | None, channel_axis: int, layer: str
) -> None:
    """Make sure that no input can overflow the int32 accumulator of a layer.

    The input of a quantized layer is ``u = q - offset`` with ``|u| <= 255`` (D3), so the largest accumulator of an output channel is
    ``255 * sum|w| + |bias|``.

    Args:
        q_weights: Integer weights, int8.
        q_bias: Integer bias, shape (channels,), or None.
        channel_axis: Axis of the output channels of ``q_weights``, also where one scale serves the whole tensor.
        layer: Name for error messages.

    Raises:
        QuantizationError: A channel could reach 2**31; the message names layer and channel.
    """
    rows = _by_channel(q_weights, channel_axis)
    worst = np.empty(len(rows), np.int64)
    step = max(1, _BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        worst[part] = _INPUT_SPAN * np.abs(rows[part].astype(np.int16)).sum(axis=1, dtype=np.int64)
    if q_bias is not None:
        worst += np.abs(q_bias.astype(np.int64).reshape(-1))
    bad = np.flatnonzero(worst > _INT32_MAX)
    if bad.size:
        channel = int(bad[0])
        raise QuantizationError(
            f"{_where(layer)}the accumulator of output channel {channel} could reach {int(worst[channel])}, beyond int32 "
            f"({bad.size} such channel(s)); skip the layer"
        )


def weight_importance(
    scales: NDArray[np.floating],
    channel_axis: int | None,
    shape: tuple[int, ...],
    input_second_moment: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Weigh each integer weight by what one step of error in it costs at the layer's output.

    An error ``d`` in an integer weight changes the output by ``d * scale_c * x``, so its expected square is
    ``d**2 * scale_c**2 * E[x**2]``: the output error of the layer when its inputs are uncorrelated.

    Args:
        scales: Step sizes of the weights, shape (channels,) or (1,).
        channel_axis: Axis of the output channels, or None for one scale; the inputs are on axis 0 if it is 1, else on axis 1.
        shape: Shape of the weights, two axes or more.
        input_second_moment: ``E[x**2]`` for each input channel, shape (inputs,); None counts all inputs alike.

    Returns:
        Float64 weights >= 0 that broadcast against ``shape``, for `nuqconv.quantize.codebook.histogram`.

    Raises:
        QuantizationError: Scales or moments do not fit the shape, or are negative or not finite.
    """
    channels = 1 if channel_axis is None else shape[channel_axis]
    if scales.shape != (channels,):
        raise QuantizationError(f"scales of shape {scales.shape} for {channels} output channel(s) of weights {shape}")
    importance: NDArray[np.float64] = np.square(_spread(scales.astype(np.float64), channel_axis, len(shape)))
    if input_second_moment is not None:
        input_axis = 0 if channel_axis == 1 else 1
        moment = np.asarray(input_second_moment, dtype=np.float64)
        if moment.shape != (shape[input_axis],):
            raise QuantizationError(
                f"input moments of shape {moment.shape} for {shape[input_axis]} inputs of weights {shape}"
            )
        importance = importance * _spread(moment, input_axis, len(shape))
    if not (np.isfinite(importance).all() and (importance >= 0).all()):
        raise QuantizationError("weight scales and input moments must be finite and not negative")
    return importance
