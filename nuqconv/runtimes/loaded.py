"""Models that are ready to run: with the outputs that were asked for, or with every blob for a comparison."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

from nuqconv.errors import ModelError
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Opaque

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Loaded", "LoadedSide", "Side", "SideRun", "check_inputs", "input_shapes", "layer_type", "runnable_values"]

_ROOM = 256 << 20
"""Bytes of blobs that are held at once."""
_UNKNOWN = 1 << 20
"""Bytes of a blob whose shape nobody says."""


class Loaded(ABC):
    """A model that is ready to run, a context manager."""

    @abstractmethod
    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Runs a batch.

        Args:
            batch: Inputs by the names that they have in the file, float32 (N, ...).

        Returns:
            The outputs that were asked for when it was loaded, by name.
        """

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Frees what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Side(ABC):
    """One runtime with one model as a comparison needs it, a context manager.

    Attributes:
        label: What it is, for people.
        names: The blobs that it gives, in the order of execution.
        inputs: Shape of each input by blob name; None is an open size.
        outputs: The model's outputs.
        graph: The model as it was read from Caffe, or None.
        notes: What should be known of it.
        keeps_states: Whether `in_order` gives each layer's own output, whatever a later layer does to its memory.
        own: Whether what runs is this package's own conversion, so that a fault of the converter is in it.
    """

    label: str
    names: tuple[str, ...]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    graph: Graph | None = None
    notes: tuple[str, ...] = ()
    keeps_states: bool = False
    own: bool = False

    @abstractmethod
    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs the model once and returns the blobs named; ``blob@layer`` may be asked too where it `has` that."""

    def has(self, name: str) -> bool:
        """Whether `run` gives a value."""
        return name in self.names

    def exact(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """The values of blobs at the moment when their layers have run, of those whose memory may be overwritten later."""
        del inputs, names
        return {}

    def states(self, name: str) -> tuple[str, ...]:
        """Returns the earlier states of a blob that in-place layers change, in the order in which they are made, as far as it `has` them."""
        if self.graph is None:
            return ()
        states = {state for state, blob in self.graph.storage.items() if blob == name}
        made = (value for node in self.graph.nodes for value in node.outputs if value in states)
        return tuple(state for state in made if self.has(state))

    def bottoms(self, name: str) -> tuple[str, ...] | None:
        """Returns the values that the layer of a value reads, constants left out; None for what no layer makes."""
        node = None if self.graph is None else self.graph.producer.get(name)
        return None if node is None else node.inputs

    def alone(self, name: str, given: Mapping[str, Array]) -> Array | None:
        """Computes a value from values of others that are given, on which all that it needs stands; None where a side has no way of its own."""
        del name, given
        return None

    def in_order(self, inputs: Mapping[str, Array], names: Sequence[str]) -> Iterator[tuple[str, Array]]:
        """Yields blobs one by one, as their layers have made them; so many are held at once as have room.

        Args:
            inputs: As in `run`.
            names: The blobs, in the order of execution.
        """
        for group in self._groups(inputs, names):
            found = self.run(inputs, group)
            for name in group:
                yield name, found.pop(name)

    def _groups(self, inputs: Mapping[str, Array], names: Sequence[str]) -> Iterator[list[str]]:
        sizes = self.sizes(inputs)
        group: list[str] = []
        left = _ROOM
        for name in names:
            size = sizes.get(name, _UNKNOWN)
            if group and size > left:
                yield group
                group, left = [], _ROOM
            group.append(name)
            left -= size
        if group:
            yield group

    def sizes(self, inputs: Mapping[str, Array]) -> dict[str, int]:
        """Returns the bytes of each value of `names` with these inputs, as far as they are known."""
        if self.graph is None:
            return {}
        whole = {self.graph.storage_name(item.name): prod(item.shape) for item in self.graph.inputs}
        # A graph may run with other batches than it was read with.
        times = max((array.size / whole[name] for name, array in inputs.items() if whole.get(name)), default=1.0)
        shapes = self.graph.shapes
        known = {name: shapes.get(name) for name in self.names}
        return {name: int(4 * prod(shape) * times) for name, shape in known.items() if shape is not None}

    def layer(self, name: str) -> tuple[str, str]:
        """Returns name and type of the layer that makes a blob."""
        node = None if self.graph is None else self.graph.producer.get(name)
        return (name, "") if node is None else (node.name, layer_type(node))

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """Returns the weights that the runtime holds for a layer, or None where it does not tell."""
        del layer
        return None

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """Ends what is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LoadedSide(Side):
    """A side of a runtime that loads a model for the outputs that are wanted of it: it is loaded again for each set of names.

    Args:
        graph: The model.
        label: What it is.
        load: Makes the model ready to run with these outputs.
        names: The blobs that it gives; by default all values that no layer without meaning stands before.
    """

    def __init__(
        self, graph: Graph, label: str, load: Callable[[Sequence[str]], Loaded], names: Sequence[str] | None = None
    ) -> None:
        self.graph: Graph = graph
        self.label = label
        self.names = tuple(runnable_values(graph) if names is None else names)
        self.inputs = input_shapes(graph)
        self.outputs = graph.outputs
        self._load = load
        hidden = [node.place for node in graph.nodes if isinstance(node.op, Opaque)]
        if hidden:
            self.notes = (
                f"layers without a form in ONNX, and what depends on them, are left out: {'; '.join(hidden)}",
            )

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs what the names need."""
        with self._load(names) as loaded:
            return loaded.run(inputs)


class SideRun(Loaded):
    """A side with the outputs that are wanted of it.

    Args:
        side: The side; it is closed with this.
        outputs: Names of the blobs, or None for the model's own outputs.

    Raises:
        ModelError: The side does not give one of them; it is closed then.
    """

    def __init__(self, side: Side, outputs: Sequence[str] | None) -> None:
        self._side = side
        self._outputs = tuple(side.outputs if outputs is None else dict.fromkeys(outputs))
        missing = [name for name in self._outputs if not side.has(name)]
        if missing:
            side.close()
            raise ModelError(f"{side.label}: it does not give {', '.join(map(repr, missing))}")

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the model once."""
        return self._side.run(batch, self._outputs)

    def close(self) -> None:
        """Closes the side."""
        self._side.close()


def layer_type(node: Node) -> str:
    """The type of a layer as its file calls it."""
    return node.origin.layer_type if node.origin else node.op.kind


def input_shapes(graph: Graph) -> dict[str, tuple[int | None, ...]]:
    """The shape of each input by the name that it has in the file."""
    return {graph.storage_name(item.name): tuple(item.shape) for item in graph.inputs}


def runnable_values(graph: Graph) -> list[str]:
    """The values that no layer without meaning stands before, in the order of execution."""
    good = {item.name for item in graph.inputs}
    for node in graph.nodes:
        if not isinstance(node.op, Opaque) and good.issuperset(node.inputs):
            good.update(node.outputs)
    return [name for node in graph.nodes for name in node.outputs if name in good]


def check_inputs(side: Side, inputs: Mapping[str, Array]) -> None:
    """Raises ModelError unless there is an array for each input, and none besides."""
    problems = [f"input '{name}' is missing" for name in side.inputs if name not in inputs]
    problems += [f"'{name}' is no input" for name in inputs if name not in side.inputs]
    if problems:
        raise ModelError(f"{side.label}: needs {', '.join(side.inputs) or 'no inputs'}", problems)
