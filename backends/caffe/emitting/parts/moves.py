"""Padding, picking and repeating along one axis, in stock layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, contract, cut, discard, join, reshaped
from nuqconv.ir.ops import Shape

__all__ = ["broadcast", "filled", "padded", "picked", "repeated_along", "resized", "strided"]

_MOST_PARTS = 64
"""Beyond that many slices a matrix of zeros and ones is shorter."""
_MOST_WEIGHTS = 2**24
"""Larger matrices are not made."""
_MOST_SLICES = 2048


def resized(shape: Shape, axis: int, size: int) -> Shape:
    """Returns a shape with another size at an axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def repeated_along(b: LayerBuilder, x: Blob, axis: int, times: int, purpose: str = "tile") -> Blob:
    """The blob ``times`` times one behind the other along an axis."""
    if times == 1:
        return x
    shape = resized(x.shape, axis, x.shape[axis] * times)
    return b.add(purpose, "Tile", [x], shape, tile_param={"axis": axis, "tiles": times})


def broadcast(b: LayerBuilder, x: Blob, shape: Shape) -> Blob:
    """Numpy's broadcasting of x to a shape."""
    x = reshaped(b, x, (*(1,) * (len(shape) - len(x.shape)), *x.shape), "axes")
    for axis, size in enumerate(shape):
        if x.shape[axis] != size:
            x = repeated_along(b, x, axis, size)
    return x


def filled(b: LayerBuilder, x: Blob, axis: int, count: int, value: float) -> Blob:
    """A blob like x with ``count`` elements along an axis, all of one value; it follows the batch."""
    have = min(count, x.shape[axis])
    while count % have:
        have -= 1
    part = affine(b, cut(b, x, axis, 0, have), "fill", scale=0.0, shift=value)
    return repeated_along(b, part, axis, count // have)


def padded(b: LayerBuilder, x: Blob, axis: int, begin: int, end: int, value: float = 0.0) -> Blob:
    """Puts elements of one value before and behind those along an axis."""
    front = filled(b, x, axis, begin, value) if begin else None
    back = front if begin == end else filled(b, x, axis, end, value) if end else None
    return join(b, [part for part in (front, x, back) if part is not None], axis, "pad")


def strided(b: LayerBuilder, x: Blob, axis: int, start: int, count: int, step: int) -> Blob:
    """Every ``step``-th element along an axis; a Pooling over windows of one element skips the others."""
    x = cut(b, x, axis, start, start + (count - 1) * step + 1)
    if step == 1 or count == 1:
        return x
    laid = reshaped(b, x, (prod(x.shape[:axis]), 1, x.shape[axis], prod(x.shape[axis + 1 :])), "plane")
    fields = {"pool": "MAX", "kernel_size": 1, "stride_h": step, "stride_w": 1}
    taken = b.add("stride", "Pooling", [laid], resized(laid.shape, 2, count), pooling_param=fields)
    return reshaped(b, taken, resized(x.shape, axis, count), "taken")


def picked(b: LayerBuilder, x: Blob, axis: int, indices: Sequence[int]) -> Blob:
    """The elements along an axis that ``indices`` name, in that order, as often as they are named."""
    steps = {high - low for low, high in pairwise(indices)}
    if len(steps) <= 1 and min(steps, default=1) > 0:
        return strided(b, x, axis, indices[0], len(indices), min(steps, default=1))
    runs = _runs(indices)
    bounds = sorted({edge for start, stop, _ in runs for edge in (start, stop)} - {0, x.shape[axis]})
    parts_needed, weights = len(bounds) + len(runs), x.shape[axis] * len(indices)
    if parts_needed > _MOST_PARTS and weights <= _MOST_WEIGHTS:
        return contract(b, x, axis, np.eye(x.shape[axis], dtype=np.float32)[list(indices)], "pick")
    if parts_needed > _MOST_SLICES:
        raise b.refuse(f"{len(indices)} elements taken out of {x.shape[axis]} in an order that has {len(runs)} runs")
    edges = [0, *bounds, x.shape[axis]]
    shapes = [resized(x.shape, axis, high - low) for low, high in pairwise(edges)]
    parts = [x]
    if bounds:
        parts = list(b.add_many("slice", "Slice", [x], shapes, slice_param={"axis": axis, "slice_point": bounds}))
    found: list[Blob] = []
    for start, stop, times in runs:
        inside = [part for part, low in zip(parts, edges, strict=False) if start <= low < stop]
        found += inside if times == 1 else [repeated_along(b, join(b, inside, axis), axis, times)]
    discard(b, [part for part, low in zip(parts, edges, strict=False) if not any(s <= low < e for s, e, _ in runs)])
    return join(b, found, axis)


def _runs(indices: Sequence[int]) -> list[tuple[int, int, int]]:
    """Returns (first, behind the last, how often) of ranges that make up a list of indices."""
    runs: list[tuple[int, int, int]] = []
    for index in indices:
        if runs:
            start, stop, times = runs[-1]
            if times == 1 and index == stop:
                runs[-1] = (start, stop + 1, 1)
                continue
            if index == start and stop == start + 1:
                runs[-1] = (start, stop, times + 1)
                continue
        runs.append((index, index + 1, 1))
    return runs
