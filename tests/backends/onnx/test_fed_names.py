"""In-place layers on an input: an ONNX file has the input under the blob's name, and every way on from there computes what real Caffe does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import nuqconv
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import write_net

INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: [2, 3, 4, 4] } } }\n'
TWICE = """layer { name: "mean" type: "Power" bottom: "data" top: "data" power_param { scale: 0.5 shift: -1 } }
layer { name: "relu" type: "ReLU" bottom: "data" top: "data" relu_param { negative_slope: 0.25 } }
"""
LATER = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 4 } }\n'
HEADER = 'input: "data" input_dim: [2, 3, 4, 4]\ninput: "more" input_dim: [2, 3, 4, 4]\n'
TWO = """layer { name: "a" type: "ReLU" bottom: "data" top: "data" }
layer { name: "b" type: "TanH" bottom: "more" top: "more" }
layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "more" top: "sum" }
"""
RNG = np.random.default_rng(0)
IP = [RNG.normal(size=(4, 48)).astype(np.float32), RNG.normal(size=4).astype(np.float32)]


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("text", "weights", "inputs"),
    [
        (INPUT + TWICE + LATER, {"ip": IP}, ["data"]),
        (INPUT + TWICE, {}, ["data"]),
        (HEADER + TWO, {}, ["data", "more"]),
    ],
    ids=["read", "output", "two"],
)
def test_the_file_is_fed_by_the_blobs_names(tmp_path, caffe_process, text, weights, inputs):
    files = write_net(tmp_path, text, weights)
    nuqconv.convert((files.model, files.weights), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    assert [item.name for item in model.graph.input] == inputs
    report = nuqconv.compare((files.model, files.weights), tmp_path / "a.onnx", process=caffe_process)
    assert report.agrees, report.to_json()
    assert "data" in [blob.name for blob in report.blobs]
    # Back to Caffe: the blob that is fed is the one that the layers read.
    nuqconv.convert(tmp_path / "a.onnx", tmp_path / "b.prototxt")
    back = (tmp_path / "b.prototxt", tmp_path / "b.caffemodel")
    x = {name: RNG.normal(size=(2, 3, 4, 4)).astype(np.float32) for name in inputs}
    assert nuqconv.compare(tmp_path / "a.onnx", back, inputs=x, process=caffe_process).agrees
    assert [item.name for item in nuqconv.load(*back).inputs] == inputs


@pytest.mark.caffe
def test_caffe_and_onnx_are_evaluated_side_by_side(tmp_path, caffe_python):
    files = write_net(tmp_path, INPUT + TWICE + LATER, {"ip": IP})
    nuqconv.convert((files.model, files.weights), tmp_path / "a.onnx")
    x = RNG.normal(size=(6, 3, 4, 4)).astype(np.float32)
    labels = np.argmax(OnnxSession(tmp_path / "a.onnx").run({"data": x[:2]})["ip"], 1)
    found = nuqconv.evaluate(
        [(str(files.model), str(files.weights)), tmp_path / "a.onnx"],
        data={"data": x[:2]},
        labels=labels,
        runtimes=["onnxruntime", "caffe"],
        batch_size=2,
    )
    assert [side.value for side in found.sides] == [1, 1, 1]
