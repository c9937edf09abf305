"""Pooling with ONNX's window rule."""

from __future__ import annotations

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import WindowPool

__all__: list[str] = []

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
