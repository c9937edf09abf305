"""Graphs that did not come from Caffe, written as Caffe models and run in real Caffe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import nuqconv
from nuqconv.backends.onnx.lowering import lowering_for
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph, Input, Node
from nuqconv.ir.ops import Op, Parameter, Silence
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession


def one(op: Op, *shapes: tuple[int, ...], params: Sequence[Array] = ()) -> Graph:
    """A graph of one operator on inputs ``x0``, ``x1``...; its outputs are ``y0``, ``y1``..."""
    inputs = tuple(Input(f"x{number}", shape) for number, shape in enumerate(shapes))
    names = tuple(f"p{number}" for number in range(len(params)))
    made = op.infer(list(shapes), [array.shape for array in params])
    outputs = tuple(f"y{number}" for number in range(len(made)))
    node = Node("node", op, tuple(item.name for item in inputs), outputs, names)
    return Graph("one", inputs, (node,), dict(zip(names, params, strict=True)), outputs).verify()


def random_feeds(graph: Graph, seed: int = 0, scale: float = 2.0) -> dict[str, Array]:
    """Normal numbers for all inputs."""
    rng = np.random.default_rng(seed)
    return {item.name: (rng.standard_normal(item.shape) * scale).astype(np.float32) for item in graph.inputs}


class Judge:
    """Writes graphs as Caffe models and holds real Caffe's outputs against others.

    Args:
        process: A living Caffe process.
        folder: Where files may go.
    """

    def __init__(self, process: CaffeProcess, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.model, self.weights = folder / "m.prototxt", folder / "m.caffemodel"

    def run(self, graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Returns what real Caffe computes from the written files; the net's outputs must be the graph's, and nothing else."""
        nuqconv.save(graph, self.model, self.weights)
        again = load_graph(self.model, self.weights)
        assert set(again.outputs) == set(graph.outputs)
        assert {item.name: item.shape for item in again.inputs} == {item.name: item.shape for item in graph.inputs}
        # Constants may have gone into the layers that read them.
        kept = {node.name for node in graph.nodes if not isinstance(node.op, Parameter | Silence)}
        assert kept <= set(again.node)
        with Net(self.model, self.weights, process=self.process) as net:
            assert set(net.outputs) == set(graph.outputs)
            found = net.run(feeds, list(graph.outputs))
        for name in graph.outputs:
            assert found[name].shape == graph.shapes[name] == again.shapes[name]
        return found

    def check(
        self,
        graph: Graph,
        expected: Mapping[str, Array] | None = None,
        *,
        feeds: Mapping[str, Array] | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        exact: bool = False,
    ) -> dict[str, Array]:
        """Compares real Caffe on the written files, and onnxruntime on the graph's ONNX form, with ``expected`` and with each other.

        Returns:
            What Caffe gave.
        """
        inputs = dict(feeds) if feeds is not None else random_feeds(graph)
        found = self.run(graph, inputs)
        computed = [found]
        if all(lowering_for(node.op) for node in graph.nodes):
            computed.append(OnnxSession(graph, threads=1).run(inputs))
        wanted = computed[-1] if expected is None else expected
        for arrays in computed:
            for name in graph.outputs:
                if exact:
                    np.testing.assert_array_equal(arrays[name], wanted[name], err_msg=self.model.read_text())
                else:
                    text = self.model.read_text()
                    np.testing.assert_allclose(arrays[name], wanted[name], rtol=rtol, atol=atol, err_msg=text)
        return found
