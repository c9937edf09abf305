"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Literal

import numpy as np

from nuqconv.backends.caffe.emitting.convolution import pair_fields
from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, cut, eltwise, reshaped
from nuqconv.backends.caffe.emitting.parts.moves import padded, resized, strided
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir import Array
from nuqconv.ir.ops import SPP, Pooling, WindowPool

__all__ = ["Windows", "pool", "pool_windows"]


def pool(b: LayerBuilder, x: Blob, op: Pooling, purpose: str) -> tuple[Blob, ...]:
    """Adds a Pooling; where its windows are counted downwards, those that Caffe adds are cut off again."""
    count = 1 + int(op.mask)
    fields: dict[str, object] = {"pool": op.method}
    if op.global_pooling:
        shape = (*x.shape[:2], 1, 1)
        return b.add_many(purpose, "Pooling", [x], [shape] * count, pooling_param={**fields, "global_pooling": True})
    fields |= pair_fields("kernel", "kernel_size", op.kernel)
    fields |= pair_fields("stride", "stride", op.stride, 1) | pair_fields("pad", "pad", op.pad, 0)
    (wanted, *_), (found, *_) = op.infer([x.shape], []), replace(op, round_up=True).infer([x.shape], [])
    tops = b.add_many(purpose, "Pooling", [x], [found] * count, pooling_param=fields)
    # Caffe 1.0 knows no round_mode.
    return tuple(cut(b, cut(b, top, 2, 0, wanted[2], "rows"), 3, 0, wanted[3], "columns") for top in tops)


@emits(
    Pooling,
    construct="Pooling; with windows counted downwards, Slice behind it where Caffe makes one more",
    exact="the same layer",
)
def write_pooling(b: LayerBuilder, op: Pooling) -> None:
    """A Pooling."""
    b.finish(*pool(b, b.input, op, ""))


@emits(SPP, construct="SPP")
def write_spp(b: LayerBuilder, op: SPP) -> None:
    """An SPP."""
    fields = {"pyramid_height": op.pyramid_height, "pool": op.method}
    b.finish(b.add("", "SPP", [b.input], b.outputs[0].shape, spp_param=fields))


_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Windows:
    """The windows along one axis.

    Attributes:
        kernel: Elements of a window.
        stride: Distance of neighbouring windows.
        begin: How far the first window begins before the first element.
        count: Number of windows.
        divisors: What the sum over each window is divided by, where averages are wanted.
    """

    kernel: int
    stride: int
    begin: int
    count: int
    divisors: tuple[int, ...] = ()


def pool_windows(
    b: LayerBuilder, x: Blob, method: Literal["MAX", "AVE"], axes: Sequence[Windows], purpose: str = "pool"
) -> Blob:
    """Pools an (N, C, H, W) blob over windows that Caffe's rule does not make.

    Caffe clips windows at the end of the input, so that an end that is padded more or less than the beginning mostly makes no difference to a
    maximum; where windows are missing the input is padded, and those that are too many are cut off. Caffe divides a sum by the window's part
    of the padded input; the quotient of that and the wanted divisor depends on the position only, and multiplies the average.
    """
    pads: list[int] = []
    for number, axis in enumerate(axes):
        front = axis.begin if axis.begin >= axis.kernel else 0
        pad = axis.begin - front
        rest = (axis.count - 1) * axis.stride + axis.kernel - axis.begin - x.shape[2 + number]
        made = _caffe_count(x.shape[2 + number] + front, axis, pad, padded_anywhere=any(item.begin for item in axes))
        back = max(rest, 0) if made < axis.count else 0
        x = padded(b, x, 2 + number, front, back, _LOWEST if method == "MAX" else 0.0)
        pads.append(pad)
    op = Pooling(method, (axes[0].kernel, axes[1].kernel), (axes[0].stride, axes[1].stride), (pads[0], pads[1]))
    sizes = x.shape[2:]
    (x, *_) = pool(b, x, op, purpose)
    for number, axis in enumerate(axes):
        x = cut(b, x, 2 + number, 0, axis.count, "windows")
    if method == "MAX":
        return x
    rows, columns = (_quotients(axis, size, pad) for axis, size, pad in zip(axes, sizes, pads, strict=True))
    factors = np.outer(rows, columns).astype(np.float32)
    if (factors == 1).all():
        return x
    return b.add("divisors", "Scale", [x], x.shape, arrays=[factors], scale_param={"axis": 2, "num_axes": 2})


