"""Convolutions, and the windows they look at."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Convolution, Deconvolution, Im2col

__all__ = ["window", "window_of"]


def window(op: Convolution | Deconvolution, ends: Sequence[int]) -> dict[str, Attribute]:
    """Returns the attributes of a convolution whose padding behind the end is ``ends``."""
    return {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": [*op.pad, *ends],
        "dilations": op.dilation,
        "group": op.group,
    }


def window_of(build: Builder, node: Node, op: Convolution) -> dict[str, Attribute]:
    """Returns the attributes of a Convolution, whose padding behind the end depends on the size of its input."""
    return window(op, op.end_pads(build.shape(node.inputs[0])[op.axis + 1 :]))


@lowers(Convolution)
def convolution(build: Builder, node: Node, op: Convolution) -> None:
    """One Conv for each input."""
    _each(build, node, op, "Conv", window_of(build, node, op))


@lowers(Deconvolution)
def deconvolution(build: Builder, node: Node, op: Deconvolution) -> None:
    """One ConvTranspose for each input."""
    _each(build, node, op, "ConvTranspose", window(op, op.pad))


def _each(
    build: Builder, node: Node, op: Convolution | Deconvolution, op_type: str, window: dict[str, Attribute]
) -> None:
    """Adds the node for each pair of input and output; other axes than (N, C, spatial...) are reshaped to it and back."""
    spatial = len(op.kernel)
    params = [build.graph.params[name].shape for name in node.params]
    if not spatial:
        # ONNX wants one spatial dimension at least.
        window = {"kernel_shape": [1], "group": op.group}
        params[0] = (*params[0], 1)
    operands = [build.param(name, shape) for name, shape in zip(node.params, params, strict=True)]
    plain = op.axis == 1 and spatial > 0
    for value, output in zip(node.inputs, node.outputs, strict=True):
        shape = build.shape(value)
        if plain:
            build.node(op_type, [value, *operands], node, output=output, attributes=window)
            continue
        batch = -1 if value in build.batched else prod(shape[: op.axis])
        image = reshape_to(build, value, (batch, *shape[op.axis :], *(() if spatial else (1,))), node)
        product = build.node(op_type, [image, *operands], node, attributes=window)
        reshape_to(build, product, build.dims(output), node, output)


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
