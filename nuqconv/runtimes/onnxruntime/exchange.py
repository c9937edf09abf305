"""One session for quantized graphs that differ in numbers only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from onnx import ModelProto

from nuqconv.backends.onnx import styles
from nuqconv.backends.onnx.batch import batch_problems
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.backends.onnx.lowering.parts.products import product_layers
from nuqconv.backends.onnx.stream import Source
from nuqconv.ir import Array, Graph, Node
from nuqconv.ir.ops import Convolution, Dequantize, Quantize, Scale
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
    """A fast session that is fed the parameters of `exchangeable` in every run. It may be used from several threads.

    Args:
        graph: A quantized graph.
        outputs: As in `OnnxSession`.
        threads: As in `OnnxSession`.
        create: As in `OnnxSession`.

    Raises:
        ModelError, UnsupportedError: As in `OnnxSession`.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        outputs: Sequence[str] | None = None,
        threads: int | None = None,
        create: SessionMaker | None = None,
    ) -> None:
        self._sources: dict[str, Source] = {}
        super().__init__(graph, outputs=outputs, threads=threads, create=create)
        self.inputs = {name: shape for name, shape in self.inputs.items() if name not in self._sources}

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
            Arrays by the name of an input of the session.
        """
        found = {}
        for name, source in self._sources.items():
            if last is not None and changed is not None and source.param not in changed:
                found[name] = last[name]
            else:
                found[name] = np.require(source.derive(params[source.param]), requirements=["C", "A"])
                # Whoever sends it to another process need not do so again.
                found[name].flags.writeable = False
        return found

    def run_with(self, inputs: Mapping[str, Array], tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the network once.

        Args:
            inputs: As in `OnnxSession.run`.
            tensors: What `tensors` returned.

        Raises:
            ModelError: As in `OnnxSession.run`.
        """
        wanted = self._wanted(inputs, None)
        return self._run(wanted, {**{name: inputs[name] for name in self.inputs}, **tensors})

    def _from_graph(self, graph: Graph, outputs: Sequence[str] | None, *, integer: bool) -> ModelProto:
        del integer
        part = self._cut(graph, outputs)
        self._fixed = batch_problems(part)
        model = lower_graph(part, style=styles.fast(fast_products()), dynamic_batch=not self._fixed)
        free = exchangeable(part)
        self._sources = {tensor: source for tensor, source in model.sources.items() if source.param in free}
        return model.with_inputs(self._sources).whole()
