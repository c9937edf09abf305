"""Operators that sum up, rank or count along axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, eltwise, negated, reshaped
from nuqconv.backends.caffe.emitting.parts.moves import picked, resized
from nuqconv.backends.caffe.emitting.parts.totals import (
    least_over,
    mean_over,
    most_over,
    product_over,
    running_sum,
    softmax_logarithm,
    sum_over,
)
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import ArgMax, ArgReduce, CumSum, Reduce, Reduction, TopK
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []


@emits(Reduction, construct="Reduction")
def write_reduction(b: LayerBuilder, op: Reduction) -> None:
    """A Reduction."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    fields = {"operation": op.operation, "axis": axis, "coeff": op.coeff}
    b.finish(b.add("", "Reduction", [b.input], b.outputs[0].shape, reduction_param=fields))


@emits(ArgMax, construct="ArgMax")
def write_arg_max(b: LayerBuilder, op: ArgMax) -> None:
    """An ArgMax."""
    fields: dict[str, object] = {"top_k": op.top_k, "out_max_val": op.out_max_val}
    if op.axis is not None:
        fields["axis"] = canonical_axis(op.axis, len(b.input.shape))
    b.finish(b.add("", "ArgMax", [b.input], b.outputs[0].shape, argmax_param=fields))


def _logarithm(b: LayerBuilder, x: Blob) -> Blob:
    return b.add("log", "Log", [x], x.shape)


def _log_sum_exp(b: LayerBuilder, x: Blob, axes: Sequence[int]) -> Blob:
    _, logarithm = softmax_logarithm(b, x, axes)
    return eltwise(b, "SUM", "total", logarithm, most_over(b, x, axes))


_REDUCTIONS: Mapping[str, Callable[[LayerBuilder, Blob, Sequence[int]], Blob]] = MappingProxyType(
    {
        "l1": lambda b, x, axes: sum_over(b, x, axes, operation="ASUM"),
        "l2": lambda b, x, axes: affine(b, sum_over(b, x, axes, operation="SUMSQ"), "root", power=0.5),
        "logsum": lambda b, x, axes: _logarithm(b, sum_over(b, x, axes)),
        "logsumexp": _log_sum_exp,
        "max": most_over,
        "mean": mean_over,
        "min": least_over,
        "prod": product_over,
        "sum": sum_over,
        "sumsquare": lambda b, x, axes: sum_over(b, x, axes, operation="SUMSQ"),
    }
)


@emits(
    Reduce,
    construct="max, min, mean: Pooling over the axes, reshaped to one; sum and what is made of it: Reduction over the last axes, else a "
    "1x1 Convolution of ones; prod: Slice and Eltwise PROD",
    exact="max and min to the bit, others 1e-5",
    limits="prod of more than 512 elements",
)
def write_reduce(b: LayerBuilder, op: Reduce) -> None:
    """The function of that name."""
    axes = sorted({canonical_axis(axis, len(b.input.shape)) for axis in op.axes})
    b.finish(reshaped(b, _REDUCTIONS[op.function](b, b.input, axes), b.outputs[0].shape, "shape"))


def _ranked(b: LayerBuilder, x: Blob, axis: int, count: int, *, last: bool) -> tuple[Blob, Blob]:
    """Returns the largest elements along an axis in descending order, and where they stand.

    Of equal elements Caffe takes the last first; with the axis reversed that is the first.
    """
    shape = resized(x.shape, axis, count)
    fields: dict[str, object] = {"top_k": count, "axis": axis}
    size = x.shape[axis]
    values = b.add("values", "ArgMax", [x], shape, argmax_param={**fields, "out_max_val": True})
    turned = x if last else picked(b, x, axis, range(size - 1, -1, -1))
    found = b.add("places", "ArgMax", [turned], shape, argmax_param=fields)
    return values, found if last else affine(b, found, "indices", scale=-1.0, shift=float(size - 1))


@emits(
    ArgReduce,
    construct="ArgMax; Slice and Concat in front where the first of equal elements is wanted",
    exact="to the bit",
)
def write_arg_reduce(b: LayerBuilder, op: ArgReduce) -> None:
    """ArgMax, of the negative for the least."""
    x = negated(b, b.input) if op.function == "argmin" else b.input
    axis = canonical_axis(op.axis, len(x.shape))
    if x.shape[axis] == 1:
        result = affine(b, x, "zero", scale=0.0)
    else:
        shape = resized(x.shape, axis, 1)
        turned = x if op.last else picked(b, x, axis, range(x.shape[axis] - 1, -1, -1))
        result = b.add("place", "ArgMax", [turned], shape, argmax_param={"axis": axis})
        if not op.last:
            result = affine(b, result, "index", scale=-1.0, shift=float(x.shape[axis] - 1))
    b.finish(reshaped(b, result, b.outputs[0].shape, "shape"))


@emits(TopK, construct="ArgMax twice; Slice and Concat in front; Power (-1) for the least", exact="to the bit")
def write_top_k(b: LayerBuilder, op: TopK) -> None:
    """Values and indices in descending order, ascending for the least."""
    x = b.input if op.largest else negated(b, b.input)
    values, indices = _ranked(b, x, canonical_axis(op.axis, len(x.shape)), op.k, last=False)
    b.finish(values if op.largest else negated(b, values, "least"), indices)


@emits(CumSum, construct="1x1 Convolution by a triangle of ones", exact="1e-6")
def write_cum_sum(b: LayerBuilder, op: CumSum) -> None:
    """A matrix product."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    b.finish(running_sum(b, b.input, axis, exclusive=op.exclusive, reverse=op.reverse))
