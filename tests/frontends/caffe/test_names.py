"""Layers that share a name or have none, which Caffe runs."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ModelError
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import write_net

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 2, 5, 5] } } }
layer { name: "data" type: "Power" bottom: "data" top: "p" power_param { scale: 2 } }
layer { name: "relu" type: "ReLU" bottom: "p" top: "a" }
layer { name: "relu" type: "TanH" bottom: "a" top: "b" }
layer { type: "Sigmoid" bottom: "b" top: "c" }
layer { name: "relu_2" type: "AbsVal" bottom: "c" top: "d" }
layer { name: "conv" type: "Convolution" bottom: "d" top: "conv" convolution_param { num_output: 3 kernel_size: 2 } }
layer { name: "conv" type: "ReLU" bottom: "conv" top: "conv" }
"""


@pytest.mark.caffe
def test_caffe_runs_them_and_so_does_everything_here(caffe_process, tmp_path):
    rng = np.random.default_rng(5)
    files = write_net(tmp_path, NET, {"conv": [rng.standard_normal((3, 2, 2, 2)), rng.standard_normal(3)]})
    notes: list[str] = []
    graph = nuqconv.load(files.model, files.weights, notes=notes)
    assert [node.name for node in graph.nodes] == ["data", "relu", "relu_3", "sigmoid", "relu_2", "conv", "conv_2"]
    assert [note.partition(": ")[2] for note in notes] == [
        "layer 'relu' (TanH): another layer has its name; it is called 'relu_3' here",
        "layer '' (Sigmoid): it has no name; it is called 'sigmoid' here",
        "layer 'conv' (ReLU): another layer has its name; it is called 'conv_2' here",
    ]
    data = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
    expected = Net(files.model, files.weights, process=caffe_process).run({"data": data})["conv"]
    found = OnnxSession(graph).run({"data": data})["conv"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    nuqconv.save(graph, tmp_path / "own.prototxt", tmp_path / "own.caffemodel")
    again = Net(tmp_path / "own.prototxt", tmp_path / "own.caffemodel", process=caffe_process)
    np.testing.assert_array_equal(again.run({"data": data})["conv"], expected)


def test_with_weights_names_must_differ(tmp_path):
    slope = '\nlayer { name: "s" type: "PReLU" bottom: "%s" top: "%s" }'
    files = write_net(tmp_path, NET + slope % ("conv", "e") + slope % ("e", "f"), {"s": [np.ones(3)]})
    with pytest.raises(ModelError) as caught:
        nuqconv.load(files.model, files.weights)
    assert any("layer 's_2' (PReLU): shares its name with an earlier layer" in item for item in caught.value.problems)
