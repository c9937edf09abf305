"""Quantized layers between others that have several outputs, change counts or only pick: real Caffe and onnxruntime agree."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.frontends.caffe import load_graph
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import write_net
from tests.support.plans import strongest_plan

pytestmark = pytest.mark.caffe

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 6 dim: 12 dim: 12 } } }
layer { name: "pick" type: "Input" top: "pick" input_param { shape { dim: 4 } } }
layer { name: "cut" type: "Slice" bottom: "data" top: "left" top: "right" slice_param { slice_point: 2 } }
layer { name: "conv1" type: "Convolution" bottom: "left" top: "conv1" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "conv2" type: "Convolution" bottom: "right" top: "conv2" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "norm" type: "LRN" bottom: "conv1" top: "norm" lrn_param { local_size: 3 alpha: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" top: "mask" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "spp" type: "SPP" bottom: "conv2" top: "spp" spp_param { pyramid_height: 2 } }
layer { name: "tile" type: "Tile" bottom: "pool" top: "tile" tile_param { tiles: 2 } }
layer { name: "keep" type: "Filter" bottom: "tile" bottom: "spp" bottom: "pick" top: "tile_kept" top: "spp_kept" }
layer { name: "conv3" type: "Convolution" bottom: "tile_kept" top: "conv3" convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "spp_kept" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "mean" type: "Reduction" bottom: "conv3" top: "mean" reduction_param { operation: MEAN axis: 1 } }
layer { name: "best" type: "ArgMax" bottom: "fc" top: "best" argmax_param { axis: 1 } }
layer { name: "mask_sum" type: "Reduction" bottom: "mask" top: "mask_sum" reduction_param { axis: 2 } }
"""


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(2)
    shapes = {"conv1": (4, 2, 3, 3), "conv2": (4, 4, 3, 3), "conv3": (3, 8, 3, 3), "fc": (5, 20)}
    weights = {name: [rng.normal(size=shape) / 3, rng.normal(size=shape[0])] for name, shape in shapes.items()}
    return write_net(tmp_path, NET, weights)


@pytest.mark.parametrize("pick", [[1, 0, 1, 1], [0, 0, 1, 0]])
def test_quantized_layers_between_others(files, tmp_path, caffe_python, pick):
    graph = load_graph(files.model, files.weights)
    batch = {
        "data": np.random.default_rng(0).standard_normal((4, 6, 12, 12)).astype(np.float32),
        "pick": np.array(pick, np.float32),
    }
    quantizer = Quantizer(graph)
    plan = strongest_plan(quantizer, batch)
    assert {name for name, _ in plan.items()} == {"conv1", "conv2", "conv3", "fc"}
    quantized = quantizer.apply(plan).verify()
    paths = tmp_path / "fake.prototxt", tmp_path / "fake.caffemodel"
    write_caffe(quantized, *paths, Style.FAKE_QUANT)
    ours = OnnxSession(quantized).run(batch)
    integers = OnnxSession(quantized, integer=True).run(batch)
    with CaffeProcess(caffe_python) as process, Net(*paths, process=process) as net:
        theirs = net.run(batch, list(quantized.outputs))
    for name in quantized.outputs:
        assert ours[name].shape == theirs[name].shape
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(integers[name], theirs[name], rtol=1e-4, atol=1e-4, err_msg=name)
