"""Memory that Caffe shares between blobs: what would differ from real Caffe is refused, what does not is read."""

import numpy as np
import pytest

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import write_net

HEAD = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 2 dim: 1 } } }
layer { name: "copy" type: "Power" bottom: "data" top: "a" power_param { scale: 1 } }
"""
RELU = 'layer { name: "relu" type: "ReLU" bottom: "b" top: "%s" }\n'
READER = 'layer { name: "reader" type: "Power" bottom: "a" top: "out" power_param { scale: 2 } }\n'
DATA = np.array([[-1, 2], [-3, 4]], np.float32).reshape(1, 2, 2, 1)
SHARING = {
    "Flatten": "",
    "Reshape": "reshape_param { shape { dim: 0 dim: -1 } }",
    "Split": "",
    "Concat": "",
    "Slice": "",
    "Permute": "permute_param { order: 0 order: 1 }",
}
COPYING = {
    "Permute": "permute_param { order: 0 order: 2 order: 1 }",
    "Dropout": "",
    "Power": "",
    "Tile": "tile_param { tiles: 1 }",
    "MVN": "",
    "SPP": "spp_param { pyramid_height: 1 }",
    "Pooling": "pooling_param { kernel_size: 1 }",
}


@pytest.fixture(scope="module")
def process(caffe_python):
    with CaffeProcess(caffe_python) as running:
        yield running


def _link(layer_type, param):
    return f'layer {{ name: "link" type: "{layer_type}" bottom: "a" top: "b" {param} }}\n'


def _caffe(files, process, outputs):
    with Net(files.model, files.weights, process=process) as net:
        return net.run({"data": DATA}, outputs)


@pytest.mark.caffe
@pytest.mark.parametrize(("layer_type", "param"), SHARING.items())
def test_a_later_reader_of_overwritten_memory_is_refused(tmp_path, process, layer_type, param):
    files = write_net(tmp_path, HEAD + _link(layer_type, param) + RELU % "b" + READER, {})
    # The reason for the refusal: real Caffe's reader sees what the ReLU has written.
    np.testing.assert_array_equal(_caffe(files, process, ["out"])["out"], 2 * np.maximum(DATA, 0))
    with pytest.raises(ModelError) as caught:
        load_graph(files.model, files.weights)
    (problem,) = caught.value.problems
    assert problem.startswith(
        f"{files.model}:6: layer 'reader' (Power) reads blob 'a', whose memory {files.model}:5: layer 'relu' (ReLU) has overwritten in place"
    )


@pytest.mark.caffe
@pytest.mark.parametrize(
    "text",
    [
        *(_link(layer_type, param) + RELU % "b" + READER for layer_type, param in COPYING.items()),
        *(_link(layer_type, param) + RELU % "c" + READER for layer_type, param in SHARING.items()),
        *(_link(layer_type, param) + READER + RELU % "b" for layer_type, param in SHARING.items()),
        _link("Flatten", "") + 'layer { name: "drop" type: "Dropout" bottom: "b" top: "b" }\n' + READER,
    ],
)
def test_everything_else_is_read_and_agrees(tmp_path, process, text):
    """Layers that copy, ReLUs with a top of their own, readers before the ReLU, and a Dropout, which changes nothing."""
    files = write_net(tmp_path, HEAD + text, {})
    graph = load_graph(files.model, files.weights)
    found = OnnxSession(graph).run({"data": DATA})
    expected = _caffe(files, process, list(graph.outputs))
    for name in graph.outputs:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)


def test_an_output_in_overwritten_memory_is_refused(tmp_path):
    text = HEAD + 'layer { name: "link" type: "Split" bottom: "a" top: "b" top: "c" }\n' + RELU % "b"
    files = write_net(tmp_path, text, {})
    with pytest.raises(ModelError, match="the net's output is blob 'c', whose memory"):
        load_graph(files.model, files.weights)


def test_a_chain_of_sharing_layers(tmp_path):
    text = (
        HEAD
        + _link("Flatten", "")
        + 'layer { name: "again" type: "Reshape" bottom: "b" top: "c" reshape_param { shape { dim: 4 } } }\n'
    )
    text += 'layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }\n' + READER
    files = write_net(tmp_path, text, {})
    with pytest.raises(ModelError, match="layer 'reader'"):
        load_graph(files.model, files.weights)
