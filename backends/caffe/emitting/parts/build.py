"""The layers of one node under construction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nuqconv.backends.caffe.emitting.parts.bound import Bound
from nuqconv.backends.caffe.layer import OutputLayer, blob, new_layer
from nuqconv.backends.caffe.style import Style
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Shape

__all__ = ["Blob", "LayerBuilder"]

Fields = Mapping[str, object]
"""A parameter block: its fields by name."""


@dataclass(frozen=True)
class Blob:
    """A blob of the written model, with its shape."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class _Layer:
    name: str
    purpose: str
    layer_type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    arrays: tuple[Array, ...]
    fields: Mapping[str, Fields]


class LayerBuilder:
    """Collects the layers that compute one node.

    Emitters add layers whose tops have names of their own, and say at the end which blobs are the node's outputs. One layer gets the node's
    name: the one added with an empty purpose, else the one that makes the first output; the others are called ``node/purpose``.

    Args:
        graph: The graph that is written.
        node: The node.
        style: What quantized layers become.

    Attributes:
        op: The operator.
        outputs: What the node's outputs are to be.
        params: The node's parameters.
        constants: Operands that are constants, by their number among the operator's inputs.
    """

    def __init__(self, graph: Graph, node: Node, style: Style) -> None:
        self.node = node
        self.op = node.op.op if isinstance(node.op, Bound) else node.op
        self.outputs = tuple(Blob(graph.storage_name(name), self._shape(graph, name)) for name in node.outputs)
        self._taken = set(graph.names)
        self._layers: list[_Layer] = []
        self._made: dict[int, str] = {}
        params = tuple(style.layers.stored(graph.params[name]) for name in node.params)
        bound = node.op.bound if isinstance(node.op, Bound) else ()
        self.constants: dict[int, Array] = dict(zip(bound, params, strict=False))
        self.params = params[len(bound) :]
        blobs = iter(Blob(graph.storage_name(name), self._shape(graph, name)) for name in node.inputs)
        count = len(node.inputs) + len(bound)
        self._operands = [None if number in self.constants else next(blobs) for number in range(count)]

    @property
    def input(self) -> Blob:
        """The first input."""
        return self.operand(0)

    @property
    def inputs(self) -> tuple[Blob, ...]:
        """All inputs."""
        return tuple(self.operand(number) for number in range(len(self._operands)))

    def operand(self, number: int) -> Blob:
        """An input; one that is a constant becomes a Parameter layer when it is first asked for."""
        found = self._operands[number]
        if found is None:
            array = np.asarray(self.constants[number], np.float32, order="C")
            shape = {"dim": list(array.shape)}
            found = self.add("constant", "Parameter", [], array.shape, arrays=[array], parameter_param={"shape": shape})
            self._operands[number] = found
        return found

    @property
    def count(self) -> int:
        """The number of inputs."""
        return len(self._operands)

    def operand_shape(self, number: int) -> Shape:
        """The shape of an input, without making a layer for it."""
        found = self._operands[number]
        return self.constants[number].shape if found is None else found.shape

    def refuse(self, reason: str) -> UnsupportedError:
        """Returns the error that tells why this node cannot be written; to be raised."""
        return UnsupportedError(f"{self.node.place}: {reason}")

    def add(
        self,
        purpose: str,
        layer_type: str,
        bottoms: Sequence[Blob],
        shape: Shape,
        *,
        arrays: Sequence[Array] = (),
        **fields: Fields,
    ) -> Blob:
        """Adds a layer with one top.

        Args:
            purpose: What its name ends in; empty for the layer that is to have the node's name.
            layer_type: Its type.
            bottoms: What it reads.
            shape: The shape of its top.
            arrays: Its weights.
            **fields: Its parameter blocks by name, each a mapping of fields.

        Returns:
            Its top.
        """
        return self.add_many(purpose, layer_type, bottoms, [shape], arrays=arrays, **fields)[0]

    def add_many(
        self,
        purpose: str,
        layer_type: str,
        bottoms: Sequence[Blob],
        shapes: Sequence[Shape],
        *,
        arrays: Sequence[Array] = (),
        **fields: Fields,
    ) -> tuple[Blob, ...]:
        """Adds a layer with any number of tops; see `add`."""
        name = self._fresh(purpose or layer_type.lower())
        tops = tuple(Blob(self._fresh(purpose) if number else name, shape) for number, shape in enumerate(shapes))
        names = tuple(item.name for item in bottoms), tuple(item.name for item in tops)
        self._layers.append(_Layer(name, purpose, layer_type, *names, tuple(arrays), fields))
        return tops

    def finish(self, *results: Blob) -> None:
        """Says which blobs are the node's outputs, in order.

        An input that is handed on becomes one by a Split, and so does what layers of this node read: to Caffe it is no output.
        """
        used: set[str] = {item.name for item in self._operands if item is not None}
        used.update(name for layer in self._layers for name in layer.bottoms)
        for number, (wanted, found) in enumerate(zip(self.outputs, results, strict=True)):
            if found.shape != wanted.shape:
                raise ValueError(f"{self.node.place}: writes shape {found.shape} as {wanted.shape}")
            made = found
            if found.name in used:
                made = self.add("copy", "Split", [found], found.shape)
            used.add(made.name)
            self._made[number] = made.name

    def layers(self) -> list[OutputLayer]:
        """Returns the layers, with the outputs' names in place."""
        renamed = {made: self.outputs[number].name for number, made in self._made.items()}
        used = self._used()
        main = self._main(used)
        found = []
        for number, item in enumerate(used):
            name = self.node.name if number == main else item.name
            bottoms = [renamed.get(text, text) for text in item.bottoms]
            message: Any = new_layer(name, item.layer_type, bottoms, [renamed.get(text, text) for text in item.tops])
            for block, fields in item.fields.items():
                fill(getattr(message, block), fields)
            found.append(OutputLayer(message, tuple(blob(array) for array in item.arrays)))
        return found

    def _used(self) -> list[_Layer]:
        """Returns the layers without those whose tops nobody reads: they would be outputs of the net."""
        needed = set(self._made.values())
        made: set[str] = set()
        for item in reversed(self._layers):
            made.update(item.tops)
            if needed.intersection(item.tops):
                needed.update(item.bottoms, item.tops)
        return [
            item
            for item in self._layers
            if needed.intersection(item.tops)
            or (not item.tops and any(name in needed or name not in made for name in item.bottoms))
        ]

    def _main(self, layers: Sequence[_Layer]) -> int:
        """Returns which layer has the node's name."""
        last = 0
        for number, item in enumerate(layers):
            if not item.purpose:
                return number
            if self._made.get(0) in item.tops:
                last = number
        return last

    def _fresh(self, purpose: str) -> str:
        """Returns a name that nothing in the graph has; other nodes' helpers have other beginnings."""
        return fresh_name(f"{self.node.name}/{purpose}", self._taken)

    def _shape(self, graph: Graph, value: str) -> Shape:
        shape = graph.shapes[value]
        if shape is None:
            raise self.refuse(f"the shape of '{value}' is not known before the run, and its Caffe form depends on it")
        if 0 in shape:
            raise self.refuse(
                f"'{value}' of shape {'x'.join(map(str, shape))} holds nothing, and a Caffe blob holds something"
            )
        return shape


_PAIRED = re.compile(r"(kernel|stride|pad)_[hw]")
"""Fields that are written together, whatever they hold."""


def fill(message: Any, fields: Fields) -> None:
    """Sets fields of a message; those that have their default already are left out, so that the text stays short."""
    for name, value in fields.items():
        current = getattr(message, name)
        if isinstance(value, Mapping):
            fill(current, value)
        elif hasattr(current, "extend"):
            current.extend(value if isinstance(value, Sequence) else [value])
        else:
            descriptor = message.DESCRIPTOR.fields_by_name[name]
            number = descriptor.enum_type.values_by_name[value].number if descriptor.enum_type is not None else value
            told = descriptor.has_default_value and number == descriptor.default_value
            if not told or _PAIRED.fullmatch(name):
                setattr(message, name, number)
