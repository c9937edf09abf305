"""What a converter sees of the model: one node, and the graph as far as it is built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from nuqconv.frontends.onnx.integers import Stored
from nuqconv.frontends.onnx.types import WHOLE
from nuqconv.ir import Array, Node, Origin
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Op, Opaque, OpError, Parameter, Shape

__all__ = ["CannotConvertError", "NodeView", "Reading", "number_array"]

_LARGEST_WHOLE = 2**24


class CannotConvertError(Exception):
    """A node has no form in the graph; the text says why."""


class NodeView:
    """A node of an ONNX graph with the meaning of its opset.

    Attributes:
        proto: The message.
        name: Unique name.
        version: Version of its domain's opset.
        inputs: Names of the values and constants read; empty where one is left out.
        outputs: Names of the values made; empty where one is left out.
    """

    def __init__(self, proto: NodeProto, name: str, version: int) -> None:
        self.proto = proto
        self.name = name
        self.version = version
        self.inputs = tuple(proto.input)
        self.outputs = tuple(proto.output)
        self._attributes: Mapping[str, AttributeProto] = {item.name: item for item in proto.attribute}

    @property
    def op_type(self) -> str:
        """The operator, with its domain if it is none of ONNX's own."""
        domain = self.proto.domain
        return f"{domain}.{self.proto.op_type}" if domain not in ("", "ai.onnx") else str(self.proto.op_type)

    def has(self, name: str) -> bool:
        """Returns whether an attribute is given."""
        return name in self._attributes

    def get(self, name: str, default: Any = None) -> Any:
        """Returns an attribute: a number, a text, a list of them, or an array."""
        item = self._attributes.get(name)
        if item is None:
            return default
        if item.ref_attr_name:
            raise CannotConvertError(f"attribute '{name}' refers to one of a function")
        value = helper.get_attribute_value(item)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value

    def integers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """Returns an attribute that is a list of integers."""
        value = self.get(name)
        if value is None:
            return None if default is None else tuple(default)
        return tuple(int(item) for item in value)

    def has_input(self, index: int) -> bool:
        """Returns whether an input is given."""
        return index < len(self.inputs) and bool(self.inputs[index])


_FAR_BELOW = -1e30


