"""Layers that the user has registered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from onnx import defs

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Array, Node
from nuqconv.ir.ops import Custom
from nuqconv.ir.ops.custom import USER_ERRORS

__all__ = ["OnnxLayer"]


class OnnxLayer:
    """Adds ONNX nodes for one layer; what a registered lowering gets.

    Attributes:
        inputs: Names of the layer's inputs.
        blobs: Names of its weights as float32 tensors.
        opset: The opset that is written; operators must exist in it.
    """

    def __init__(self, build: Builder, node: Node) -> None:
        self._build = build
        self._node = node
        self.inputs: tuple[str, ...] = node.inputs
        self.blobs: tuple[str, ...] = tuple(build.param(name) for name in node.params)
        self.opset: int = build.opset
        self._made = {*self.inputs, *self.blobs}

    def add(self, op_type: str, *inputs: str, **attributes: Attribute) -> str:
        """Adds a node and returns the name of its output.

        Args:
            op_type: An ONNX operator.
            inputs: Names of its inputs; an empty one leaves an optional input out.
            attributes: Its attributes.

        Raises:
            ValueError: ONNX has no such operator, or the layer no such value.
        """
        return self.add_many(op_type, *inputs, outputs=1, **attributes)[0]

    def add_many(self, op_type: str, *inputs: str, outputs: int, **attributes: Attribute) -> tuple[str, ...]:
        """Adds a node with several outputs and returns their names."""
        if not defs.has(op_type, self.opset):
            raise ValueError(f"opset {self.opset} of ONNX has no operator {op_type}")
        self.check([name for name in inputs if name])
        names = self._build.multi_node(op_type, inputs, self._node, outputs=(None,) * outputs, attributes=attributes)
        self._made.update(names)
        return names

    def constant(self, value: ArrayLike) -> str:
        """Adds a tensor and returns its name: floats become float32, Python integers int64."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self._build.constant(array, self._node, "constant")
        self._made.add(name)
        return name

    def check(self, names: Sequence[str]) -> None:
        """Raises ValueError for a name that is neither an input, a weight nor made here."""
        for name in names:
            if name not in self._made:
                raise ValueError(f"the layer has no value {name!r}")

    def blob(self, number: int) -> Array:
        """Returns the numbers of a weight, read-only."""
        return self._build.graph.params[self._node.params[number]]

    def dims(self, number: int) -> tuple[int, ...]:
        """Returns the shape of an input as the target of a Reshape: -1 for a batch that stays open."""
        return self._build.dims(self._node.inputs[number])


@lowers(Custom)
def custom(build: Builder, node: Node, op: Custom) -> None:
    """Whatever the user's function adds, with an Identity for each top, so that it has its name."""
    layer = op.layer(
        [build.shape(name) for name in node.inputs], [build.graph.params[name].shape for name in node.params]
    )
    try:
        onnx = OnnxLayer(build, node)
        found = op.definition.lower(layer, onnx)
        names = [found] if isinstance(found, str) else list(found)
        onnx.check(names)
    except USER_ERRORS as error:
        raise UnsupportedError(
            f"{node.place}: the registered lowering raised {type(error).__name__}: {error}"
        ) from error
    if len(names) != len(node.outputs):
        raise UnsupportedError(
            f"{node.place}: the registered lowering returned {len(names)} values for {len(node.outputs)} tops"
        )
    for name, output in zip(names, node.outputs, strict=True):
        if build.graph.shapes[output] is None:
            build.set_shape(output, None)
        build.node("Identity", [name], node, output=output)
