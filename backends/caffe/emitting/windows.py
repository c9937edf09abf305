"""Pooling with any padding and divisor, in stock layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nuqconv.backends.caffe.emitting.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.constructs import cut
from nuqconv.backends.caffe.emitting.moves import padded
from nuqconv.backends.caffe.emitting.pooling import pool
from nuqconv.ir import Array
from nuqconv.ir.ops import Pooling

__all__ = ["Windows", "pool_windows"]

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
