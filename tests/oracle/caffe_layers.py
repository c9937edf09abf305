"""Real Caffe as the judge: one prototxt, one caffemodel, every blob compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_files import Params, current_weights


def inputs_text(**shapes: tuple[int, ...]) -> str:
    """Input layers as prototxt."""
    layers = []
    for name, shape in shapes.items():
        dims = " ".join(f"dim: {dim}" for dim in shape)
        layers.append(f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}')
    return "\n".join(layers)


def layer_text(kind: str, rest: str = "", *, bottoms: tuple[str, ...] = ("data",), name: str = "out") -> str:
    """One layer as prototxt."""
    bottom = " ".join(f'bottom: "{blob}"' for blob in bottoms)
    return f'layer {{ name: "{name}" type: "{kind}" {bottom} top: "{name}" {rest} }}'


def random_params(net: Net, rng: np.random.Generator) -> dict[str, tuple[str, list[Array]]]:
    """Weights for a net as Caffe has built it: layer -> (type, blobs)."""
    found = {}
    for layer in net.layers:
        blobs = [rng.standard_normal(shape).astype(np.float32) for shape in layer.param_shapes]
        if layer.type == "BatchNorm":
            blobs[1] = np.abs(blobs[1]) + np.float32(0.1)
            blobs[2] = np.full(blobs[2].shape, 3.7, np.float32)
        found[layer.name] = (layer.type, blobs)
    return found


def write_weights(path: Path, params: Params) -> None:
    """Writes a caffemodel."""
    path.write_bytes(current_weights(params).SerializeToString())


class Oracle:
    """Compares nuqconv's ONNX with real Caffe.

    Args:
        process: A living Caffe process.
        folder: Where files may go.
    """

    def __init__(self, process: CaffeProcess, folder: Path) -> None:
        self.process = process
        self.folder = folder

    def load(self, text: str, rng: np.random.Generator, change=None) -> tuple[Graph, Net]:
        """Gives a net random weights, and returns it as nuqconv's graph and as Caffe's net."""
        model, weights = self.folder / "net.prototxt", self.folder / "net.caffemodel"
        model.write_text(f'name: "net"\n{text}\n')
        with Net(model, process=self.process) as bare:
            params = random_params(bare, rng)
        if change is not None:
            change(params)
        write_weights(weights, params)
        return load_graph(model, weights), Net(model, weights, process=self.process)

    def check(
        self,
        text: str,
        *,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        change=None,
        seed: int = 0,
        batch: int | None = None,
        feeds: Mapping[str, Array] | None = None,
    ) -> Graph:
        """Runs both and compares every blob; returns the graph. Inputs that ``feeds`` does not give are random."""
        rng = np.random.default_rng(seed)
        graph, net = self.load(text, rng, change)
        with net:
            shapes = {item.name: (batch or item.shape[0], *item.shape[1:]) for item in graph.inputs}
            inputs = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
            inputs.update(feeds or {})
            values = [name for name in graph.consumers if name not in inputs and graph.storage_name(name) == name]
            theirs = net.run(inputs, values)
            ours = OnnxSession(graph, outputs=values, threads=1).run(inputs)
            for name in values:
                assert (ours[name].dtype, ours[name].shape) == (np.float32, theirs[name].shape)
                np.testing.assert_allclose(
                    ours[name], theirs[name], rtol=rtol, atol=atol, err_msg=f"blob {name}\n{text}"
                )
                if batch is None:
                    assert ours[name].shape == graph.shapes[name]
        return graph
