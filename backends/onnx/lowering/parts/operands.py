"""Operands laid out for ONNX's operators."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Builder
from nuqconv.ir import Node

__all__ = ["append_axes", "on_channels", "reshape_to", "times"]


def reshape_to(build: Builder, value: str, dims: tuple[int, ...], node: Node, output: str | None = None) -> str:
    """Adds a Reshape to ``dims`` and returns its output's name."""
    target = build.constant(np.array(dims, np.int64), node, "shape")
    return build.node("Reshape", [value, target], node, output=output)


def append_axes(build: Builder, node: Node, value: str, rank: int, count: int) -> str:
    """Gives a value of ``rank`` dimensions ``count`` more of size 1 at its end, and returns the name."""
    if not count:
        return value
    axes = build.constant(np.arange(rank, rank + count, dtype=np.int64), node, "axes")
    return build.node("Unsqueeze", [value, axes], node)


def on_channels(build: Builder, node: Node, param: str) -> str:
    """Returns a parameter of C elements (or one) with the axes that follow the channels, for broadcasting."""
    size, rank = build.graph.params[param].size, len(build.shape(node.inputs[0]))
    return build.param(param, (size, *(1,) * (rank - 2)))


def times(build: Builder, node: Node, value: str, factor: np.float32, purpose: str) -> str:
    """Multiplies a value by a number, if it is not 1, and returns the name."""
    return value if factor == 1 else build.node("Mul", [value, build.number(float(factor), node, purpose)], node)
