"""Operators over neighbourhoods in space or across channels, other than convolution and pooling."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.pooling import pool
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.shape import reshape_to
from nuqconv.ir import Node
from nuqconv.ir.ops import LRN, SPP, Im2col

__all__: list[str] = []


@lowers(LRN)
def lrn(build: Builder, node: Node, op: LRN) -> None:
    """LRN where ONNX has it; else the mean of squares over the window, Mul, Add, Pow and Mul."""
    value = node.inputs[0]
    if op.region == "WITHIN_CHANNEL":
        mean = _mean_within(build, node, op, build.node("Mul", [value, value], node))
        _normalize(build, node, op, mean, 1.0)
    elif op.alpha > 0 and op.beta > 0:
        attributes = {"size": op.local_size, "alpha": op.alpha, "beta": op.beta, "bias": op.k}
        build.node("LRN", [value], node, output=node.outputs[0], attributes=attributes)
    else:
        # onnxruntime refuses such numbers in its LRN.
        _, channels, height, width = build.shape(value)
        planes = reshape_to(build, value, (-1, 1, channels, height * width), node)
        window, edge = (op.local_size, 1), (op.local_size // 2, 0)
        mean = _mean(build, node, build.node("Mul", [planes, planes], node), window, edge)
        _normalize(build, node, op, reshape_to(build, mean, build.dims(value), node), op.k)


def _mean_within(build: Builder, node: Node, op: LRN, squares: str) -> str:
    edge = op.local_size // 2
    return _mean(build, node, squares, (op.local_size, op.local_size), (edge, edge))


def _mean(build: Builder, node: Node, squares: str, window: tuple[int, int], edge: tuple[int, int]) -> str:
    attributes: dict[str, Attribute] = {"kernel_shape": window, "pads": [*edge, *edge], "count_include_pad": 1}
    return build.node("AveragePool", [squares], node, attributes=attributes)


def _normalize(build: Builder, node: Node, op: LRN, mean: str, shift: float) -> None:
    scaled = build.node("Mul", [mean, build.number(op.alpha, node, "alpha")], node)
    shifted = build.node("Add", [scaled, build.number(shift, node, "shift")], node)
    factor = build.node("Pow", [shifted, build.number(-op.beta, node, "power")], node)
    build.node("Mul", [node.inputs[0], factor], node, output=node.outputs[0])


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


@lowers(Im2col)
def im2col(build: Builder, node: Node, op: Im2col) -> None:
    """Pad, a Gather that turns each axis into (kernel element, position), Transpose and Reshape; no arithmetic touches the numbers."""
    value, shape = node.inputs[0], build.shape(node.inputs[0])
    axis, windows = op.axis % len(shape), op.windows(shape)
    positions = build.shape(node.outputs[0])[axis + 1 :]
    pads = [window[2] for window in windows]
    if any(pads):
        leading = [0] * (axis + 1)
        widths = build.constant(np.array([*leading, *pads, *leading, *pads], np.int64), node, "pads")
        value = build.node("Pad", [value, widths, build.number(0.0, node, "filling")], node)
    for number, ((kernel, stride, _, dilation), count) in enumerate(zip(windows, positions, strict=True)):
        indices = np.arange(kernel)[:, None] * dilation + np.arange(count)[None, :] * stride
        operand = build.constant(indices.astype(np.int64), node, "indices")
        # Each axis before this one has become two.
        value = build.node("Gather", [value, operand], node, attributes={"axis": axis + 1 + 2 * number})
    first, end = axis + 1, axis + 1 + 2 * len(windows)
    order = [*range(first), *range(first, end, 2), *range(first + 1, end, 2)]
    moved = build.node("Transpose", [value], node, attributes={"perm": order})
    reshape_to(build, moved, build.dims(node.outputs[0]), node, node.outputs[0])
