"""Short names for layers that take many ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import reshape_to
from nuqconv.ir import Array, Node

__all__ = ["Steps"]


class Steps:
    """Adds nodes of one layer.

    Args:
        build: The ONNX graph under construction.
        node: The layer that the nodes belong to.
    """

    def __init__(self, build: Builder, node: Node) -> None:
        self.build = build
        self.node = node

    def call(self, op_type: str, *inputs: str, **attributes: Attribute) -> str:
        """Adds a node with one output and returns its name."""
        return self.build.node(op_type, inputs, self.node, attributes=attributes)

    def calls(self, op_type: str, *inputs: str, outputs: int, **attributes: Attribute) -> tuple[str, ...]:
        """Adds a node with several outputs and returns their names."""
        return self.build.multi_node(op_type, inputs, self.node, outputs=(None,) * outputs, attributes=attributes)

    def constant(self, array: Array) -> str:
        """Adds a tensor."""
        return self.build.constant(array, self.node, "constant")

    def number(self, value: float, rank: int = 0) -> str:
        """Adds one float32 number."""
        return self.constant(np.full((1,) * rank, value, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        """Adds a list of int64."""
        return self.constant(np.array(values, np.int64))

    def to(self, value: str, dims: tuple[int, ...]) -> str:
        """Adds a Reshape."""
        return reshape_to(self.build, value, dims, self.node)

    def floats(self, value: str) -> str:
        """Adds a Cast to float32."""
        return self.call("Cast", value, to=int(TensorProto.FLOAT))

    def whole(self, value: str) -> str:
        """Adds a Cast to int64."""
        return self.call("Cast", value, to=int(TensorProto.INT64))

    def filled(self, like: str, value: float) -> str:
        """Adds a float32 tensor of the shape of another that holds one number."""
        return self.call("Expand", self.number(value), self.call("Shape", like))

    def columns(self, value: str, count: int) -> tuple[str, ...]:
        """Takes the first columns of a matrix apart, each (rows, 1)."""
        return tuple(self.call("Gather", value, self.integers([column]), axis=1) for column in range(count))

    def halves(self, boxes: str) -> tuple[str, str]:
        """Takes (..., 4) apart into the first and the second two of axis 3."""
        first, second = (self.call("Gather", boxes, self.integers(part), axis=3) for part in ((0, 1), (2, 3)))
        return first, second