def _caffe_count(size: int, axis: Windows, pad: int, *, padded_anywhere: bool) -> int:
    """Returns how many windows Caffe makes."""
    count = -(-(size + 2 * pad - axis.kernel) // axis.stride) + 1
    if padded_anywhere and (count - 1) * axis.stride >= size + pad:
        count -= 1
    return count


def _quotients(axis: Windows, size: int, pad: int) -> Array:
    """Returns Caffe's divisor by the wanted one, for each window."""
    starts = np.arange(axis.count) * axis.stride - pad
    extents = np.minimum(starts + axis.kernel, size + pad) - starts
    return extents / np.array(axis.divisors, np.float64)


_MOST_OFFSETS = 128


@emits(
    WindowPool,
    construct="Pooling, with Concat in front where the input must be padded, Slice behind where windows are too many, and Scale where divisors "
    "differ; three spatial axes: two Poolings; with dilation: Slice, Pooling of single elements and Eltwise for each element of the window",
    exact="MAX to the bit, others 1e-6",
    limits="windows of more than 128 elements with dilation",
)
def write_window_pool(b: LayerBuilder, op: WindowPool) -> None:
    """Axes two by two; an average is a sum over windows with a divisor for each position."""
    x = b.input
    axes = [
        _windows(op, number, size, count)
        for number, (size, count) in enumerate(zip(x.shape[2:], b.outputs[0].shape[2:], strict=True))
    ]
    method: Literal["MAX", "AVE"] = "MAX" if op.method == "MAX" else "AVE"
    if op.method == "LP":
        x = affine(b, b.add("magnitude", "AbsVal", [x], x.shape), "powers", power=float(op.p))
    spread = any(size != 1 for size in op.dilation)
    x = _spread_windows(b, x, op, axes) if spread else _pooled_axes(b, x, method, axes)
    if op.method == "LP":
        x = affine(b, x, "root", power=1 / op.p)
    b.finish(x)


def _windows(op: WindowPool, number: int, size: int, count: int) -> Windows:
    kernel, stride, begin = op.kernel[number], op.stride[number], op.begins[number]
    reach = op.dilation[number] * (kernel - 1) + 1
    divisors = []
    for start in range(-begin, -begin + count * stride, stride):
        places = range(start, start + reach, op.dilation[number])
        low, high = (-begin, size + op.ends[number]) if op.count_include_pad else (0, size)
        divisors.append(sum(low <= place < high for place in places))
    return Windows(kernel, stride, begin, count, (1,) * count if op.method == "LP" else tuple(divisors))


def _pooled_axes(b: LayerBuilder, x: Blob, method: Literal["MAX", "AVE"], axes: Sequence[Windows]) -> Blob:
    """Pools all axes but the last two one by one, then those together."""
    alone = len(axes) - 2 if len(axes) > 1 else 1
    for number, axis in enumerate(axes[:alone], 2):
        # What follows stands beside it, in windows of one element.
        behind = prod(x.shape[number + 1 :])
        beside = Windows(1, 1, 0, behind, (1,) * behind)
        laid = reshaped(b, x, (prod(x.shape[:number]), 1, x.shape[number], behind), "plane")
        made = pool_windows(b, laid, method, (axis, beside))
        x = reshaped(b, made, resized(x.shape, number, axis.count), "pooled")
    if len(axes) == 1:
        return x
    laid = x if len(x.shape) == 4 else reshaped(b, x, (prod(x.shape[:-2]), 1, *x.shape[-2:]), "plane")
    made = pool_windows(b, laid, method, axes[-2:])
    return reshaped(b, made, (*x.shape[:-2], *(axis.count for axis in axes[-2:])), "pooled")


def _spread_windows(b: LayerBuilder, x: Blob, op: WindowPool, axes: Sequence[Windows]) -> Blob:
    """Each element of the window in turn, for all windows at once."""
    if prod(op.kernel) > _MOST_OFFSETS:
        raise b.refuse(
            f"pooling with dilation over windows of {'x'.join(map(str, op.kernel))}; at most {_MOST_OFFSETS} elements are gathered"
        )
    for number, axis in enumerate(axes):
        last = (axis.count - 1) * axis.stride + op.dilation[number] * (axis.kernel - 1) + 1
        back = max(last - axis.begin - x.shape[2 + number], 0)
        x = padded(b, x, 2 + number, axis.begin, back, _LOWEST if op.method == "MAX" else 0.0)
    parts = []
    for offsets in product(*(range(axis.kernel) for axis in axes)):
        part = x
        for number, (offset, axis) in enumerate(zip(offsets, axes, strict=True)):
            part = strided(b, part, 2 + number, offset * op.dilation[number], axis.count, axis.stride)
        parts.append(part)
    total = eltwise(b, "MAX" if op.method == "MAX" else "SUM", "windows", *parts) if len(parts) > 1 else parts[0]
    if op.method == "MAX":
        return total
    factors = np.ones(tuple(axis.count for axis in axes))
    for number, axis in enumerate(axes):
        factors = factors / np.reshape(axis.divisors, (-1, *(1,) * (len(axes) - 1 - number)))
    array = factors.astype(np.float32)
    return b.add(
        "divisors", "Scale", [total], total.shape, arrays=[array], scale_param={"axis": 2, "num_axes": array.ndim}
    )
