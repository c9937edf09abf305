"""A fork's layer held against stock layers that compute the same, which real Caffe runs, or against OpenCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import write_weights

Blobs = Mapping[str, tuple[str, list[Array]]]


def save(folder: Path, stem: str, text: str, blobs: Blobs) -> tuple[Path, Path]:
    """Writes a net; one without weights gets an entry without blobs, since an empty file is none."""
    model, weights = folder / f"{stem}.prototxt", folder / f"{stem}.caffemodel"
    model.write_text(f'name: "{stem}"\n{text}\n')
    write_weights(weights, dict(blobs) or {"none": ("Input", [])})
    return model, weights


def floats(*shape: int, seed: int = 7) -> Array:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_inputs(graph: Graph, spread: float = 1.0, seed: int = 3) -> dict[str, Array]:
    """Normal numbers for each input."""
    rng = np.random.default_rng(seed)
    return {item.name: (spread * rng.standard_normal(item.shape)).astype(np.float32) for item in graph.inputs}


def same(found: Array, expected: Array, text: str, rtol: float, atol: float) -> None:
    """Asserts type, shape and values."""
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=atol, err_msg=text)


def against_stock(
    oracle,
    fork: str,
    stock: str,
    *,
    fork_blobs: Blobs | None = None,
    stock_blobs: Blobs | None = None,
    spread: float = 1.0,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> Graph:
    """Compares blob ``out`` of ``fork`` in nuqconv with that of ``stock`` in real Caffe."""
    graph = load_graph(*save(oracle.folder, "fork", fork, fork_blobs or {}))
    inputs = random_inputs(graph, spread)
    with Net(*save(oracle.folder, "stock", stock, stock_blobs or {}), process=oracle.process) as net:
        expected = net.run(inputs, ["out"])["out"]
    same(OnnxSession(graph, outputs=["out"], threads=1).run(inputs)["out"], expected, fork, rtol, atol)
    assert graph.shapes["out"] == expected.shape
    return graph


def against_opencv(
    folder: Path,
    text: str,
    *,
    blobs: Blobs | None = None,
    spread: float = 1.0,
    outputs: Sequence[str] = ("out",),
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> Graph:
    """Compares blobs with OpenCV's importer."""
    model, weights = save(folder, "net", text, blobs or {})
    graph = load_graph(model, weights)
    inputs = random_inputs(graph, spread)
    net = cv2.dnn.readNetFromCaffe(str(model), str(weights))
    for name, array in inputs.items():
        net.setInput(array, name)
    found = OnnxSession(graph, outputs=list(outputs), threads=1).run(inputs)
    for name in outputs:
        same(found[name], net.forward(name), text, rtol, atol)
    return graph
