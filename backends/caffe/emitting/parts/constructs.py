"""What several emitters are made of: small computations in stock layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.ir import Array
from nuqconv.ir.ops import Shape

__all__ = [
    "affine",
    "at_least",
    "at_most",
    "clamp",
    "constant",
    "constant_like",
    "contract",
    "cut",
    "discard",
    "eltwise",
    "join",
    "negated",
    "permuted",
    "relu",
    "reshaped",
]


def affine(
    b: LayerBuilder, x: Blob, purpose: str, *, scale: float = 1.0, shift: float = 0.0, power: float = 1.0
) -> Blob:
    """``(scale * x + shift) ** power``."""
    return b.add(purpose, "Power", [x], x.shape, power_param={"power": power, "scale": scale, "shift": shift})


def negated(b: LayerBuilder, x: Blob, purpose: str = "negative") -> Blob:
    """``-x``, to the bit."""
    return affine(b, x, purpose, scale=-1.0)


def relu(b: LayerBuilder, x: Blob, purpose: str) -> Blob:
    """``max(x, 0)``."""
    return b.add(purpose, "ReLU", [x], x.shape)


def eltwise(b: LayerBuilder, operation: str, purpose: str, *inputs: Blob, coeff: Sequence[float] = ()) -> Blob:
    """Product, weighted sum or maximum of blobs of one shape."""
    return b.add(
        purpose, "Eltwise", inputs, inputs[0].shape, eltwise_param={"operation": operation, "coeff": list(coeff)}
    )


def constant_like(b: LayerBuilder, x: Blob, value: float, purpose: str = "constant") -> Blob:
    """A blob of x's shape filled with one number; a Power with scale 0 does not look at x."""
    return affine(b, x, purpose, scale=0.0, shift=value)


def constant(b: LayerBuilder, array: Array, purpose: str = "constant") -> Blob:
    """A blob that holds an array, whatever the batch."""
    # Not ascontiguousarray, which makes a vector of a scalar.
    stored = np.asarray(array, np.float32, order="C")
    return b.add(
        purpose, "Parameter", [], stored.shape, arrays=[stored], parameter_param={"shape": {"dim": list(stored.shape)}}
    )


def at_least(b: LayerBuilder, x: Blob, low: float, purpose: str = "low") -> Blob:
    """``max(x, low)``, to the bit."""
    if low == 0:
        return relu(b, x, purpose)
    return eltwise(b, "MAX", purpose, x, constant_like(b, x, low, f"{purpose}_constant"))


def at_most(b: LayerBuilder, x: Blob, high: float, purpose: str = "high") -> Blob:
    """``min(x, high) = -max(-x, -high)``, to the bit: a difference such as ``high - relu(high - x)`` would round."""
    return negated(b, at_least(b, negated(b, x, f"{purpose}_negative"), -high, f"{purpose}_max"), purpose)


def clamp(b: LayerBuilder, x: Blob, low: float, high: float) -> Blob:
    """``max(low, min(high, x))``, to the bit; an infinite bound is none."""
    if high < np.inf:
        x = at_most(b, x, max(high, low))
    if low > -np.inf:
        x = at_least(b, x, low)
    return x


def reshaped(b: LayerBuilder, x: Blob, shape: Shape, purpose: str = "reshape") -> Blob:
    """The same numbers in another shape; axis 0 takes what remains, so that other batch sizes work where they can."""
    if x.shape == shape:
        return x
    return b.add(purpose, "Reshape", [x], shape, reshape_param={"shape": {"dim": [-1, *shape[1:]] if shape else []}})


def permuted(b: LayerBuilder, x: Blob, order: Sequence[int], purpose: str = "permute") -> Blob:
    """Axis ``i`` of the result is axis ``order[i]`` of x; a Reshape where only axes of size 1 move."""
    shape = tuple(x.shape[axis] for axis in order)
    moving = [axis for axis in order if x.shape[axis] != 1]
    if moving == sorted(moving):
        return reshaped(b, x, shape, purpose)
    return b.add(purpose, "Permute", [x], shape, permute_param={"order": list(order)})


def discard(b: LayerBuilder, blobs: Sequence[Blob]) -> None:
    """Marks blobs as read, so that they are no outputs of the net."""
    if blobs:
        b.add_many("unused", "Silence", blobs, [])


def cut(b: LayerBuilder, x: Blob, axis: int, start: int, stop: int, purpose: str = "slice") -> Blob:
    """``x[..., start:stop, ...]`` along one axis."""
    size = x.shape[axis]
    bounds = [point for point in (start, stop) if 0 < point < size]
    if not bounds:
        return x
    edges = [0, *bounds, size]
    shapes = [(*x.shape[:axis], high - low, *x.shape[axis + 1 :]) for low, high in pairwise(edges)]
    parts = b.add_many(purpose, "Slice", [x], shapes, slice_param={"axis": axis, "slice_point": bounds})
    wanted = parts[1 if start > 0 else 0]
    discard(b, [part for part in parts if part is not wanted])
    return wanted


def join(b: LayerBuilder, parts: Sequence[Blob], axis: int, purpose: str = "concat") -> Blob:
    """Blobs one behind the other along an axis."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].shape
    shape = (*first[:axis], sum(part.shape[axis] for part in parts), *first[axis + 1 :])
    return b.add(purpose, "Concat", parts, shape, concat_param={"axis": axis})


def contract(b: LayerBuilder, x: Blob, axis: int, matrix: Array, purpose: str = "matrix") -> Blob:
    """Multiplies a constant matrix (new size, size) with x along one axis.

    A 1x1 Convolution does that to the axis that stands where it has its channels. Where each row of the matrix has one 1 and zeros, finite
    numbers only move.
    """
    before, size, after = prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :])
    count = len(matrix)
    weight = np.ascontiguousarray(matrix, np.float32)
    made = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    if axis == len(x.shape) - 1 and axis > 0:
        fields: dict[str, object] = {"num_output": count, "bias_term": False, "axis": axis}
        return b.add(purpose, "InnerProduct", [x], made, arrays=[weight], inner_product_param=fields)
    laid = reshaped(b, x, (before, size, after, 1), f"{purpose}_in") if len(x.shape) != 4 or axis != 1 else x
    result = b.add(
        purpose,
        "Convolution",
        [laid],
        (laid.shape[0], count, *laid.shape[2:]),
        arrays=[weight.reshape(count, size, 1, 1)],
        convolution_param={"num_output": count, "bias_term": False, "kernel_size": [1]},
    )
    return reshaped(b, result, made, f"{purpose}_out")
