"""Pooling."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.frontends.onnx.windows import pads_of, spatial
from nuqconv.ir.ops import Op, Pooling, PoolMethod, Reduce, WindowPool

__all__: list[str] = []

_METHODS: dict[str, PoolMethod] = {"MaxPool": "MAX", "AveragePool": "AVE"}


@converts("MaxPool", "AveragePool", "LpPool")
def pool(reading: Reading, node: NodeView) -> None:
    """Pooling where Caffe's window rule gives the same windows and divisors, else WindowPool."""
    if len(node.outputs) > 1 and reading.is_read(node.outputs[1]):
        raise CannotConvertError("it gives the places of the maxima too")
    shape = reading.shape(node)
    rank = len(shape) - 2
    kernel = node.integers("kernel_shape") or ()
    strides = spatial(node, "strides", rank)
    dilation = spatial(node, "dilations", rank)
    reach = [step * (size - 1) + 1 for step, size in zip(dilation, kernel, strict=True)]
    begins, ends = pads_of(node, shape[2:], reach, strides)
    ceil, counted = bool(node.get("ceil_mode", 0)), bool(node.get("count_include_pad", 0))
    op: Op = WindowPool(
        "LP" if node.op_type == "LpPool" else "MAX" if node.op_type == "MaxPool" else "AVE",
        *(kernel, strides, begins, ends, dilation, counted, ceil, node.get("p", 2)),
    )
    method = _METHODS.get(node.op_type)
    if (
        method
        and rank == 2
        and set(dilation) == {1}
        and begins == ends
        and _as_caffe(method, kernel, strides, begins, ceil=ceil, counted=counted)
    ):
        op = Pooling(method, (kernel[0], kernel[1]), (strides[0], strides[1]), (begins[0], begins[1]), round_up=ceil)
    reading.add(node, op, (reading.value(node, 0),), node.outputs[:1])


def _as_caffe(
    method: PoolMethod, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int], *, ceil: bool, counted: bool
) -> bool:
    padded = any(pads)
    if any(pad >= size for pad, size in zip(pads, kernel, strict=True)):
        return False
    if ceil and not padded and any(stride > size for stride, size in zip(strides, kernel, strict=True)):
        return False
    # Caffe clips the windows of both axes as soon as one is padded, ONNX each by itself; that differs only where a last window starts outside.
    if ceil and padded and not all(pads):
        return False
    if method == "AVE" and padded:
        # Caffe's divisor counts padding, and behind it what rounding up adds; ONNX's own rounding adds nothing to count.
        return counted and not ceil
    return True


@converts("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def global_pool(reading: Reading, node: NodeView) -> None:
    """Pooling over whole images, else a reduction over all spatial axes."""
    shape, value = reading.shape(node), reading.value(node, 0)
    method: PoolMethod = "MAX" if node.op_type == "GlobalMaxPool" else "AVE"
    if len(shape) == 4 and node.op_type != "GlobalLpPool":
        reading.add(node, Pooling(method, global_pooling=True), (value,))
        return
    axes = tuple(range(2, len(shape)))
    if node.op_type == "GlobalLpPool":
        power = node.get("p", 2)
        if power not in (1, 2):
            raise CannotConvertError(f"p is {power}; 1 and 2 are known")
        reading.add(node, Reduce("l1" if power == 1 else "l2", axes), (value,))
        return
    reading.add(node, Reduce("max" if method == "MAX" else "mean", axes), (value,))
