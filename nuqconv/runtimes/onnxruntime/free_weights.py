"""One session in which the weights of layers can be exchanged from run to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnxruntime
from onnx import ModelProto

from nuqconv.backends.onnx.batch import batch_problems
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.backends.onnx.opset import ORT_ERRORS
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Convolution, Deconvolution, InnerProduct
from nuqconv.runtimes.onnxruntime.session import OnnxSession

__all__ = ["FreeWeightsSession"]


class FreeWeightsSession(OnnxSession):
    """A session whose chosen parameters are inputs: fed once with the graph's own, exchanged for single runs, never copied.

    onnxruntime lays constant weights out for its fastest convolution; weights that are inputs cannot be, so a run takes longer than one of
    an `OnnxSession` (about twice as long on nets of convolutions). What it saves is a session for each set of weights.

    Args:
        graph: A graph. Parameters that are not chosen stay constants.
        free: Names of the parameters that are to be exchanged; float32, of Convolution, Deconvolution and InnerProduct layers.
        outputs: As in `OnnxSession`.
        threads: As in `OnnxSession`.

    Raises:
        ModelError: As in `OnnxSession`, or a parameter does not exist in the part of the graph that makes the outputs.
        UnsupportedError: As in `OnnxSession`, or a parameter is not of that kind.
    """

    def __init__(
        self, graph: Graph, free: Iterable[str], *, outputs: Sequence[str] | None = None, threads: int | None = None
    ) -> None:
        self._free = tuple(dict.fromkeys(free))
        self._inputs_of: dict[str, list[str]] = {name: [] for name in self._free}
        super().__init__(graph, outputs=outputs, threads=threads)
        fed = {name for names in self._inputs_of.values() for name in names}
        self._shapes = {item.name: tuple(item.shape) for item in self._session.get_inputs() if item.name in fed}
        self.inputs = {name: shape for name, shape in self.inputs.items() if name not in fed}
        self._shape_of = {param: graph.params[param].shape for param in self._free}
        self._own = {param: self._values(param, graph.params[param]) for param in self._free}
        self._binding = self._session.io_binding()
        for param in self._free:
            self._bind(self._own[param])

    def run(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        weights: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Runs the network once.

        Args:
            inputs: As in `OnnxSession`.
            outputs: As in `OnnxSession`.
            weights: Parameters that are exchanged in this run alone, float32 in the shape of the graph's.

        Returns:
            New arrays by name, in the order of ``outputs``.

        Raises:
            ModelError: As in `OnnxSession`, or a parameter is not free or has another shape or dtype.
        """
        wanted = self._wanted(inputs, outputs)
        exchanged = {name: self._values(name, array) for name, array in (weights or {}).items()}
        try:
            for values in exchanged.values():
                self._bind(values)
            self._bind({name: _ort_value(inputs[name]) for name in self.inputs})
            self._binding.clear_binding_outputs()
            for name in wanted:
                self._binding.bind_output(name)
            self._session.run_with_iobinding(self._binding)
            results = self._binding.copy_outputs_to_cpu()
        except ORT_ERRORS as error:
            raise ModelError(f"{self._subject}: onnxruntime failed: {error}") from error
        finally:
            for name in exchanged:
                self._bind(self._own[name])
        return dict(zip(wanted, results, strict=True))

    def _from_graph(self, graph: Graph, outputs: Sequence[str] | None, *, integer: bool) -> ModelProto:
        """Cuts the graph as its base does, and makes the free parameters inputs."""
        del integer
        part = self._cut(graph, outputs)
        self._check(part)
        self._fixed = batch_problems(part)
        model = lower_graph(part, dynamic_batch=not self._fixed)
        for tensor, source in model.sources.items():
            if source.param in self._inputs_of:
                self._inputs_of[source.param].append(tensor)
        return model.with_inputs({name for names in self._inputs_of.values() for name in names}).whole()

    def _check(self, graph: Graph) -> None:
        missing = [name for name in self._free if name not in graph.params]
        if missing:
            raise ModelError(
                f"{self._subject} has no parameters {', '.join(map(repr, missing))} in front of its outputs; free only those that it has"
            )
        problems = []
        for name in self._free:
            problems += [
                f"'{name}': {node.place} does not take its weights as an input"
                for node in graph.users(name)
                if not isinstance(node.op, Convolution | Deconvolution | InnerProduct)
            ]
            if graph.params[name].dtype != np.float32:
                problems.append(f"'{name}' is {graph.params[name].dtype}, expected float32")
        if problems:
            raise UnsupportedError(f"{self._subject}: parameters that cannot be exchanged", problems)

    def _values(self, param: str, array: Array) -> dict[str, onnxruntime.OrtValue]:
        """Returns what the inputs made of a parameter are fed with: views of the array where its memory allows it."""
        if param not in self._inputs_of:
            raise ModelError(
                f"{self._subject}: the weights '{param}' are constants of this session; name them when making it"
            )
        own = self._shape_of[param]
        if array.dtype != np.float32 or array.shape != own:
            raise ModelError(
                f"{self._subject}: weights '{param}' are {array.dtype} of shape {array.shape}, expected float32 of shape {own}"
            )
        return {name: _ort_value(array.reshape(self._shapes[name])) for name in self._inputs_of[param]}

    def _bind(self, values: Mapping[str, onnxruntime.OrtValue]) -> None:
        for name, value in values.items():
            self._binding.bind_ortvalue_input(name, value)


def _ort_value(array: Array) -> onnxruntime.OrtValue:
    # Weights are views on a file's bytes, at any address; onnxruntime wants aligned ones.
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.require(array, requirements=["C", "A"]))
