"""BatchNorm."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import BatchNorm

__all__: list[str] = []


@lowers(BatchNorm)
def batch_norm(build: Builder, node: Node, op: BatchNorm) -> None:
    """BatchNormalization with the factor divided out; Sub and Div where there is no channel axis."""
    mean_name, variance_name, factor_name = node.params
    stored = np.float32(build.graph.params[factor_name].reshape(-1)[0])
    factor = np.float32(0) if stored == 0 else np.float32(1) / stored
    mean = build.graph.params[mean_name].astype(np.float32) * factor
    variance = build.graph.params[variance_name].astype(np.float32) * factor
    if len(build.shape(node.inputs[0])) < 2:
        deviation = np.sqrt(variance + np.float32(op.eps))
        centred = build.node("Sub", [node.inputs[0], build.constant(mean, node, "mean")], node)
        divisor = build.constant(deviation, node, "deviation")
        build.node("Div", [centred, divisor], node, output=node.outputs[0])
        return
    tensors = [
        build.constant(np.ones_like(mean), node, "scale"),
        build.constant(np.zeros_like(mean), node, "bias"),
        build.constant(mean, node, "mean"),
        build.constant(variance, node, "variance"),
    ]
    attributes = {"epsilon": op.eps}
    build.node("BatchNormalization", [node.inputs[0], *tensors], node, output=node.outputs[0], attributes=attributes)
