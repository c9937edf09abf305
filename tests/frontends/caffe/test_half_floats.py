"""Caffemodels of half floats, written by OpenCV's own tool; OpenCV runs them, and real Caffe runs what is written back."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.frontends.caffe.weights import blob_array, read_weights
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_files import current_weights

from .test_upgrade import V1_NET, v1_weights

cv2 = pytest.importorskip("cv2")

NET = """
name: "half" input: "data" input_dim: 1 input_dim: 4 input_dim: 7 input_dim: 6
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1" convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "c2" type: "Convolution" bottom: "c1" top: "c2" convolution_param { num_output: 4 kernel_size: 3 group: 2 bias_term: false } }
layer { name: "s" type: "Scale" bottom: "c2" top: "s" scale_param { bias_term: true } }
layer { name: "p" type: "Pooling" bottom: "s" top: "p" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "p" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture(params=[(), ("Convolution",), ("Convolution", "InnerProduct", "Scale")], ids=["default", "one", "all"])
def half(judge, request):
    """A model of which OpenCV has halved the layer types named."""
    judge.write(NET)
    original = judge.weights.with_name("original.caffemodel")
    judge.weights.rename(original)
    cv2.dnn.shrinkCaffeModel(str(original), str(judge.weights), list(request.param))
    return original


@pytest.mark.caffe
def test_against_opencv(judge, half):
    notes: list[str] = []
    graph = nuqconv.load(judge.model, judge.weights, notes=notes)
    assert len(notes) == 1
    assert "blobs of float16 are read as float32" in notes[0]
    data = np.random.default_rng(3).standard_normal((1, 4, 7, 6)).astype(np.float32)
    net = cv2.dnn.readNetFromCaffe(str(judge.model), str(judge.weights))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.enableFusion(False)
    values = ["c2", "s", "p", "fc", "prob"]
    net.setInput(data)
    theirs = dict(zip(values, net.forward(values), strict=True))
    ours = OnnxSession(graph, outputs=values).run({"data": data})
    for name in values:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.caffe
def test_numbers_and_what_is_written(judge, half):
    graph = nuqconv.load(judge.model, judge.weights)
    for name, layer in read_weights(half).layers.items():
        for number, blob in enumerate(layer.blobs):
            exact = blob_array(blob)
            rounded = exact.astype(np.float16).astype(np.float32)
            found = graph.params[f"{name}/{number}"]
            assert found.dtype == np.float32
            assert np.array_equal(found, rounded) or np.array_equal(found, exact)
    halved = {
        name: np.array_equal(graph.params[f"{name}/0"], graph.params[f"{name}/0"].astype(np.float16))
        for name in ("c1", "c2")
    }
    assert halved == {"c1": True, "c2": True}
    judge.check_written(graph)


@pytest.mark.caffe
def test_halves_of_an_old_model(judge):
    """OpenCV upgrades V1 on its way."""
    judge.write(V1_NET, v1_weights)
    original = judge.weights.with_name("original.caffemodel")
    judge.weights.rename(original)
    cv2.dnn.shrinkCaffeModel(str(original), str(judge.weights))
    graph = nuqconv.load(judge.model, judge.weights)
    judge.check_written(graph)
    exact = load_graph(judge.model, original).params["c1/0"]
    np.testing.assert_array_equal(graph.params["c1/0"], exact.astype(np.float16).astype(np.float32))


def _raw(kind, data, shape):
    """A layer with a blob whose raw_data_type is 10 (a varint) and raw_data 12; the schema has neither."""
    net = current_weights({"fc": ("InnerProduct", [np.zeros(shape, np.float32)])})
    (blob,) = net.layer[0].blobs
    del blob.data[:]
    blob.uint64_data = data
    blob.MergeFromString(bytes([0x50, kind]))
    return net


@pytest.mark.parametrize(("kind", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_each_raw_type(tmp_path, kind, dtype):
    values = np.array([[1.5, -2, 65504], [2**-24, 0, np.inf]], dtype)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(_raw(kind, values.tobytes(), (2, 3)).SerializeToString())
    found = read_weights(path)
    array = blob_array(found.layers["fc"].blobs[0], 2)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, values.astype(np.float32))
    assert found.notes == (f"{path}: 1 blobs of {values.dtype.name} are read as float32",)


@pytest.mark.parametrize(("kind", "data"), [(3, b"abcd"), (2, b"abc"), (5, b"")])
def test_what_is_refused(tmp_path, kind, data):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(_raw(kind, data, (2,)).SerializeToString())
    with pytest.raises(ModelError, match=rf"layer 'fc': blob 0 has raw_data_type {kind} and {len(data)} bytes"):
        read_weights(path)


def test_layers_that_are_not_understood_become_float32_too(tmp_path):
    (tmp_path / "net.prototxt").write_text('layer { name: "fc" type: "Odd" top: "fc" }')
    (tmp_path / "net.caffemodel").write_bytes(_raw(2, np.float16([3, 4]).tobytes(), (2,)).SerializeToString())
    target = tmp_path / "a.prototxt", tmp_path / "a.caffemodel"
    nuqconv.save(nuqconv.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel"), *target)
    net = NetParameter.FromString(target[1].read_bytes())
    assert net.layer[0].blobs[0].data[0] == np.float32([3, 4]).tobytes()
    assert not net.layer[0].blobs[0].uint64_data
    assert read_weights(target[1]).notes == ()