class Reading:
    """The graph as far as it is built.

    Attributes:
        constants: Arrays by the name of their value: initializers, and what could be computed already.
        shapes: Shapes of the values; None behind nodes that are not understood.
        nodes: Nodes so far.
        params: Parameters so far.
        notes: What was chosen or changed, in words.
        stored: For constants that a DequantizeLinear made, what they are made of.
        softened: Values of which nothing but a Softmax sees the numbers.
        declared: Shapes that the file declares for values, None for a size that it leaves open.
    """

    def __init__(
        self,
        file: str,
        constants: dict[str, Array],
        shapes: dict[str, Shape | None],
        types: Mapping[str, int] | None = None,
    ) -> None:
        self.file = file
        self._types = dict(types or {})
        self.constants = constants
        self.shapes = shapes
        self.nodes: list[Node] = []
        self.params: dict[str, Array] = {}
        self.notes: list[str] = []
        self.stored: dict[str, Stored] = {}
        self.softened: frozenset[str] = frozenset()
        self.declared: Mapping[str, tuple[int | None, ...]] = {}
        self._values = {*constants, *shapes}
        self._read: set[str] = set()
        self._node_names: set[str] = set()
        self._stored: dict[str, str] = {}

    def reserve(self, values: Sequence[str]) -> None:
        """Keeps names that the file uses from being made up."""
        self._values.update(values)

    def note_readers(self, values: Iterable[str]) -> None:
        """Adds names of values that nodes read, inner ones too, or that the model gives."""
        self._read.update(values)

    def is_read(self, value: str) -> bool:
        """Returns whether anything reads a value; an output without a name is read by nothing."""
        return bool(value) and value in self._read

    def constant(self, node: NodeView, index: int) -> Array | None:
        """Returns an input that is a constant; None if it is left out or computed."""
        return self.constants.get(node.inputs[index]) if node.has_input(index) else None

    def needed(self, node: NodeView, index: int, what: str) -> Array:
        """Returns an input that must be a constant.

        Raises:
            CannotConvertError: It is not.
        """
        found = self.constant(node, index)
        if found is not None:
            _check_real(found, f"its {what}")
        if found is None:
            raise CannotConvertError(
                f"its {what} must be known before the run, and is {'computed' if node.has_input(index) else 'missing'}"
            )
        return found

    def whole(self, node: NodeView, index: int, what: str) -> tuple[int, ...]:
        """Returns an input that must be constant integers, as a list."""
        return tuple(int(item) for item in np.asarray(self.needed(node, index, what)).reshape(-1))

    def argument(
        self, node: NodeView, index: int, name: str, default: Sequence[int] | None = None
    ) -> tuple[int, ...] | None:
        """Returns a list of integers that older opsets have as an attribute and newer ones as an input."""
        if node.has_input(index):
            return self.whole(node, index, name)
        return node.integers(name, default)

    def shape(self, node: NodeView, index: int = 0) -> Shape:
        """Returns the shape of an input.

        Raises:
            CannotConvertError: It is not known.
        """
        name = node.inputs[index]
        if name in self.constants:
            return tuple(self.constants[name].shape)
        found = self.shapes.get(name)
        if found is None:
            raise CannotConvertError(
                f"the shape of its input '{name}' is not known: it comes from a node that is not understood"
            )
        return found

    def is_whole(self, node: NodeView, index: int) -> bool:
        """Returns whether an input holds whole numbers in the file."""
        return self.type_of(node, index) in WHOLE

    def type_of(self, node: NodeView, index: int) -> int:
        """Returns the element type that an input has in the file, or 0 if it is not known."""
        name = node.inputs[index]
        if name in self.constants:
            return int(helper.np_dtype_to_tensor_dtype(self.constants[name].dtype))
        return self._types.get(name, 0)

    def learn_types(self, types: Mapping[str, int]) -> None:
        """Adds element types of values by name."""
        self._types = {**types, **self._types}

    def value(self, node: NodeView, index: int) -> str:
        """Returns the name of an input as a value of the graph; a constant becomes one by a Parameter node."""
        name = node.inputs[index]
        if name not in self.constants:
            return name
        return self.parameter(name, self.constants[name])

    def parameter(self, name: str, array: Array) -> str:
        """Returns the value of a Parameter node that makes a constant."""
        if name not in self._stored:
            made = self._finite(number_array(array, name), name)
            if not np.isfinite(made).all():
                raise CannotConvertError(f"constant '{name}' holds numbers that are infinite or none")
            stored = fresh_name(f"{name}", self._values) if name not in self.constants else name
            param = self.param(f"{name}/value", made)
            node = Node(
                fresh_name(name, self._node_names),
                Parameter(tuple(made.shape)),
                (),
                (stored,),
                (param,),
                self._origin(name, "Constant"),
            )
            self.nodes.append(node)
            self.shapes[stored] = tuple(made.shape)
            self._stored[name] = stored
        return self._stored[name]

    def param(self, name: str, array: Array) -> str:
        """Stores a float32 parameter and returns its name; the same array under the same name is stored once."""
        known = self.params.get(name)
        if (
            known is not None
            and known.shape == array.shape
            and known.dtype == array.dtype
            and np.array_equal(known, array)
        ):
            return name
        name = fresh_name(name, set(self.params))
        self.params[name] = array
        return name

    def _finite(self, array: Array, name: str) -> Array:
        """Returns a mask before a Softmax without its infinities: so far below all scores, the Softmax gives 0 as well."""
        hidden = np.isneginf(array)
        if name not in self.softened or not hidden.any() or (array.size > 1 and hidden.all(axis=-1).any()):
            return array
        self.notes.append(f"minus infinity in '{name}', a mask before a Softmax, is read as {_FAR_BELOW:g}")
        return np.where(hidden, np.float32(_FAR_BELOW), array).astype(array.dtype)

    def weight(self, node: NodeView, index: int, what: str, shape: Shape | None = None) -> str:
        """Stores a constant input as a parameter; see `needed`."""
        array = number_array(self.needed(node, index, what), node.inputs[index])
        return self.param(node.inputs[index], array if shape is None else array.reshape(shape))

    def fresh(self, node: NodeView, purpose: str) -> str:
        """Returns a name for a value that the file does not have."""
        return fresh_name(f"{node.name}/{purpose}", self._values)

    def add(
        self,
        node: NodeView,
        op: Op,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        params: Sequence[str] = (),
        purpose: str = "",
    ) -> str:
        """Adds a node to the graph.

        Args:
            node: The node that it stands for.
            op: The operator.
            inputs: Values read.
            outputs: Values made; by default those of the node.
            params: Parameters.
            purpose: What a node beside the main one is for; its output gets a name of its own.

        Returns:
            The first output.

        Raises:
            CannotConvertError: The operator does not fit its inputs.
        """
        if purpose and outputs is None:
            outputs = (self.fresh(node, purpose),)
        made = tuple(name or self.fresh(node, "unused") for name in (node.outputs if outputs is None else outputs))
        shapes: list[Shape] = []
        for name in inputs:
            shape = self.shapes.get(name)
            if shape is None:
                raise CannotConvertError(
                    f"the shape of its input '{name}' is not known: it comes from a node that is not understood"
                )
            shapes.append(shape)
        try:
            found = op.infer(shapes, [self.params[name].shape for name in params])
        except OpError as error:
            raise CannotConvertError(str(error)) from error
        self._place(node, op, inputs, made, params, purpose)
        self.shapes.update(zip(made, found, strict=True))
        return made[0]

    def add_opaque(self, node: NodeView, reason: str) -> None:
        """Adds a node that is not understood; the shapes of its outputs are unknown."""
        inputs = []
        for index, name in enumerate(node.inputs):
            if name in self.constants:
                try:
                    inputs.append(self.value(node, index))
                except CannotConvertError:
                    continue
            elif name:
                inputs.append(name)
        outputs = [name for name in node.outputs if name]
        self._place(node, Opaque(node.op_type, reason), inputs, outputs, (), "")
        self.shapes.update(dict.fromkeys(outputs))

    def mark(self) -> tuple[int, dict[str, Array], dict[str, Shape | None], dict[str, str]]:
        """Returns a state to go back to if a converter gives up halfway."""
        return len(self.nodes), dict(self.params), dict(self.shapes), dict(self._stored)

    def back_to(self, mark: tuple[int, dict[str, Array], dict[str, Shape | None], dict[str, str]]) -> None:
        """Goes back to a state."""
        count, self.params, self.shapes, self._stored = mark
        for node in self.nodes[count:]:
            self._node_names.discard(node.name)
        del self.nodes[count:]

    def _place(
        self, node: NodeView, op: Op, inputs: Sequence[str], outputs: Sequence[str], params: Sequence[str], purpose: str
    ) -> None:
        name = fresh_name(f"{node.name}/{purpose}" if purpose else node.name, self._node_names)
        self.nodes.append(
            Node(
                name,
                op,
                tuple(inputs),
                tuple(outputs),
                tuple(params),
                self._origin(node.name, node.op_type, node.proto),
            )
        )

    def _origin(self, name: str, op_type: str, proto: NodeProto | None = None) -> Origin:
        return Origin(self.file, None, name, op_type, "onnx", proto)


def number_array(array: Array, name: str) -> Array:
    """Returns an array of any number type as float32.

    Raises:
        CannotConvertError: It holds texts, complex numbers, or whole numbers that float32 does not hold.
    """
    if array.dtype == np.float32:
        return array
    if array.dtype.kind in "iu" and array.size and max(abs(int(array.min())), abs(int(array.max()))) > _LARGEST_WHOLE:
        raise CannotConvertError(f"constant '{name}' has whole numbers above 2^24, which float32 does not hold")
    _check_real(array, f"constant '{name}'")
    return array.astype(np.float32, order="C")


def _check_real(array: Array, subject: str) -> None:
    if array.dtype.kind not in "iufb" and array.dtype.name != "bfloat16":
        raise CannotConvertError(f"{subject} holds {array.dtype}, which are no real numbers")
