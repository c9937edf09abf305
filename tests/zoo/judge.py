"""Holds a definition against real Caffe, or against OpenCV where its layers are not in that Caffe: as read, as ONNX, and written back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import nuqconv
from nuqconv.errors import NuqconvError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir import Array, Graph
from nuqconv.ir.ops import Silence
from nuqconv.ir.traits import SharesMemory
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.detections import in_caffes_order
from tests.support.nets import Files, write_net
from tests.zoo.net import Net as Definition
from tests.zoo.table import Entry

CLOSE = 1e-4
"""The largest difference of a blob that counts as none, as a part of its largest number; deep nets in float32 come to some 1e-6."""


UNLIKE = {
    "Axpy": "OpenCV's Axpy multiplies its third bottom, not its second",
    "Proposal": "OpenCV's Proposal keeps small boxes and fills up with zeros",
}
"""Types for which OpenCV is no judge."""


@dataclass(frozen=True)
class Verdict:
    """What was found of one definition.

    Attributes:
        name: Its name.
        group: What it is for.
        layers: Number of its layers.
        judge: Who computed the numbers it was held against.
        blobs: How many blobs were compared.
        error: The largest difference of a blob, as a part of its largest number.
        refused: Why it could not become ONNX; empty where it did.
        back: How many blobs of the Caffe files made from the ONNX file were compared.
        back_error: Their largest difference.
        back_refused: Why ONNX could not become Caffe files again; empty where it did.
        unjudged: Why nobody else could run it; empty where somebody did.
    """

    name: str
    group: str
    layers: int
    judge: str = ""
    blobs: int = 0
    error: float = 0.0
    refused: str = ""
    back: int = 0
    back_error: float = 0.0
    back_refused: str = ""
    unjudged: str = ""


def judge(entry: Entry, folder: Path, process: CaffeProcess) -> Verdict:
    """Reads, converts and runs a definition.

    Args:
        entry: The definition.
        folder: Where files may go.
        process: A living Caffe process.

    Raises:
        AssertionError: A number, a shape or a name differs.
    """
    definition = entry.build()
    files = write_net(folder, definition.text, definition.weights, "net")
    layers = len(definition.lines)
    try:
        graph = load_graph(files.model, files.weights, ReadOptions(exact_sizes=definition.exact_sizes))
        onnx = folder / "net.onnx"
        nuqconv.convert(files.model, files.weights, onnx, exact_sizes=definition.exact_sizes, force=True)
    except NuqconvError as error:
        return Verdict(entry.name, entry.group, layers, refused=_first_reason(error))
    for blob, shape in definition.shapes.items():
        assert graph.shapes.get(blob, shape) == shape, f"{blob}: {graph.shapes[blob]}, expected {shape}"
    feeds = {item.name: _feed(definition, item.name, item.shape) for item in graph.inputs}
    blobs = _last_states(graph)
    ours = OnnxSession(graph, outputs=blobs, threads=1).run(feeds)
    by_file = OnnxSession(onnx, threads=1).run(feeds)
    assert set(by_file) == set(graph.outputs)
    for name, array in by_file.items():
        assert _difference(array, ours[name]) < CLOSE, name
    who, theirs, reason = _reference(definition, files, graph, blobs, feeds, process)
    expected = theirs or ours
    _alive(graph, expected)
    error = _largest(ours, theirs)
    back, back_refused = folder / "back.prototxt", ""
    back_blobs: dict[str, Array] = {}
    try:
        nuqconv.convert(onnx, back, force=True)
    except NuqconvError as error_:
        back_refused = _first_reason(error_)
    else:
        again = load_graph(back, back.with_suffix(".caffemodel"))
        assert set(again.outputs) == set(graph.outputs)
        names = [name for name in _last_states(again) if name in expected and name in blobs]
        assert set(graph.outputs) <= set(names)
        with Net(back, back.with_suffix(".caffemodel"), process=process) as net:
            back_blobs = net.run(feeds, names)
    return Verdict(
        entry.name, entry.group, layers, who, len(theirs), error, "", len(back_blobs), _largest(back_blobs, expected), back_refused, reason
    )  # fmt: skip


def _first_reason(error: NuqconvError) -> str:
    """What stands behind the place of the first problem."""
    text = error.problems[0] if getattr(error, "problems", ()) else str(error).splitlines()[0]
    return text.split("layer '", 1)[-1].partition("' (")[2].partition("): ")[2] or text


def _feed(definition: Definition, name: str, shape: Sequence[int]) -> Array:
    given = definition.feeds.get(name)
    return given if given is not None else definition.rng.standard_normal(shape).astype(np.float32)


def _last_states(graph: Graph) -> list[str]:
    """The blobs that layers make, in the state in which a net leaves them."""
    earlier = {name for name in graph.shapes if graph.storage_name(name) != name}
    # A layer in place behind a Reshape writes into the Reshape's bottom too.
    for node in graph.nodes[::-1]:
        if node.op.trait(SharesMemory) and earlier.intersection(node.outputs):
            earlier.update(node.inputs[:1])
    fed = {item.name for item in graph.inputs}
    return [
        name
        for node in graph.nodes
        if not isinstance(node.op, Silence)
        for name in node.outputs
        if name not in earlier | fed
    ]


def _reference(
    definition: Definition,
    files: Files,
    graph: Graph,
    blobs: Sequence[str],
    feeds: Mapping[str, Array],
    process: CaffeProcess,
) -> tuple[str, dict[str, Array], str]:
    """Who computed the blobs, what came out, and why nobody did."""
    missing = definition.needed - set(process.versions.layer_types)
    if definition.stock:
        files = write_net(files.model.parent, definition.stock_text, definition.stock_weights, "stock")
    if not missing and not definition.strange:
        with Net(files.model, files.weights, process=process) as net:
            assert set(net.outputs) == set(graph.outputs)
            return "Caffe", net.run(feeds, blobs), ""
    unlike = [definition.unlike, *(UNLIKE[kind] for kind in sorted(definition.needed & set(UNLIKE)))]
    if any(unlike):
        return "", {}, next(filter(None, unlike))
    try:
        net = cv2.dnn.readNetFromCaffe(str(files.model), str(files.weights))
        net.enableFusion(False)
        for name, array in feeds.items():
            net.setInput(array, name)
        makers = {name: node for node in graph.nodes for name in node.outputs}
        # OpenCV names results by layers and uses the memory of second tops again.
        named = [name for name in blobs if makers[name].outputs[0] == name]
        found = {}
        for name in named:
            array = net.forward(makers[name].name)
            found[name] = in_caffes_order(array) if makers[name].op.kind == "DetectionOutput" else np.array(array)
    except cv2.error as error:
        return (
            "",
            {},
            f"not in the Caffe at hand: {', '.join(sorted(missing)) or definition.strange}; OpenCV: {' '.join(str(error.err).split())[:120]}",
        )
    return "OpenCV", found, ""


def _difference(one: Array, other: Array) -> float:
    assert one.shape == other.shape, f"{one.shape}, expected {other.shape}"
    assert np.isfinite(one).all()
    assert np.isfinite(other).all()
    return float(np.abs(one - other).max(initial=0) / max(float(np.abs(other).max(initial=0)), 1e-6))


def _largest(arrays: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The largest difference of blobs that are in both."""
    worst = 0.0
    for name in arrays:
        if name in expected:
            found = _difference(arrays[name], expected[name])
            assert found < CLOSE, f"blob {name} differs by {found:.2g} of its largest number"
            worst = max(worst, found)
    return worst


def _alive(graph: Graph, arrays: Mapping[str, Array]) -> None:
    """A net whose outputs are all one number would prove nothing."""
    for name in graph.outputs:
        if name in arrays and arrays[name].size > 1:
            assert np.ptp(arrays[name]) > 0, f"all of {name} is {arrays[name].flat[0]}"
