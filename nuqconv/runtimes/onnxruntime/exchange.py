"""One session for graphs that differ in numbers only."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from nuqconv.backends.onnx import styles
from nuqconv.backends.onnx.batch import batch_problems
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.backends.onnx.lowering.parts.products import product_layers
from nuqconv.backends.onnx.stream import LoweredModel, Source
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Convolution, Dequantize, Quantize, Scale, Weighted
from nuqconv.runtimes.onnxruntime.fast import fast_products
from nuqconv.runtimes.onnxruntime.session import OnnxSession, SessionMaker

__all__ = ["ExchangeSession", "exchangeable"]

_FEW_CHANNELS = 4


def exchangeable(graph: Graph, products: Collection[str] | None = None) -> frozenset[str]:
    """Returns the parameters that can be exchanged at little loss of speed: those of fast products and of first layers, and step sizes.

    Constant weights of other convolutions are laid out beforehand for the fastest algorithm, which weights that are inputs cannot be. On the
    few channels that a first layer has, that gains a quarter of its time, less than a new session costs.

    Args:
        graph: A quantized graph.
        products: Names of its fast products, if they are known already.
    """
    if products is None:
        products = product_layers(graph)
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for node in graph.nodes:
        free = node.name in products or isinstance(node.op, Scale | Dequantize) or _is_first(graph, node)
        names[free].update(node.params)
    return frozenset(names[True] - names[False])


def _is_first(graph: Graph, node: Node) -> bool:
    op = node.op
    maker = graph.producer.get(node.inputs[0]) if node.inputs else None
    quantized = maker is not None and isinstance(maker.op, Quantize)
    return (
        isinstance(op, Convolution)
        and quantized
        and op.group == 1
        and graph.params[node.params[0]].shape[1] <= _FEW_CHANNELS
    )


class ExchangeSession(OnnxSession):
    """A session for graphs that differ in some parameters only: those are inputs. It may be used from several threads.

    Without ``free`` they are those of `exchangeable`, which cost next to no speed; quantized layers are fast products. With it they are any
    weights: onnxruntime lays constant weights out for its fastest convolution, and weights that are inputs cannot be, so a run takes longer
    (about twice as long on nets of convolutions). What that saves is a session for each set of weights.

    Args:
        graph: A graph. Parameters that are not exchanged stay constants.
        free: Names of the parameters that are to be exchanged; float32, of Convolution, Deconvolution and InnerProduct layers.
        outputs: As in `OnnxSession`.
        threads: As in `OnnxSession`.
        create: As in `OnnxSession`.

    Raises:
        ModelError: As in `OnnxSession`, or a parameter in ``free`` does not exist in the part of the graph that makes the outputs.
        UnsupportedError: As in `OnnxSession`, or a parameter in ``free`` is not of that kind.
    """

    def __init__(
        self,
        graph: Graph,
        free: Iterable[str] | None = None,
        *,
        outputs: Sequence[str] | None = None,
        threads: int | None = None,
        create: SessionMaker | None = None,
    ) -> None:
        self._free = None if free is None else tuple(dict.fromkeys(free))
        self._sources: dict[str, Source] = {}
        super().__init__(graph, outputs=outputs, threads=threads, create=create)
        self.inputs = {name: shape for name, shape in self.inputs.items() if name not in self._sources}
        self._params = {source.param: graph.params[source.param] for source in self._sources.values()}
        self._own = self.tensors(self._params)

    def tensors(
        self,
        params: Mapping[str, Array],
        changed: Collection[str] | None = None,
        last: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Returns what is fed for parameters.

        Args:
            params: The parameters of a graph that differs from the session's only in those that can be exchanged.
            changed: Names of those that differ from the ones that ``last`` was made of; all if None.
            last: What was returned for others.

        Returns:
            Arrays by the name of an input of the session: views of the parameters where their memory allows it.
        """
        found = {}
        for name, source in self._sources.items():
            if last is not None and changed is not None and source.param not in changed:
                found[name] = last[name]
            else:
                # Weights are views on a file's bytes, at any address; onnxruntime wants aligned ones.
                found[name] = np.require(source.derive(params[source.param]), requirements=["C", "A"]).view()
                # Whoever sends it to another process need not do so again.
                found[name].flags.writeable = False
        return found

    def run(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Runs the network once with the graph's own parameters.

        Args:
            inputs: As in `OnnxSession.run`.
            outputs: As in `OnnxSession.run`.
            weights: Parameters that are others in this run, of the shape and dtype of the graph's.

        Raises:
            ModelError: As in `OnnxSession.run`, or a parameter cannot be exchanged or is of another shape or dtype.
        """
        tensors = self._own
        if weights:
            self._check_weights(weights)
            tensors = self.tensors({**self._params, **weights}, weights, tensors)
        return self.run_with(inputs, tensors, outputs)

    def run_with(
        self, inputs: Mapping[str, Array], tensors: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """Runs the network once.

        Args:
            inputs: As in `OnnxSession.run`.
            tensors: What `tensors` returned.
            outputs: As in `OnnxSession.run`.

        Raises:
            ModelError: As in `OnnxSession.run`.
        """
        wanted = self._wanted(inputs, outputs)
        return self._run(wanted, {**{name: inputs[name] for name in self.inputs}, **tensors})

    def _from_graph(self, graph: Graph, outputs: Sequence[str] | None, *, integer: bool) -> LoweredModel:
        """Cuts the graph as its base does, and makes the parameters that are exchanged inputs."""
        del integer
        part = self._cut(graph, outputs)
        if self._free is not None:
            self._check_free(part, self._free)
        self._fixed = batch_problems(part)
        model = lower_graph(part, style=styles.fast(fast_products()), dynamic_batch=not self._fixed)
        free = exchangeable(part) if self._free is None else self._free
        self._sources = {tensor: source for tensor, source in model.sources.items() if source.param in free}
        return model.with_inputs(self._sources)

    def _check_free(self, graph: Graph, free: Sequence[str]) -> None:
        missing = [name for name in free if name not in graph.params]
        if missing:
            raise ModelError(
                f"{self._subject} has no parameters {', '.join(map(repr, missing))} in front of its outputs; free only those that it has"
            )
        problems = []
        for name in free:
            problems += [
                f"'{name}': {node.place} does not take its weights as an input"
                for node in graph.users(name)
                if not isinstance(node.op, Weighted)
            ]
            if graph.params[name].dtype != np.float32:
                problems.append(f"'{name}' is {graph.params[name].dtype}, expected float32")
        if problems:
            raise UnsupportedError(f"{self._subject}: parameters that cannot be exchanged", problems)

    def _check_weights(self, weights: Mapping[str, Array]) -> None:
        for name, array in weights.items():
            if name not in self._params:
                raise ModelError(
                    f"{self._subject}: the weights '{name}' are constants of this session; name them when making it"
                )
            own = self._params[name]
            if array.dtype != own.dtype or array.shape != own.shape:
                raise ModelError(
                    f"{self._subject}: weights '{name}' are {array.dtype} of shape {array.shape}, expected {own.dtype} of shape {own.shape}"
                )
