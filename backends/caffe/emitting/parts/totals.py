"""Sums, means, extremes and products over any axes, matrix products and statistics, in stock layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, contract, eltwise, negated, permuted, reshaped
from nuqconv.backends.caffe.emitting.parts.moves import broadcast, repeated_along

__all__ = [
    "centred",
    "least_over",
    "mean_over",
    "most_over",
    "product",
    "product_over",
    "running_sum",
    "softmax_logarithm",
    "sum_over",
]

_MOST_PRODUCTS = 2**26
_MOST_FACTORS = 512


def _groups(axes: Sequence[int]) -> list[tuple[int, int]]:
    """Returns runs of neighbouring axes as (first, behind the last), the last run first."""
    runs: list[list[int]] = []
    for axis in sorted(axes):
        if runs and axis == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([axis, axis + 1])
    return [(low, high) for low, high in reversed(runs)]


def _kept(x: Blob, low: int, high: int) -> tuple[int, ...]:
    return (*x.shape[:low], *(1,) * (high - low), *x.shape[high:])


def _pooled(b: LayerBuilder, x: Blob, axes: Sequence[int], method: str, purpose: str) -> Blob:
    """A Pooling whose window is the whole of the axes; they stay with size 1."""
    if tuple(axes) == (2, 3) and len(x.shape) == 4:
        fields = {"pool": method, "global_pooling": True}
        return b.add(purpose, "Pooling", [x], (*x.shape[:2], 1, 1), pooling_param=fields)
    for low, high in _groups(axes):
        size, kept = prod(x.shape[low:high]), _kept(x, low, high)
        plane = reshaped(b, x, (prod(x.shape[:low]), 1, size, prod(x.shape[high:])), "plane")
        fields = {"pool": method, "kernel_h": size, "kernel_w": 1}
        made = b.add(purpose, "Pooling", [plane], (*plane.shape[:2], 1, plane.shape[3]), pooling_param=fields)
        x = reshaped(b, made, kept, "kept")
    return x


def most_over(b: LayerBuilder, x: Blob, axes: Sequence[int]) -> Blob:
    """The largest element over axes, which stay with size 1."""
    return _pooled(b, x, axes, "MAX", "most")


def mean_over(b: LayerBuilder, x: Blob, axes: Sequence[int]) -> Blob:
    """The mean over axes, which stay with size 1."""
    return _pooled(b, x, axes, "AVE", "mean")


def sum_over(b: LayerBuilder, x: Blob, axes: Sequence[int], *, operation: str = "SUM") -> Blob:
    """The sum over axes, which stay with size 1; of magnitudes (ASUM) or squares (SUMSQ) if asked for."""
    if not axes:
        return x
    if operation == "ASUM":
        x = b.add("magnitude", "AbsVal", [x], x.shape)
    elif operation == "SUMSQ":
        x = affine(b, x, "square", power=2.0)
    for low, high in _groups(axes):
        size, kept = prod(x.shape[low:high]), _kept(x, low, high)
        if high == len(x.shape) and low > 0:
            fields = {"operation": "SUM", "axis": low}
            x = reshaped(b, b.add("sum", "Reduction", [x], x.shape[:low], reduction_param=fields), kept, "kept")
        else:
            joined = reshaped(b, x, (*x.shape[:low], size, *x.shape[high:]), "joined")
            x = reshaped(b, contract(b, joined, low, np.ones((1, size), np.float32), "sum"), kept, "kept")
    return x


def product_over(b: LayerBuilder, x: Blob, axes: Sequence[int]) -> Blob:
    """The product over axes, which stay with size 1.

    Raises:
        UnsupportedError: There are too many factors.
    """
    for low, high in _groups(axes):
        size, kept = prod(x.shape[low:high]), _kept(x, low, high)
        if size > _MOST_FACTORS:
            raise b.refuse(
                f"a product of {size} elements; no stock layer multiplies along an axis, and at most {_MOST_FACTORS} are sliced"
            )
        if size > 1:
            joined = reshaped(b, x, (*x.shape[:low], size, *x.shape[high:]), "joined")
            single = (*joined.shape[:low], 1, *joined.shape[low + 1 :])
            parts = b.add_many("factors", "Slice", [joined], [single] * size, slice_param={"axis": low})
            x = reshaped(b, eltwise(b, "PROD", "product", *parts), kept, "kept")
    return x


def softmax_logarithm(b: LayerBuilder, x: Blob, axes: Sequence[int]) -> tuple[Blob, Blob]:
    """Returns x minus its largest element, and the logarithm of the sum of the exponentials of that, over axes."""
    most = broadcast(b, most_over(b, x, axes), x.shape)
    rest = eltwise(b, "SUM", "rest", x, most, coeff=(1.0, -1.0))
    total = sum_over(b, b.add("exponential", "Exp", [rest], rest.shape), axes)
    return rest, b.add("logarithm", "Log", [total], total.shape)


def check_products(b: LayerBuilder, count: int) -> None:
    """Raises UnsupportedError if products of two computed blobs would take too much memory."""
    if count > _MOST_PRODUCTS:
        raise b.refuse(
            f"a matrix product of two computed blobs with {count} products; no stock layer multiplies blobs as matrices, and at most "
            f"{_MOST_PRODUCTS} products are laid side by side"
        )


def product(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """The matrix product of x (any..., M, K) and y (any..., K, N), both computed: all products side by side, then sums.

    Raises:
        UnsupportedError: There are too many products.
    """
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    rows, inner, columns = x.shape[-2], x.shape[-1], y.shape[-1]
    check_products(b, prod(lead) * rows * inner * columns)
    batch = prod(lead)
    left = reshaped(b, broadcast(b, x, (*lead, rows, inner)), (batch, rows, 1, inner), "left")
    right = reshaped(b, broadcast(b, y, (*lead, inner, columns)), (batch, inner, columns), "right")
    right = reshaped(b, permuted(b, right, (0, 2, 1), "transposed"), (batch, 1, columns, inner), "right_rows")
    pairs = eltwise(b, "PROD", "products", repeated_along(b, left, 2, columns), repeated_along(b, right, 1, rows))
    sums = b.add("sum", "Reduction", [pairs], pairs.shape[:3], reduction_param={"operation": "SUM", "axis": 3})
    return reshaped(b, sums, (*lead, rows, columns), "matrix")


def centred(b: LayerBuilder, x: Blob, count: int, eps: float) -> Blob:
    """Returns x in ``count`` equal parts, one behind the other, each less its mean and divided by ``sqrt(variance + eps)``.

    MVN adds its small number to the deviation and not to the variance, and a BatchNorm on the statistics of its input is not in every build.
    """
    laid = reshaped(b, x, (count, prod(x.shape) // count), "parts")
    rest = b.add("centred", "Bias", [laid, negated(b, _mean(b, laid, "mean"))], laid.shape, bias_param={"axis": 0})
    variance = _mean(b, affine(b, rest, "square", power=2.0), "variance")
    factors = affine(b, variance, "factors", shift=eps, power=-0.5)
    normal = b.add("normalize", "Scale", [rest, factors], laid.shape, scale_param={"axis": 0})
    return reshaped(b, normal, x.shape, "whole")


def _mean(b: LayerBuilder, x: Blob, purpose: str) -> Blob:
    """The mean of each row."""
    return b.add(purpose, "Reduction", [x], x.shape[:1], reduction_param={"operation": "MEAN", "axis": 1})


def least_over(b: LayerBuilder, x: Blob, axes: Sequence[int]) -> Blob:
    """The smallest element over axes, which stay with size 1."""
    return negated(b, most_over(b, negated(b, x), axes), "least")


def running_sum(b: LayerBuilder, x: Blob, axis: int, *, exclusive: bool, reverse: bool) -> Blob:
    """Sums up to each element along an axis."""
    size = x.shape[axis]
    matrix = np.tril(np.ones((size, size), np.float32), -1 if exclusive else 0)
    return contract(b, x, axis, matrix.T if reverse else matrix, "running")
