"""The res10 SSD face net of a published package: every blob against OpenCV, which has all of its layers."""

import numpy as np
import pytest

from nuqconv.frontends.caffe import load_graph
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.onnxruntime import OnnxSession
from photos import EVALUATION, photos
from tests.support.detections import assert_same_detections, in_caffes_order
from tests.support.packages import real_files

pytestmark = pytest.mark.package

MEAN = np.array([104, 177, 123], np.float32).reshape(1, 3, 1, 1)


@pytest.fixture(scope="module")
def files():
    return real_files("face")


@pytest.fixture(scope="module")
def graph(files):
    return load_graph(*files)


def faces(count):
    skdata = pytest.importorskip("skimage.data")
    transform = pytest.importorskip("skimage.transform")
    image = transform.resize(skdata.astronaut(), (300, 300), preserve_range=True).astype(np.float32)
    bgr = image[np.newaxis].transpose(0, 3, 1, 2)[:, ::-1]
    return np.concatenate([bgr, photos(EVALUATION, 300, count - 1)[:, ::-1]]) - MEAN


def test_nothing_is_opaque(graph):
    assert not [node.place for node in graph.nodes if isinstance(node.op, Opaque)]


def test_every_blob_is_opencvs(files, graph):
    cv2 = pytest.importorskip("cv2")
    data = faces(1)
    net = cv2.dnn.readNetFromCaffe(*map(str, files))
    # Fused layers have no blob of their own.
    net.enableFusion(False)
    net.setInput(data)
    known = set(net.getLayerNames())
    # OpenCV gives blobs by layer; the last layer that writes a blob makes its final state.
    layers = {value: node.name for node in graph.nodes for value in node.outputs if node.name in known}
    assert len(layers) == len(graph.nodes)
    found = OnnxSession(graph, outputs=list(layers)).run({"data": data})
    for value, layer in layers.items():
        expected = net.forward(layer)
        if value == "detection_out":
            expected = in_caffes_order(expected)
            assert len(expected[0, 0]) > 1
            assert_same_detections(found[value], expected)
            continue
        assert found[value].size == expected.size, value
        np.testing.assert_allclose(
            found[value],
            expected.reshape(found[value].shape),
            rtol=1e-3,
            atol=2e-5 * np.abs(expected).max(),
            err_msg=value,
        )
    assert len(layers) > 100


def test_detections_of_a_batch(files, graph):
    cv2 = pytest.importorskip("cv2")
    data = faces(3)
    net = cv2.dnn.readNetFromCaffe(*map(str, files))
    net.setInput(data)
    expected = in_caffes_order(net.forward())
    found = OnnxSession(graph).run({"data": data})["detection_out"]
    assert_same_detections(found, expected)
    best = found[0, 0, found[0, 0, :, 2].argmax()]
    assert best[0] == 0
    assert best[2] > 0.9
