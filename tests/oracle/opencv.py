"""OpenCV as the judge of layers that real Caffe lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nuqconv.backends.onnx.opset import newest_opset
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Array, Graph
from tests.support.nets import write_net


def opsets(*wanted: int) -> list[int]:
    """Those of the opsets that can be written here, and the newest."""
    newest = newest_opset()
    return sorted({newest, *(opset for opset in wanted if opset < newest)})


def graph_of(folder: Path, text: str, weights=None) -> Graph:
    """The graph of a net given as prototxt."""
    files = write_net(folder, text, weights or {})
    return load_graph(files.model, files.weights)


def opencv_run(folder: Path, text: str, inputs: dict[str, Array], output: str = "out", weights=None) -> Array:
    """What OpenCV's own reader and layers make of a net given as prototxt."""
    cv2 = pytest.importorskip("cv2")
    files = write_net(folder, text, weights or {}, "opencv")
    net = cv2.dnn.readNetFromCaffe(str(files.model), str(files.weights))
    for name, array in inputs.items():
        net.setInput(np.ascontiguousarray(array), name)
    return net.forward(output)
