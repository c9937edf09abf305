"""Pooling with Caffe's window rule.

Caffe rounds the number of windows up, so the last one may reach beyond the padded input. ``ceil_mode`` counts windows and divisors in
another way in several runtimes; here all pads are written out and the number of windows follows from them.
"""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering import integer
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import Pooling

__all__: list[str] = []


@lowers(Pooling)
def pooling(build: Builder, node: Node, op: Pooling) -> None:
    """MaxPool, AveragePool or their global forms; on a quantized input the average of its integers, as float32."""
    value = integer.centred(build, node)
    if op.global_pooling:
        op_type = "GlobalMaxPool" if op.method == "MAX" else "GlobalAveragePool"
        build.node(op_type, [value], node, output=node.outputs[0])
        return
    if op.method == "MAX":
        _maximum(build, node, op, value)
    else:
        _average(build, node, op, value)


def _end_pads(build: Builder, node: Node, op: Pooling) -> tuple[int, int]:
    """How far the last window reaches beyond the input, for each axis; negative where it ends inside."""
    sizes, counts = build.shape(node.inputs[0])[2:], build.shape(node.outputs[0])[2:]
    down, across = (
        (count - 1) * stride + kernel - size - pad
        for size, count, kernel, stride, pad in zip(sizes, counts, op.kernel, op.stride, op.pad, strict=True)
    )
    return (down, across)


def _pads(begin: tuple[int, int], end: tuple[int, int]) -> list[int]:
    return [*begin, *(max(0, pad) for pad in end)]


def _attributes(op: Pooling, pads: list[int]) -> dict[str, Attribute]:
    return {"kernel_shape": op.kernel, "strides": op.stride, "pads": pads}


def _pad(build: Builder, node: Node, value: str, pads: list[int], filling: float) -> str:
    widths = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
    operands = [value, build.constant(widths, node, "pads"), build.number(filling, node, "filling")]
    return build.node("Pad", operands, node)


def _maximum(build: Builder, node: Node, op: Pooling, value: str) -> None:
    pads = _pads(op.pad, _end_pads(build, node, op))
    if any(pad >= kernel for pad, kernel in zip(pads, op.kernel * 2, strict=True)):
        # A window without any element, which MaxPool refuses: Caffe's maximum starts from the lowest float.
        value = _pad(build, node, value, pads, float(np.finfo(np.float32).min))
        pads = [0] * 4
    build.node("MaxPool", [value], node, output=node.outputs[0], attributes=_attributes(op, pads))


def _average(build: Builder, node: Node, op: Pooling, value: str) -> None:
    ends = _end_pads(build, node, op)
    beyond = (max(0, ends[0] - op.pad[0]), max(0, ends[1] - op.pad[1]))
    if any(extra >= kernel for extra, kernel in zip(beyond, op.kernel, strict=True)):
        raise UnsupportedError(
            f"{node.place}: the last window of the average lies wholly outside the input, where Caffe divides 0 by 0; "
            "make the kernel at least as large as the stride, or set round_mode to FLOOR"
        )
    count_padding = not any(beyond)
    if count_padding:
        pads = _pads(op.pad, ends)
    else:
        # Both kinds of padding are there: the layer's own counts in the divisor, the rounding's does not.
        if any(op.pad):
            value = _pad(build, node, value, [*op.pad, *op.pad], 0.0)
        pads = [0, 0, *beyond]
    attributes = {**_attributes(op, pads), "count_include_pad": int(count_padding)}
    build.node("AveragePool", [value], node, output=node.outputs[0], attributes=attributes)
