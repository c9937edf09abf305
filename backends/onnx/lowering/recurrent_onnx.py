"""Recurrent layers as ONNX has them."""

from __future__ import annotations

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.ir import Node
from nuqconv.ir.ops import Recurrent

__all__: list[str] = []


@lowers(Recurrent)
def recurrent(build: Builder, node: Node, op: Recurrent) -> None:
    """LSTM, GRU or RNN, with the streams as axis 1: onnxruntime's kernels know no other layout."""
    attributes: dict[str, Attribute] = {"hidden_size": op.hidden, "direction": op.direction}
    if op.activations:
        attributes["activations"] = list(op.activations)
    if op.clip is not None:
        attributes["clip"] = op.clip
    if op.cell == "GRU":
        attributes["linear_before_reset"] = int(op.linear_before_reset)
    params = [build.param(name) for name in node.params]
    biases = params[2:] or [""]
    inputs = list(node.inputs)
    if op.batch_first:
        inputs = [build.node("Transpose", [name], node, attributes={"perm": (1, 0, 2)}) for name in inputs]
    states = ["", *inputs[1:]] if op.states else []
    names = (None,) * len(node.outputs) if op.batch_first else node.outputs
    listed = [inputs[0], *params[:2], *biases, *states]
    while not listed[-1]:
        listed.pop()
    made = build.multi_node(op.cell, listed, node, outputs=names, attributes=attributes)
    if op.batch_first:
        orders = [(2, 0, 1, 3), *((1, 0, 2),) * op.num_states]
        for value, output, order in zip(made, node.outputs, orders, strict=True):
            build.node("Transpose", [value], node, output=output, attributes={"perm": order})
