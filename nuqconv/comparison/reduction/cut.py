"""What of a model can be cut out, and the files of a part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from nuqconv.formats import CAFFE
from nuqconv.ir import Array, Graph, Input
from nuqconv.ir.ops import Shape

__all__ = ["STEMS", "Cuttable", "CuttableGraph", "Cutting", "Step", "Written"]

STEMS = ("model", "other")
"""What the files of one model, and of a second one, are called."""


@dataclass(frozen=True)
class Step:
    """A layer, or a node of an ONNX model.

    Attributes:
        name: Its name.
        kind: Its type.
        reads: The values that it reads; weights are none.
        makes: The values that it makes.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


@dataclass(frozen=True)
class Cutting:
    """Some steps of a model.

    Attributes:
        steps: Their numbers, in order.
        fed: The values that they read and do not make, in the order in which the model has them.
    """

    steps: tuple[int, ...]
    fed: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """The files of a part.

    Attributes:
        paths: The files.
        names: Value of the whole model -> what the part's reader calls it, where that is another name.
        inputs: Fed value of the whole model -> name under which arrays are given.
    """

    paths: tuple[Path, ...]
    names: Mapping[str, str]
    inputs: Mapping[str, str]


class Cuttable(ABC):
    """A model of which any steps can be written as a model of their own.

    Attributes:
        steps: Its steps in an order in which they can run.
        inputs: Names of the values that the user feeds.
        feedable: The values that may become inputs of a part.
        names_values: Whether it is this model's reader that says what values of a part are called; others follow it.
    """

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    feedable: frozenset[str]
    names_values: bool

    @cached_property
    def maker(self) -> Mapping[str, int]:
        """The number of the step that makes each value."""
        return {name: number for number, step in enumerate(self.steps) for name in step.makes}

    @cached_property
    def order(self) -> Mapping[str, int]:
        """The place of each value, inputs first."""
        made = (name for step in self.steps for name in step.makes)
        return {name: place for place, name in enumerate((*self.inputs, *made))}

    def cutting(self, wanted: Iterable[str], common: Collection[str]) -> Cutting:
        """Returns the steps that make some values from what can be fed.

        Args:
            wanted: The values.
            common: Values that can be fed; those that are wanted are made.
        """
        kept = set(wanted)
        waiting = [name for name in kept if name in self.maker]
        steps: set[int] = set()
        fed: set[str] = set()
        while waiting:
            number = self.maker[waiting.pop()]
            if number in steps:
                continue
            steps.add(number)
            for name in self.steps[number].reads:
                if name not in self.maker or (name in common and name not in kept):
                    fed.add(name)
                else:
                    waiting.append(name)
        # A value that another output of a kept step stands for needs no feeding.
        made = {name for number in steps for name in self.steps[number].makes}
        return Cutting(tuple(sorted(steps)), tuple(sorted(fed - made, key=self.order.__getitem__)))

    def layers(self, steps: Iterable[int] | None = None) -> tuple[Step, ...]:
        """Returns the steps, all by default, but for those that make constants."""
        numbers = range(len(self.steps)) if steps is None else steps
        return tuple(self.steps[number] for number in numbers if not self.feedable.isdisjoint(self.steps[number].makes))

    def ends(self, steps: Sequence[int]) -> tuple[str, ...]:
        """Returns the values of some steps that none of them reads."""
        read = {name for number in steps for name in self.steps[number].reads}
        return tuple(name for number in steps for name in self.steps[number].makes if name not in read)

    @abstractmethod
    def key(self, value: str) -> str:
        """Returns the name under which arrays are given for an input."""

    @abstractmethod
    def shape(self, value: str) -> Shape | None:
        """Returns the shape of a value, where it is known before anything runs."""

    @abstractmethod
    def write(
        self, steps: Sequence[int], fed: Mapping[str, Array], folder: Path, stem: str, names: Mapping[str, str]
    ) -> Written:
        """Writes some steps as a model.

        Args:
            steps: Their numbers, in order.
            fed: The values that become inputs, in order, with an array for the shape of each.
            folder: A folder for the files.
            stem: What the files are called, without their endings.
            names: What values are to be called, as another model's `Written.names`.

        Raises:
            ModelError, UnsupportedError: These steps make no model.
        """


class CuttableGraph(Cuttable):
    """A graph, written as a Caffe model.

    Args:
        graph: The graph.
    """

    names_values = True

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.feedable = frozenset(graph.consumers)
        self.inputs = tuple(item.name for item in graph.inputs)
        self.steps = tuple(
            Step(node.name, node.origin.layer_type if node.origin else node.op.kind, node.inputs, node.outputs)
            for node in graph.nodes
        )

    def key(self, value: str) -> str:
        """The blob's."""
        return self.graph.storage_name(value)

    def shape(self, value: str) -> Shape | None:
        """The graph's."""
        return self.graph.shapes.get(value)

    def write(
        self, steps: Sequence[int], fed: Mapping[str, Array], folder: Path, stem: str, names: Mapping[str, str]
    ) -> Written:
        """Writes them as a .prototxt, in which layers stand to the letter, and a .caffemodel; names are chosen here."""
        del names
        names, storage = self._names(steps, fed)
        nodes = tuple(
            replace(
                node,
                inputs=tuple(names[name] for name in node.inputs),
                outputs=tuple(names[name] for name in node.outputs),
            )
            for node in (self.graph.nodes[number] for number in steps)
        )
        params = {name: self.graph.params[name] for node in nodes for name in node.params}
        given = tuple(Input(names[name], tuple(array.shape)) for name, array in fed.items())
        ends = tuple(names[name] for name in self.ends(steps))
        part = Graph(self.graph.name, given, nodes, params, ends, storage).verify()
        paths = tuple(folder / f"{stem}{kind.suffixes[0]}" for kind in CAFFE.kinds)
        CAFFE.form(part).write(part, paths)
        return Written(paths, names, {name: storage.get(names[name], names[name]) for name in fed})

    def _names(self, steps: Sequence[int], fed: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Names the values as the reader of the part's file will: a blob's last state by the blob, an earlier one by its layer too.

        Where layers between two states of a blob are left out, the states are blobs of their own.

        Returns:
            New names, and the blob of each that is not called by it.
        """
        chains: dict[str, list[list[tuple[str, str]]]] = {}
        for name in fed:
            chains.setdefault(self.graph.storage_name(name), []).append([(name, "input")])
        for number in steps:
            node = self.graph.nodes[number]
            for name in node.outputs:
                found = chains.setdefault(self.graph.storage_name(name), [])
                goes_on = next((chain for chain in found if chain[-1][0] in node.inputs), None)
                if goes_on is None:
                    found.append([(name, node.name)])
                else:
                    goes_on.append((name, node.name))
        names: dict[str, str] = {}
        storage: dict[str, str] = {}
        taken = set(self.graph.names)
        for blob, found in chains.items():
            for number, chain in enumerate(reversed(found)):
                own = blob if not number else _fresh(blob, taken)
                for name, maker in chain[:-1]:
                    names[name] = f"{own}@{maker}"
                    storage[names[name]] = own
                names[chain[-1][0]] = own
        return names, storage


def _fresh(blob: str, taken: set[str]) -> str:
    number = 1
    while f"{blob}_{number}" in taken:
        number += 1
    taken.add(f"{blob}_{number}")
    return f"{blob}_{number}"
