"""The graph: operators in execution order over named values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import ModelError
from nuqconv.ir.ops import Op, Opaque, OpError, Shape
from nuqconv.ir.origin import Origin

__all__ = ["Array", "Graph", "Input", "Node", "Stepped", "read_only"]

Array = NDArray[Any]


def read_only(array: Array) -> Array:
    """Returns ``array`` itself if it cannot be written to, else a view that cannot."""
    if not array.flags.writeable:
        return array
    view: Array = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class Input:
    """A graph input: name and float32 shape."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Node:
    """One operator applied.

    Attributes:
        name: Unique name, the layer's.
        op: The operator.
        inputs: Names of the values read.
        outputs: Names of the values made, each made once in a graph.
        params: Names of the constant tensors, in the operator's order.
        origin: Where the node came from.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[str, ...] = ()
    origin: Origin | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> str:
        """Where the node stands, for messages."""
        return str(self.origin) if self.origin else f"layer '{self.name}' ({self.op.kind})"


@dataclass(frozen=True, eq=False)
class Stepped:
    """What a float32 parameter is the product of, to the bit.

    Attributes:
        integers: int8, in the parameter's shape.
        steps: float32 step sizes that broadcast to it: one, or one for each index of a single axis.
    """

    integers: NDArray[np.int8]
    steps: NDArray[np.float32]

    @property
    def floats(self) -> NDArray[np.float32]:
        """The product."""
        return self.integers.astype(np.float32) * self.steps


@dataclass(frozen=True, eq=False)
class Graph:
    """A network at inference; built once, never changed.

    Attributes:
        name: The network's name.
        inputs: What the user feeds.
        nodes: The operators in an order in which they can run.
        params: The constant tensors by name, read-only.
        outputs: Names of the values that the user gets.
        storage: For a value that shares its storage name with others (Caffe's in-place layers), that name.
        stepped: For float parameters that are integers times step sizes, these: files may hold them instead.
    """

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    params: Mapping[str, Array]
    outputs: tuple[str, ...]
    storage: Mapping[str, str] = field(default_factory=dict)
    stepped: Mapping[str, Stepped] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "params", MappingProxyType({key: read_only(value) for key, value in self.params.items()})
        )
        object.__setattr__(self, "storage", MappingProxyType(dict(self.storage)))
        object.__setattr__(self, "stepped", MappingProxyType(dict(self.stepped)))

    def __repr__(self) -> str:
        inputs = ", ".join(f"{item.name} {'x'.join(map(str, item.shape))}" for item in self.inputs)
        total = sum(array.size for array in self.params.values())
        return (
            f"<Graph {self.name!r}: {len(self.nodes):,} nodes, {total:,} parameters, inputs {inputs or 'none'}, "
            f"outputs {', '.join(self.outputs) or 'none'}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        message = "a Graph holds messages of its source file and is not pickled; pass the model files instead"
        raise TypeError(message)

    @cached_property
    def node(self) -> Mapping[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that makes each value; graph inputs have none."""
        return {output: node for node in self.nodes for output in node.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each value, in order."""
        readers: dict[str, list[Node]] = {item.name: [] for item in self.inputs}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
            for name in node.outputs:
                readers.setdefault(name, [])
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all nodes and values, and those under which values are stored."""
        return frozenset((*self.node, *self.consumers, *self.storage.values()))

    @cached_property
    def shapes(self) -> Mapping[str, Shape | None]:
        """The shape of every value; None behind layers whose shapes are unknown.

        Raises:
            ModelError: The graph is wrong; all faults are listed.
        """
        shapes, problems = self._infer()
        if problems:
            raise ModelError(f"network '{self.name}' does not fit together", problems)
        return shapes

    def verify(self) -> Graph:
        """Checks structure, shapes and finiteness of the parameters.

        Returns:
            The graph itself.

        Raises:
            ModelError: All faults found, each with its place.
        """
        problems = self._structure_problems()
        if not problems:
            problems = [*self._infer()[1], *self._value_problems()]
        if problems:
            raise ModelError(f"network '{self.name}' is not valid", problems)
        return self

    def users(self, param: str) -> tuple[Node, ...]:
        """Returns the nodes that use a parameter; more than one where weights are shared."""
        return tuple(node for node in self.nodes if param in node.params)

    def storage_name(self, value: str) -> str:
        """Returns the name under which the source framework stores a value."""
        return self.storage.get(value, value)

    def feeds(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Returns arrays given by the inputs' storage names under the names of the graph's inputs; other names stay."""
        inputs = {self.storage_name(item.name): item.name for item in self.inputs}
        return {inputs.get(name, name): array for name, array in arrays.items()}

    def with_nodes(self, nodes: Iterable[Node], params: Mapping[str, Array] | None = None) -> Graph:
        """Returns a graph with other nodes (and parameters); parameters that no node uses are dropped."""
        nodes = tuple(nodes)
        used = {name for node in nodes for name in node.params}
        source = self.params if params is None else params
        return replace(self, nodes=nodes, params={name: array for name, array in source.items() if name in used})

    def with_names(self, names: Mapping[str, str]) -> Graph:
        """Returns the same graph with other names of values; where they are stored is then no longer said of those.

        Args:
            names: New names by old ones; no two values may come to have one name.
        """
        nodes = [
            replace(
                node,
                inputs=tuple(names.get(name, name) for name in node.inputs),
                outputs=tuple(names.get(name, name) for name in node.outputs),
            )
            for node in self.nodes
        ]
        inputs = tuple(replace(item, name=names.get(item.name, item.name)) for item in self.inputs)
        outputs = tuple(names.get(name, name) for name in self.outputs)
        kept = {value: place for value, place in self.storage.items() if value not in names}
        return replace(self, inputs=inputs, nodes=tuple(nodes), outputs=outputs, storage=kept)

    def up_to(self, values: Sequence[str]) -> Graph:
        """Returns the part of the graph that makes ``values``, with those as outputs.

        Raises:
            ModelError: A value does not exist.
        """
        missing = [name for name in values if name not in self.consumers]
        if missing:
            raise ModelError(f"network '{self.name}' has no value {', '.join(map(repr, missing))}")
        needed = set(values)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(node.inputs)
        part = self.with_nodes(reversed(kept))
        inputs = tuple(item for item in self.inputs if item.name in needed)
        return replace(part, inputs=inputs, outputs=tuple(values))

    def _structure_problems(self) -> list[str]:
        problems = []
        known = {item.name for item in self.inputs}
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                problems.append(f"{node.place}: another layer has the same name")
            names.add(node.name)
            low, high = node.op.min_inputs, node.op.max_inputs
            if len(node.inputs) < low or (high is not None and len(node.inputs) > high):
                wanted = f"{low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
                problems.append(f"{node.place}: has {len(node.inputs)} inputs, expected {wanted}")
            count = node.op.output_count(len(node.inputs))
            if count is not None and len(node.outputs) != count:
                problems.append(f"{node.place}: has {len(node.outputs)} outputs, expected {count}")
            problems += [
                f"{node.place}: input '{name}' is made by no earlier layer" for name in node.inputs if name not in known
            ]
            problems += [f"{node.place}: output '{name}' exists already" for name in node.outputs if name in known]
            problems += [
                f"{node.place}: parameter '{name}' is missing" for name in node.params if name not in self.params
            ]
            known.update(node.outputs)
        problems += [f"output '{name}' is made by no layer" for name in self.outputs if name not in known]
        return problems

    def _value_problems(self) -> list[str]:
        problems = []
        for node in self.nodes:
            for name in node.params:
                array = self.params[name]
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                    problems.append(f"{node.place}: {bad} of {array.size} numbers in '{name}' are NaN or infinite")
        return problems

    def _infer(self) -> tuple[dict[str, Shape | None], list[str]]:
        shapes: dict[str, Shape | None] = {item.name: item.shape for item in self.inputs}
        problems: list[str] = []
        for node in self.nodes:
            inputs = [shapes.get(name) for name in node.inputs]
            found: tuple[Shape | None, ...] = (None,) * len(node.outputs)
            if not isinstance(node.op, Opaque) and None not in inputs:
                try:
                    found = node.op.infer(
                        [s for s in inputs if s is not None], [self.params[p].shape for p in node.params]
                    )
                except OpError as error:
                    problems.append(f"{node.place}: {error}")
            shapes.update(zip(node.outputs, found, strict=True))
        return shapes, problems
