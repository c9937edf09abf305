"""Real Caffe in the table of runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nuqconv.errors import RuntimeMissingError
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.base import Loaded, ModelPool, Runtime
from nuqconv.runtimes.caffe.cache import KeptNet
from nuqconv.runtimes.caffe.locate import find_caffe
from nuqconv.runtimes.caffe.net import Net
from nuqconv.runtimes.caffe.process import CaffeProcess
from nuqconv.runtimes.loaded import Side, input_shapes
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.pool import ChildPool

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Caffe"]


@dataclass(frozen=True)
class Caffe(Runtime):
    """Real Caffe, in child processes.

    Attributes:
        process: A living process to load models into; None starts one where it is needed. A pool starts its own in any case.
    """

    name = "caffe"
    title = "real Caffe"
    takes = frozenset({"caffe"})
    remedy = (
        "needed only to evaluate in real Caffe. `make caffe` in a checkout builds an environment with it (a Python 3.6 to 3.9 must be there), or set "
        "NUQCONV_CAFFE_PYTHON to an interpreter that can import caffe"
    )
    own_of = takes
    isolation = "always runs in a child process"

    process: CaffeProcess | None = None

    @property
    def evaluator(self) -> str:
        """The name of the class that was there first."""
        return "nuqconv.evaluators.CaffeEvaluator"

    def version(self) -> str:
        """Caffe, its Python, and where that is."""
        found = find_caffe()
        if found is None:
            raise RuntimeMissingError("not found")
        return f"{found.caffe_version}, Python {found.python_version} ({found.python})"

    def is_there(self) -> bool:
        """Whether there is a process already, or an interpreter that has Caffe."""
        return self.process is not None or find_caffe() is not None

    def shared(self, stack: ExitStack) -> Self:
        """Returns the runtime with one process for all models."""
        return self if self.process is not None else replace(self, process=stack.enter_context(CaffeProcess()))

    def lacks(self, model: Runnable) -> tuple[str, ...]:
        """Returns the types of layers that this Caffe does not have."""
        known = () if self.process is None else self.process.versions.layer_types
        types = {node.origin.layer_type for node in model.graph.nodes if node.origin is not None}
        return tuple(sorted(types.difference(known))) if known else ()

    def net(self, model: Runnable) -> Net:
        """Loads a model; the folder of the .prototxt is where modules of its Python layers are looked for.

        Raises:
            UnsupportedError: It is no Caffe model.
            RuntimeMissingError: There is no Caffe.
            FormatError: A file does not exist.
            CaffeProcessError: Caffe cannot load it.
        """
        self.check_takes(model)
        return Net(model.files[0], model.files[1], process=self.process, pythonpath=[model.files[0].parent])

    def load(self, model: Runnable, outputs: Sequence[str] | None = None) -> Loaded:
        """Makes a model ready to run; see `net` for what it raises."""
        return _Loaded(self.net(model), outputs)

    def pool(self) -> ModelPool:
        """Returns children that live until the pool is closed, in which weights are exchanged where only they differ."""
        return _Children(self)

    def side(self, model: Runnable) -> Side:
        """Returns a model as a comparison needs it, with the earlier states of blobs."""
        return _CaffeSide(model.graph, f"{self.title}: {model.label}", self.net(model))


class _Loaded(Loaded):
    def __init__(self, net: Net, outputs: Sequence[str] | None) -> None:
        self._net = net
        self._outputs = outputs

    def run(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        return dict(self._net.run(batch, self._outputs))

    def close(self) -> None:
        self._net.close()


class _Children(ChildPool[KeptNet], ModelPool):
    def __init__(self, runtime: Caffe) -> None:
        super().__init__(KeptNet)
        self._runtime = runtime

    @contextmanager
    def take(self, model: Runnable, outputs: Sequence[str] | None) -> Iterator[Loaded]:
        self._runtime.check_takes(model)
        with self.child(model.text) as child:
            # Not closed here: the net stays in its child.
            yield _Loaded(child.load(*map(str, model.files)), outputs)

    def close(self) -> None:
        """Ends the child processes; one that still evaluates ends after that."""
        self.end()


class _CaffeSide(Side):
    keeps_states = True

    def __init__(self, graph: Graph, label: str, net: Net) -> None:
        self.graph: Graph = graph
        self.label = label
        self._net = net
        self._states = {name: blob for name, blob in graph.storage.items() if name in graph.producer}
        made = (name for node in graph.nodes for name in node.outputs if name not in self._states)
        self.names = tuple(name for name in made if name in net.blobs)
        self.inputs = input_shapes(graph)
        self.outputs = graph.outputs

    def has(self, name: str) -> bool:
        """Earlier states of in-place blobs too: the net is then run up to their layer."""
        return name in self.names or (name in self._states and self._states[name] in self._net.blobs)

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs the net once, and once more where earlier states are among the names."""
        found: dict[str, Array] = dict(self._net.run(inputs, [name for name in names if name not in self._states]))
        found.update(self.exact(inputs, [name for name in names if name in self._states]))
        return {name: found[name] for name in names}

    def in_order(self, inputs: Mapping[str, Array], names: Sequence[str]) -> Iterator[tuple[str, Array]]:
        """Runs the net once, from each layer that makes one of the blobs to the next, and takes its tops before anybody changes them."""
        wanted = set(names)
        layers = [layer.name for layer in self._net.layers]
        begin = None
        for node in self.graph.nodes:
            made = [name for name in node.outputs if name in wanted]
            if made:
                blobs = [self.graph.storage_name(name) for name in made]
                values = self._net.run(inputs if begin is None else {}, blobs, start=begin, end=node.name)
                begin = next(iter(layers[layers.index(node.name) + 1 :]), None)
                yield from ((name, values[blob]) for name, blob in zip(made, blobs, strict=True))

    def exact(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Caffe lets Flatten, Reshape, Split and others share their bottom's memory, which an in-place layer then overwrites."""
        return dict(self.in_order(inputs, names))

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """Caffe's own."""
        return tuple(self._net.get_params(layer)) if layer in self._net.params else ()

    def close(self) -> None:
        """Frees the net, and ends the process if that is its own."""
        self._net.close()
