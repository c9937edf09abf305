"""An ONNX graph under construction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from nuqconv.backends.onnx.packing import Packed, pack, unpack_nodes
from nuqconv.backends.onnx.stream import Source
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Array, Graph, Node, Stepped
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Shape

__all__ = ["Attribute", "Builder", "FastProducts", "SteppedForm"]

Attribute: TypeAlias = int | float | str | Sequence[int] | Sequence[str] | GraphProto

FastProducts: TypeAlias = Literal["signed", "unsigned"]
"""The weights' type in a product with uint8."""

SteppedForm: TypeAlias = Literal["floats", "product", "dequantized"]
"""How a float parameter that is integers times step sizes is stored: as it is; as both, multiplied once when the model is loaded; or with a
DequantizeLinear, which a runtime may compute at every run, and compilers look for.
"""


class Builder:
    """Collects the ONNX nodes and tensors of one graph and keeps their names apart.

    Names of the graph's values are kept; tensors have their parameter's name; everything else gets a name derived from its layer's
    that no value, parameter or other helper has.

    Args:
        graph: The graph that is lowered.
        opset: The opset that is aimed at.
        open_sizes: Values whose axis 0 stays open, and the name of that size; empty when all sizes are fixed.
        packed: Whether int8 parameters of few levels are stored as packed indices and a codebook.
        stepped: How float parameters are stored that are integers times step sizes.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        opset: int,
        open_sizes: Mapping[str, str],
        packed: bool = False,
        stepped: SteppedForm = "floats",
    ) -> None:
        self.graph = graph
        self.opset = opset
        self.packed = packed
        self.stepped: SteppedForm = stepped
        self.open_sizes = open_sizes
        self.batched = frozenset(open_sizes)
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, Array] = {}
        self.sources: dict[str, Source] = {}
        self._values = {*graph.consumers, *graph.params}
        self._node_names = set(graph.node)
        self._named: set[str] = set()
        self._cached: dict[tuple[str, Shape, str], str] = {}
        self._types: dict[str, int] = {}
        self._shapes: dict[str, Sequence[int | str] | None] = {}

    def shape(self, value: str) -> Shape:
        """Returns the shape of a value of the graph.

        Raises:
            UnsupportedError: The shape is unknown.
        """
        shape = self.graph.shapes[value]
        if shape is None:
            raise UnsupportedError(f"network '{self.graph.name}': the shape of '{value}' is not known; ONNX needs it")
        return shape

    def dims(self, value: str) -> tuple[int, ...]:
        """Returns the shape of a value as the target of a Reshape: -1 where axis 0 stays open."""
        shape = self.shape(value)
        return (-1, *shape[1:]) if value in self.open_sizes else shape

    def node(
        self,
        op_type: str,
        inputs: Sequence[str],
        layer: Node,
        *,
        output: str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
        domain: str = "",
    ) -> str:
        """Adds a node.

        Args:
            op_type: ONNX operator.
            inputs: Names of its inputs.
            layer: The layer that it belongs to, for its name.
            output: Name of its output; without it a name is derived.
            attributes: Its attributes.
            domain: The domain of its operator.

        Returns:
            The name of its output.
        """
        return self.multi_node(op_type, inputs, layer, outputs=(output,), attributes=attributes, domain=domain)[0]

    def multi_node(
        self,
        op_type: str,
        inputs: Sequence[str],
        layer: Node,
        *,
        outputs: Sequence[str | None],
        attributes: Mapping[str, Attribute] | None = None,
        domain: str = "",
    ) -> tuple[str, ...]:
        """Adds a node that may have several outputs.

        Args:
            op_type: ONNX operator.
            inputs: Names of its inputs.
            layer: The layer that it belongs to, for its name.
            outputs: Names of its outputs; where one is None a name is derived, and an empty name leaves the output out.
            attributes: Its attributes.
            domain: The domain of its operator.

        Returns:
            The names of its outputs.
        """
        names = tuple(
            fresh_name(f"{layer.name}/{op_type}", self._values) if output is None else output for output in outputs
        )
        # The first node that makes one of the layer's own values has the layer's name.
        if layer.name not in self._named and any(name in layer.outputs for name in names):
            self._named.add(layer.name)
            node_name = layer.name
        else:
            node_name = fresh_name(f"{layer.name}/{op_type}", self._node_names)
        added = helper.make_node(op_type, list(inputs), list(names), node_name, domain=domain or None)
        added.attribute.extend(helper.make_attribute(key, value) for key, value in (attributes or {}).items())
        self.nodes.append(added)
        return names

    def name(self, layer: Node, purpose: str) -> str:
        """Returns a name that nothing in the graph has, for what a layer's body calls its own."""
        return fresh_name(f"{layer.name}/{purpose}", self._values)

    @contextmanager
    def nested(self) -> Iterator[list[NodeProto]]:
        """Collects the nodes that are added meanwhile in a list apart, for the body of a Scan, Loop or If.

        Tensors stay with the whole graph, where a body sees them. Parameters that need a Cast are to be asked for before.
        """
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer

    def param(self, name: str, shape: Shape | None = None) -> str:
        """Adds a parameter as a float32 tensor.

        Integers are stored as they are and converted by a Cast; integers times step sizes may be stored so.

        Args:
            name: Name of the parameter.
            shape: Another shape of as many elements, or None to keep its own.

        Returns:
            The name of the float32 tensor.
        """
        array = self.graph.params[name]
        parts = None if self.stepped == "floats" else self.graph.stepped.get(name)
        # A pass may have put another array there since.
        if parts is not None and np.array_equal(parts.floats, array):
            return self._product(name, parts, array.shape if shape is None else shape)
        stored = self.integers(name, array if shape is None else array.reshape(shape))
        if array.dtype == np.float32:
            return stored
        key = (stored, self.graph.params[name].shape, "Cast")
        if key not in self._cached:
            self._cached[key] = fresh_name(f"{stored}/Cast", self._values)
            node_name = fresh_name(f"{stored}/Cast", self._node_names)
            self.nodes.append(
                helper.make_node("Cast", [stored], [self._cached[key]], node_name, to=int(TensorProto.FLOAT))
            )
        return self._cached[key]

    def integers(self, name: str, array: Array) -> str:
        """Adds a parameter as it is stored, in its own shape or another, and returns the name of the tensor; int8 may be packed."""
        packed = pack(array) if self.packed else None
        if packed is not None:
            return self._unpacked(name, array.shape, packed)
        stored = self.tensor(array, name)
        self.sources[stored] = Source(name, _shaped(array.shape))
        return stored

    def _product(self, name: str, parts: Stepped, shape: Shape) -> str:
        """Adds integers with what multiplies them by their step sizes, and returns the name of the float32 result."""
        key = (name, shape, self.stepped)
        if key not in self._cached:
            value = self.integers(name, parts.integers)
            place = fresh_name(f"{name}/steps", self._values)
            if self.stepped == "dequantized":
                # One step size is a number, several stand along their axis.
                steps = parts.steps.reshape(() if parts.steps.size == 1 else (-1,))
                axis = int(np.argmax(parts.steps.shape))
                value = self._helper("DequantizeLinear", name, [value, self._store(steps, place)], axis=axis)
            else:
                value = self._helper("Cast", name, [value], to=int(TensorProto.FLOAT))
                value = self._helper("Mul", name, [value, self._store(parts.steps, place)])
            if shape != parts.integers.shape:
                target = self._store(np.array(shape, np.int64), fresh_name(f"{name}/shape", self._values))
                value = self._helper("Reshape", name, [value, target])
            self._cached[key] = value
        return self._cached[key]

    def _helper(self, op_type: str, param: str, inputs: Sequence[str], **attributes: int) -> str:
        """Adds a node of a parameter and returns the name of its output."""
        made = fresh_name(f"{param}/{op_type}", self._values)
        place = fresh_name(f"{param}/{op_type}", self._node_names)
        added = helper.make_node(op_type, list(inputs), [made], place)
        added.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(added)
        return made

    def _unpacked(self, name: str, shape: Shape, packed: Packed) -> str:
        """Adds packed weights with what unpacks them, and returns the name of the int8 result."""
        key = (name, shape, "packed")
        if key not in self._cached:
            result = fresh_name(f"{name}/unpacked", self._values)
            self._cached[key] = result
            self.nodes += unpack_nodes(
                shape,
                packed,
                result,
                lambda purpose: fresh_name(f"{name}/{purpose}", self._values),
                lambda array, purpose: self._store(array, fresh_name(f"{name}/{purpose}", self._values)),
            )
        return self._cached[key]

    def tensor(self, array: Array, name: str) -> str:
        """Adds a tensor derived from the parameter ``name``.

        Args:
            array: The numbers, of any dtype that ONNX has.
            name: Name of the parameter; the first tensor of a parameter gets that very name.

        Returns:
            The tensor's name; the same for the same parameter, shape and dtype.
        """
        key = (name, array.shape, array.dtype.str)
        if key not in self._cached:
            free = name not in self.tensors and name not in self.graph.consumers
            self._cached[key] = self._store(array, name if free else fresh_name(name, self._values))
        return self._cached[key]

    def constant(self, array: Array, layer: Node, purpose: str) -> str:
        """Adds a tensor of a layer that is no parameter and returns its name."""
        return self._store(array, fresh_name(f"{layer.name}/{purpose}", self._values))

    def derived(self, param: str, derive: Callable[[Array], Array], layer: Node, purpose: str) -> str:
        """Adds a tensor of a layer that is made of a parameter and returns its name."""
        name = self.constant(derive(self.graph.params[param]), layer, purpose)
        self.sources[name] = Source(param, derive)
        return name

    def number(self, value: float, layer: Node, purpose: str) -> str:
        """Adds a float32 scalar and returns its name."""
        return self.constant(np.array(value, np.float32), layer, purpose)

    def set_type(self, value: str, elem_type: int) -> None:
        """Notes that a value of the graph is not float32."""
        self._types[value] = elem_type

    def set_shape(self, value: str, shape: Sequence[int | str] | None) -> None:
        """Notes the shape of a value of the graph whose shape is known only at run time; a text names an open size, None says nothing."""
        self._shapes[value] = shape

    def elem_type(self, value: str) -> int:
        """Returns the ONNX element type of a value of the graph."""
        return self._types.get(value, int(TensorProto.FLOAT))

    def finish(self) -> GraphProto:
        """Returns the ONNX graph without its tensors."""
        made = {name for node in self.nodes for name in node.output}
        ends = {*self.graph.outputs, *(item.name for item in self.graph.inputs)}
        return helper.make_graph(
            self.nodes,
            self.graph.name or "network",
            [self._info(item.name) for item in self.graph.inputs],
            [self._info(name) for name in dict.fromkeys(self.graph.outputs)],
            value_info=[self._info(name) for name in self.graph.consumers if name in made and name not in ends],
        )

    def _info(self, value: str) -> ValueInfoProto:
        if value in self._shapes:
            return helper.make_tensor_value_info(value, self.elem_type(value), self._shapes[value])
        shape: list[int | str] = list(self.shape(value))
        if value in self.open_sizes:
            shape[0] = self.open_sizes[value]
        return helper.make_tensor_value_info(value, self.elem_type(value), shape)

    def _store(self, array: Array, name: str) -> str:
        self.tensors[name] = array
        self._values.add(name)
        return name


def _shaped(shape: Shape) -> Callable[[Array], Array]:
    def shaped(array: Array) -> Array:
        return array.reshape(shape)

    return shaped
