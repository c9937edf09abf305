"""Folding, proven in real Caffe: the folded net's outputs are the unfolded net's."""

import numpy as np
import pytest

from nuqconv.backends.caffe import write_caffe
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir.ops import BatchNorm, Convolution, Scale
from nuqconv.passes import fold_affine
from nuqconv.runtimes.caffe import CaffeProcess, Net
from tests.support.nets import conv_net, write_net

pytestmark = pytest.mark.caffe

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 5 } } }\n'
BN = 'layer { name: "bn" type: "BatchNorm" bottom: "%s" top: "%s" batch_norm_param { eps: 0.001 } }\n'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "%s" top: "%s" scale_param { bias_term: %s } }\n'


@pytest.fixture(scope="module")
def process(caffe_python):
    with CaffeProcess(caffe_python) as running:
        yield running


def _affine(rng, channels, factor=3.0, bias=True):
    batch_norm = [rng.normal(size=channels), rng.uniform(0.1, 5, channels), np.array([factor])]
    return {"bn": batch_norm, "scale": [rng.normal(size=channels)] + ([rng.normal(size=channels)] if bias else [])}


def _check(tmp_path, process, files, expected_folded):
    graph = load_graph(files.model, files.weights)
    result = fold_affine(graph)
    assert dict(result.folded) == expected_folded
    write_caffe(result.graph.verify(), tmp_path / "folded.prototxt", tmp_path / "folded.caffemodel")
    item = graph.inputs[0]
    data = np.random.default_rng(1).normal(size=item.shape).astype(np.float32)
    with Net(files.model, files.weights, process=process) as net:
        expected = net.run({item.name: data})
    with Net(tmp_path / "folded.prototxt", tmp_path / "folded.caffemodel", process=process) as net:
        found = net.run({item.name: data})
        assert not {"BatchNorm", "Scale"} & {layer.type for layer in net.layers} or not expected_folded
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-5, atol=2e-5 * np.abs(array).max())


CONV = 'layer { name: "w" type: "%s" bottom: "%s" top: "%s" convolution_param { num_output: %d kernel_size: 3 %s } }\n'


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bias_of_scale", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize(
    ("layer_type", "group"), [("Convolution", 1), ("Convolution", 2), ("Deconvolution", 1), ("Deconvolution", 2)]
)
def test_batch_norm_and_scale_after(tmp_path, process, layer_type, group, in_place, bias_of_scale, bias):
    rng = np.random.default_rng(0)
    names = ("w", "w", "w") if in_place else ("w", "b", "s")
    options = f"group: {group} pad: 1 bias_term: {str(bias).lower()}"
    text = INPUT + CONV % (layer_type, "data", names[0], 6, options)
    text += BN % (names[0], names[1]) + SCALE % (names[1], names[2], str(bias_of_scale).lower())
    shape = (6, 4 // group, 3, 3) if layer_type == "Convolution" else (4, 6 // group, 3, 3)
    weights = {
        "w": [rng.normal(size=shape)] + ([rng.normal(size=6)] if bias else []),
        **_affine(rng, 6, bias=bias_of_scale),
    }
    _check(tmp_path, process, write_net(tmp_path, text, weights), {"w": ("bn", "scale")})


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_inner_product(tmp_path, process, factor):
    rng = np.random.default_rng(0)
    text = (
        INPUT
        + 'layer { name: "w" type: "InnerProduct" bottom: "data" top: "w" inner_product_param { num_output: 7 } }\n'
    )
    text += BN % ("w", "w") + SCALE % ("w", "w", "true")
    weights = {"w": [rng.normal(size=(7, 120)), rng.normal(size=7)], **_affine(rng, 7, factor)}
    _check(tmp_path, process, write_net(tmp_path, text, weights), {"w": ("bn", "scale")})


@pytest.mark.parametrize("group", [1, 2])
def test_batch_norm_and_scale_before_an_unpadded_convolution(tmp_path, process, group):
    rng = np.random.default_rng(0)
    text = (
        INPUT + BN % ("data", "b") + SCALE % ("b", "s", "true") + CONV % ("Convolution", "s", "w", 6, f"group: {group}")
    )
    weights = {"w": [rng.normal(size=(6, 4 // group, 3, 3)), rng.normal(size=6)], **_affine(rng, 4)}
    _check(tmp_path, process, write_net(tmp_path, text, weights), {"w": ("bn", "scale")})


def test_padding_keeps_what_stands_before(tmp_path, process):
    rng = np.random.default_rng(0)
    text = INPUT + BN % ("data", "b") + SCALE % ("b", "s", "true") + CONV % ("Convolution", "s", "w", 6, "pad: 1")
    weights = {"w": [rng.normal(size=(6, 4, 3, 3)), rng.normal(size=6)], **_affine(rng, 4)}
    _check(tmp_path, process, write_net(tmp_path, text, weights), {})


def test_a_second_reader_keeps_the_layers(tmp_path, process):
    rng = np.random.default_rng(0)
    text = INPUT + CONV % ("Convolution", "data", "w", 6, "pad: 1") + BN % ("w", "b") + SCALE % ("b", "s", "true")
    text += 'layer { name: "other" type: "ReLU" bottom: "w" top: "r" }\n'
    weights = {"w": [rng.normal(size=(6, 4, 3, 3)), rng.normal(size=6)], **_affine(rng, 6)}
    _check(tmp_path, process, write_net(tmp_path, text, weights), {})


def test_shared_weights_and_skipped_layers_are_left_alone(tmp_path, caffe_python):
    files = conv_net(tmp_path)
    graph = load_graph(files.model, files.weights)
    assert fold_affine(graph, skip=["conv1"]).folded == {}
    assert fold_affine(graph, skip=["scale1"]).folded == {"conv1": ("bn1",)}
    shared = files.model.read_text().replace('name: "conv1" type', 'name: "conv1" param { name: "w" } type')
    shared += 'layer { name: "again" type: "Convolution" bottom: "data" top: "again" param { name: "w" } '
    shared += "convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false } }\n"
    files.model.write_text(shared)
    rng = np.random.default_rng(5)
    both = write_net(tmp_path, shared, {**_layers(files), "again": [rng.normal(size=(8, 3, 3, 3))]}, "shared")
    assert fold_affine(load_graph(both.model, both.weights)).folded == {}


def _layers(files):
    from nuqconv.frontends.caffe.weights import blob_array, read_weights  # noqa: PLC0415

    return {
        name: [blob_array(blob) for blob in layer.blobs] for name, layer in read_weights(files.weights).layers.items()
    }


def test_whole_small_net(tmp_path, process):
    files = conv_net(tmp_path)
    graph = load_graph(files.model, files.weights)
    folded = fold_affine(graph)
    assert folded.folded == {"conv1": ("bn1", "scale1")}
    ops = [type(node.op) for node in folded.graph.nodes]
    assert BatchNorm not in ops
    assert Scale not in ops
    assert isinstance(folded.graph.node["conv1"].op, Convolution)
    assert folded.graph.node["conv1"].op.bias_term
    assert graph.node["conv1"].op.bias_term is False
    _check(tmp_path, process, files, {"conv1": ("bn1", "scale1")})
