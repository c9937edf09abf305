"""Pooling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import SPP, Pooling, WindowPool

__all__ = ["pool", "pool_input"]

_LOWEST = float(np.finfo(np.float32).min)


@lowers(Pooling)
def pooling(build: Builder, node: Node, op: Pooling) -> None:
    """MaxPool, AveragePool or their global forms."""
    if op.mask:
        _with_mask(build, node, op, node.inputs[0])
    else:
        pool_input(build, node, op, node.inputs[0], node.outputs[0])


def pool_input(build: Builder, node: Node, op: Pooling, value: str, output: str) -> str:
    """Adds a Pooling without a mask on what its input is in the model; see `pool`."""
    height, width = build.shape(node.inputs[0])[2:]
    return pool(build, node, op, value, (height, width), output)


def pool(build: Builder, node: Node, op: Pooling, value: str, size: tuple[int, int], output: str | None = None) -> str:
    """Adds a pooling without a mask.

    Args:
        build: The graph under construction.
        node: The layer that it belongs to.
        op: The pooling.
        value: What is pooled.
        size: Its height and width.
        output: Name of the result; without it a name is derived.

    Returns:
        The name of the result.

    Raises:
        UnsupportedError: A window of an average lies wholly outside the input.
    """
    return _METHODS[op.method](build, node, op, value, size, output)


def _end_pads(op: Pooling, size: tuple[int, int]) -> tuple[int, int]:
    """How far the last window reaches beyond the input, for each axis; negative where it ends inside."""
    down, across = (
        (op.windows(length, axis) - 1) * op.stride[axis] + op.kernel[axis] - length - op.pad[axis]
        for axis, length in enumerate(size)
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


def _has_empty_window(op: Pooling, pads: list[int]) -> bool:
    """Whether MaxPool refuses the pads: Caffe's maximum starts from the lowest float, and so needs no element."""
    return any(pad >= kernel for pad, kernel in zip(pads, op.kernel * 2, strict=True))


def _maximum(build: Builder, node: Node, op: Pooling, value: str, size: tuple[int, int], output: str | None) -> str:
    if op.global_pooling:
        return build.node("GlobalMaxPool", [value], node, output=output)
    pads = _pads(op.pad, _end_pads(op, size))
    if _has_empty_window(op, pads):
        value = _pad(build, node, value, pads, _LOWEST)
        pads = [0] * 4
    return build.node("MaxPool", [value], node, output=output, attributes=_attributes(op, pads))


def _with_mask(build: Builder, node: Node, op: Pooling, value: str) -> None:
    """MaxPool with indices; ONNX counts them through the whole tensor, Caffe within each plane."""
    height, width = build.shape(node.inputs[0])[2:]
    size = (height, width)
    if op.global_pooling:
        op = replace(op, kernel=size, stride=(1, 1), pad=(0, 0), global_pooling=False)
    pads = _pads(op.pad, _end_pads(op, size))
    empty = _has_empty_window(op, pads)
    if empty:
        value = _pad(build, node, value, pads, _LOWEST)
        height, width = height + pads[0] + pads[2], width + pads[1] + pads[3]

    def whole(op_type: str, left: str, number: int, purpose: str) -> str:
        return build.node(op_type, [left, build.constant(np.array(number, np.int64), node, purpose)], node)

    attributes = _attributes(op, [0] * 4 if empty else pads)
    best, index = build.multi_node("MaxPool", [value], node, outputs=(node.outputs[0], None), attributes=attributes)
    index = whole("Mod", index, height * width, "plane")
    if empty:
        row, column = (whole(op_type, index, width, "width") for op_type in ("Div", "Mod"))
        index = build.node("Add", [whole("Mul", row, size[1], "row"), column], node)
        index = whole("Sub", index, pads[0] * size[1] + pads[1], "origin")
    place = build.node("Cast", [index], node, attributes={"to": int(TensorProto.FLOAT)})
    found = build.node("Greater", [best, build.number(_LOWEST, node, "lowest")], node)
    nowhere = build.number(-1.0, node, "nowhere")
    build.node("Where", [found, place, nowhere], node, output=node.outputs[1])


def _average(build: Builder, node: Node, op: Pooling, value: str, size: tuple[int, int], output: str | None) -> str:
    if op.global_pooling:
        return build.node("GlobalAveragePool", [value], node, output=output)
    ends = _end_pads(op, size)
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
    return build.node("AveragePool", [value], node, output=output, attributes=attributes)


def _expectation(build: Builder, node: Node, op: Pooling, value: str, size: tuple[int, int], output: str | None) -> str:
    """STOCHASTIC: the mean of squares divided by the mean; zeros behind the end change both in the same way."""
    op_type, attributes = "GlobalAveragePool", dict[str, Attribute]()
    if not op.global_pooling:
        op_type, attributes = "AveragePool", _attributes(op, [0] * 4)
        pads = _pads((0, 0), _end_pads(op, size))
        value = _pad(build, node, value, pads, 0.0) if any(pads) else value
    square = build.node("Mul", [value, value], node)
    mean, mean_square = (build.node(op_type, [term], node, attributes=attributes) for term in (value, square))
    zero = build.number(0.0, node, "zero")
    positive = build.node("Greater", [mean, zero], node)
    ratio = build.node("Div", [mean_square, mean], node)
    return build.node("Where", [positive, ratio, zero], node, output=output)


_METHODS = {"MAX": _maximum, "AVE": _average, "STOCHASTIC": _expectation}


@lowers(SPP)
def spp(build: Builder, node: Node, op: SPP) -> None:
    """A pooling for each level, Flatten and Concat."""
    _, _, height, width = build.shape(node.inputs[0])
    levels = op.levels(height, width)
    if len(levels) == 1:
        pool(build, node, levels[0], node.inputs[0], (height, width), node.outputs[0])
        return
    pooled = [pool(build, node, level, node.inputs[0], (height, width)) for level in levels]
    parts = [build.node("Flatten", [part], node, attributes={"axis": 1}) for part in pooled]
    build.node("Concat", parts, node, output=node.outputs[0], attributes={"axis": 1})


_DILATED_AVERAGE_OPSET = 19

_MODERN_LP_OPSET = 18


@lowers(WindowPool)
def window_pool(build: Builder, node: Node, op: WindowPool) -> None:
    """MaxPool, AveragePool or LpPool; what an opset lacks is refused."""
    attributes: dict[str, Attribute] = {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": (*op.begins, *op.ends),
    }
    spread = any(size != 1 for size in op.dilation)
    needed = {"AVE": _DILATED_AVERAGE_OPSET if spread else 0, "LP": _MODERN_LP_OPSET if spread or op.ceil else 0}
    if build.opset < needed.get(op.method, 0):
        raise UnsupportedError(f"{node.place}: {op.method} pooling like this needs opset {needed[op.method]} or newer")
    if spread:
        attributes["dilations"] = op.dilation
    if op.ceil:
        attributes["ceil_mode"] = 1
    if op.method == "AVE":
        attributes["count_include_pad"] = int(op.count_include_pad)
    elif op.method == "LP":
        attributes["p"] = op.p
    op_type = {"MAX": "MaxPool", "AVE": "AveragePool", "LP": "LpPool"}[op.method]
    build.node(op_type, node.inputs, node, output=node.outputs[0], attributes=attributes)
