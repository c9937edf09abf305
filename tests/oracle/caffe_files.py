"""Real Caffe as the judge of files in the wild: it loads them itself, and every blob is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import nuqconv
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession

Params = Mapping[str, tuple[str, list[Array]]]
"""Layer -> type and blobs."""


def fill(blob: Any, array: Array, *, legacy: bool = False) -> None:
    """Puts an array into a BlobProto, with the old four sizes if ``legacy``."""
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
    else:
        blob.shape.dim.extend(array.shape)
    blob.data.append(np.ascontiguousarray(array, "<f4").tobytes())


def current_weights(params: Params) -> Any:
    """Weights as the current form stores them."""
    net = NetParameter()
    for name, (kind, blobs) in params.items():
        layer = net.layer.add(name=name, type=kind)
        for array in blobs:
            fill(layer.blobs.add(), array)
    return net


class Judge:
    """Compares what nuqconv makes of files with what real Caffe makes of them.

    Args:
        process: A living Caffe process.
        folder: Where files may go.
    """

    def __init__(self, process: CaffeProcess, folder: Path) -> None:
        self.process = process
        self.model, self.weights = folder / "net.prototxt", folder / "net.caffemodel"
        self.again = (folder / "again.prototxt", folder / "again.caffemodel")

    def net(self, *files: Path) -> Net:
        """A net of real Caffe."""
        return Net(*(files or (self.model, self.weights)), process=self.process)

    def write(self, text: str, store: Callable[[Params], Any] = current_weights) -> dict[str, tuple[int, ...]]:
        """Writes a prototxt and random weights for it as ``store`` makes them; returns the shapes of Caffe's blobs."""
        rng = np.random.default_rng(0)
        self.model.write_text(text)
        with self.net(self.model) as bare:
            params = {
                layer.name: (layer.type, [rng.standard_normal(s).astype(np.float32) for s in layer.param_shapes])
                for layer in bare.layers
                if layer.param_shapes
            }
            shapes = {name: bare.blobs[name].shape for name in bare.blobs}
        self.weights.write_bytes(store(params).SerializeToString())
        return shapes

    def check(self, graph: Graph, files: tuple[Path, ...] = (), *, rtol: float = 1e-5, atol: float = 1e-5) -> None:
        """Compares every blob that a graph and Caffe's net from ``files`` both have, from the same inputs."""
        rng = np.random.default_rng(1)
        inputs = {
            graph.storage_name(item.name): rng.standard_normal(item.shape).astype(np.float32) for item in graph.inputs
        }
        values = [name for name in graph.consumers if graph.storage_name(name) == name and name not in inputs]
        with self.net(*files) as net:
            known = {name: inputs.get(name, np.zeros(net.blobs[name].shape, np.float32)) for name in net.inputs}
            theirs = net.run(known, [name for name in values if name in set(net.blobs)])
        ours = OnnxSession(graph, outputs=values, threads=1).run(graph.feeds(inputs))
        assert theirs
        for name, expected in theirs.items():
            assert ours[name].shape == expected.shape == graph.shapes[name]
            np.testing.assert_allclose(ours[name], expected, rtol=rtol, atol=atol, err_msg=f"blob {name}")

    def check_written(self, graph: Graph) -> str:
        """Compares a graph with Caffe's run of it written back; returns the prototxt written."""
        nuqconv.save(graph, *self.again)
        self.check(graph, self.again)
        notes: list[str] = []
        read = nuqconv.load(*self.again, notes=notes)
        assert (read.nodes, notes) == (graph.nodes, [])
        return self.again[0].read_text()
