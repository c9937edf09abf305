"""Quantized models: real Caffe, onnxruntime, integer arithmetic and a plain numpy reference give the same numbers.

All sums in these nets stay below 2^24, where float32 holds every integer: the comparison is exact, with no tolerance.
"""

import numpy as np
import pytest

from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.caffe.record import record_text
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import dump
from nuqconv.passes import fold_affine
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.capability import capabilities
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.runtimes.caffe import CaffeProcess, Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle import loops
from tests.support.nets import conv_net, write_net
from tests.support.plans import strongest_plan

pytestmark = pytest.mark.caffe

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 7 dim: 6 } } }\n'
LAYERS = {
    "conv": ("Convolution", "convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 }", (6, 4, 3, 3), 6),
    "grouped": ("Convolution", "convolution_param { num_output: 6 kernel_size: 3 pad: 2 group: 2 }", (6, 2, 3, 3), 6),
    "no bias": ("Convolution", "convolution_param { num_output: 5 kernel_size: 1 bias_term: false }", (5, 4, 1, 1), 0),
    "deconv": ("Deconvolution", "convolution_param { num_output: 3 kernel_size: 4 pad: 1 stride: 2 }", (4, 3, 4, 4), 3),
    "fc": ("InnerProduct", "inner_product_param { num_output: 9 }", (9, 168), 9),
    "pool": ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", None, 0),
}


@pytest.fixture(scope="module")
def process(caffe_python):
    with CaffeProcess(caffe_python) as running:
        yield running


def _one_layer(tmp_path, name):
    layer_type, param, shape, biases = LAYERS[name]
    rng = np.random.default_rng(3)
    weights = {}
    if shape:
        weights["x"] = [rng.normal(size=shape)] + ([rng.normal(size=biases) * 3] if biases else [])
    files = write_net(
        tmp_path, INPUT + f'layer {{ name: "x" type: "{layer_type}" bottom: "data" top: "x" {param} }}\n', weights
    )
    return load_graph(files.model, files.weights)


def _reference(name, node, quantized, plan, data):
    """The layer's output from the plan's numbers alone."""
    activation = plan[node.name].activation
    u = loops.quantize(data, activation.scale, activation.offset)
    steps = quantized.params["x_dequant_layer/0"]
    if name == "pool":
        return None
    w, b = (
        (quantized.params[p] for p in (*node.params, None)[:2])
        if len(node.params) == 2
        else (quantized.params[node.params[0]], None)
    )
    sums = {
        "conv": lambda: loops.conv2d(u, w, 2, 1),
        "grouped": lambda: loops.conv2d(u, w, 1, 2, 2),
        "no bias": lambda: loops.conv2d(u, w, 1, 0),
        "deconv": lambda: loops.deconv2d(u, w, 2, 1),
        "fc": lambda: u.reshape(len(u), -1) @ w.astype(np.int64).T,
    }[name]()
    shape = (1, -1) + (1,) * (sums.ndim - 2)
    if b is not None:
        sums = sums + b.astype(np.int64).reshape(shape)
    assert np.abs(sums).max() < 2**24
    return sums.astype(np.float32) * steps.reshape(shape)


@pytest.mark.parametrize("with_offset", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_one_layer_in_every_runtime(tmp_path, process, name, with_offset):
    graph = _one_layer(tmp_path, name)
    rng = np.random.default_rng(7)
    data = (rng.normal(size=(2, 4, 7, 6)) * 3 + 1).astype(np.float32)
    quantizer = Quantizer(graph)
    plan = strongest_plan(quantizer, {"data": data}, with_offset=with_offset)
    # Beyond the calibrated range too, so that both ends are clipped.
    data *= 1.7
    quantized = quantizer.apply(plan).verify()
    found = {
        "onnxruntime": OnnxSession(quantized).run({"data": data})["x"],
        "integers": OnnxSession(quantized, integer=True).run({"data": data})["x"],
    }
    for style in Style:
        write_caffe(quantized, tmp_path / f"{style.value}.prototxt", tmp_path / f"{style.value}.caffemodel", style)
    fake, deploy = ((tmp_path / f"{style.value}.prototxt", tmp_path / f"{style.value}.caffemodel") for style in Style)
    with Net(*fake, process=process) as net:
        found["real Caffe"] = net.run({"data": data})["x"]
        assert {layer.type for layer in net.layers} <= {"Input", "Power", "ReLU", "Scale", "Split", LAYERS[name][0]}
    found["deploy read back"] = OnnxSession(load_graph(*deploy), integer=True).run({"data": data})["x"]
    found["fake_quant read back"] = OnnxSession(load_graph(*fake)).run({"data": data})["x"]
    expected = _reference(name, graph.node["x"], quantized, plan, data)
    expected = found["real Caffe"] if expected is None else expected
    for runtime, array in found.items():
        if name == "pool":
            # An average is a division: runtimes may sum and divide in another order.
            np.testing.assert_allclose(array, expected, rtol=1e-6, err_msg=runtime)
        else:
            np.testing.assert_array_equal(array, expected, err_msg=runtime)


def test_rounding_at_ties_and_clipping_in_real_caffe(tmp_path, process):
    """Halves go to the even neighbour, and what lies outside goes to the end, for any offset."""
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2048 } } }\n'
    text += 'layer { name: "x" type: "InnerProduct" bottom: "data" top: "x" inner_product_param { num_output: 1 bias_term: false } }\n'
    files = write_net(tmp_path, text, {"x": [np.ones((1, 2048))]})
    graph = load_graph(files.model, files.weights)
    for scale, offset in ((0.5, -128), (0.25, 0), (1.0, 127), (float(np.float32(0.1)), -3)):
        plan = Plan.of({"x": LayerPlan(Precision.INT8, activation=ActivationQuant(scale, offset))})
        write_caffe(Quantizer(graph).apply(plan), tmp_path / "q.prototxt", tmp_path / "q.caffemodel")
        data = (np.arange(-1024, 1024, dtype=np.float32) / 2 * np.float32(scale)).reshape(1, -1)
        data[0, :4] = [1e30, -1e30, 3e6, -3e6]
        with Net(tmp_path / "q.prototxt", tmp_path / "q.caffemodel", process=process) as net:
            net.run({"data": data})
            found = net.blobs["x_0_quant_layer"].data
        np.testing.assert_array_equal(found, loops.quantize(data, scale, offset))


def test_a_net_with_shared_inputs(tmp_path, process):
    files = conv_net(tmp_path)
    graph = fold_affine(load_graph(files.model, files.weights)).graph
    data = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    quantizer = Quantizer(graph)
    plan = strongest_plan(quantizer, {"data": data})
    quantized = quantizer.apply(plan).verify()
    write_caffe(quantized, tmp_path / "q.prototxt", tmp_path / "q.caffemodel")
    with Net(tmp_path / "q.prototxt", tmp_path / "q.caffemodel", process=process) as net:
        found = net.run({"data": data}, ["conv2", "sum", "pool", "fc", "prob"])
    expected = OnnxSession(quantized, outputs=["conv2", "sum", "pool", "fc", "prob"]).run({"data": data})
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_layers_of_one_input_share_its_quant_layer(tmp_path):
    text = INPUT + "".join(
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "data" top: "{name}" inner_product_param {{ num_output: 2 }} }}\n'
        for name in "ab"
    )
    files = write_net(tmp_path, text, {name: [np.ones((2, 168)), np.zeros(2)] for name in "ab"})
    graph = load_graph(files.model, files.weights)
    plan = strongest_plan(Quantizer(graph), {"data": np.ones((2, 4, 7, 6), np.float32)})
    quantized = Quantizer(graph).apply(plan)
    assert [node.name for node in quantized.nodes] == [
        "a_0_quant_layer",
        "a",
        "a_dequant_layer",
        "b",
        "b_dequant_layer",
    ]


def test_a_deploy_model_reads_back_to_the_same_graph(tmp_path):
    files = conv_net(tmp_path)
    graph = fold_affine(load_graph(files.model, files.weights)).graph
    data = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    quantizer = Quantizer(graph)
    quantized = quantizer.apply(strongest_plan(quantizer, {"data": data}))
    write_caffe(quantized, tmp_path / "d.prototxt", tmp_path / "d.caffemodel", Style.DEPLOY)
    again = load_graph(tmp_path / "d.prototxt", tmp_path / "d.caffemodel")
    assert [node.op for node in again.nodes] == [node.op for node in quantized.nodes]
    assert dump(again).replace("@conv1", "@accumulator").count("\n") == dump(quantized).count("\n")
    for ours, theirs in zip(quantized.nodes, again.nodes, strict=True):
        assert len(ours.params) == len(theirs.params)
        for one, other in zip(ours.params, theirs.params, strict=True):
            assert quantized.params[one].dtype == again.params[other].dtype
            np.testing.assert_array_equal(quantized.params[one], again.params[other])


def test_weights_only(tmp_path, process):
    files = conv_net(tmp_path)
    graph = fold_affine(load_graph(files.model, files.weights)).graph
    plan = Plan.of({"conv2": LayerPlan(Precision.NUQ, codebook=(-90, 0, 60), num_steps=16)})
    quantized = Quantizer(graph).apply(plan)
    weight = quantized.params["conv2/0"]
    assert weight.dtype == np.float32
    assert all(len(np.unique(channel)) <= 3 for channel in weight)
    write_caffe(quantized, tmp_path / "q.prototxt", tmp_path / "q.caffemodel")
    data = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)
    with Net(tmp_path / "q.prototxt", tmp_path / "q.caffemodel", process=process) as net:
        found = net.run({"data": data})["prob"]
    np.testing.assert_allclose(found, OnnxSession(quantized).run({"data": data})["prob"], rtol=1e-5)


def test_a_layer_behind_an_opaque_one(tmp_path):
    """Its input's shape is not known, and it can be quantized all the same."""
    text = INPUT + (
        'layer { name: "odd" type: "Odd" bottom: "data" top: "odd" odd_param { a: 1 } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "odd" top: "fc" inner_product_param { num_output: 3 } }\n'
        'layer { name: "p" type: "Pooling" bottom: "odd" top: "p" pooling_param { pool: AVE kernel_size: 2 } }\n'
    )
    files = write_net(tmp_path, text, {"fc": [np.ones((3, 10)), np.ones(3)]})
    graph = load_graph(files.model, files.weights)
    can = {item.name: item for item in capabilities(graph)}
    assert can["fc"].nuq
    assert can["p"].reason == "the shape of its output is not known"
    plan = Plan.of({"fc": LayerPlan(Precision.NUQ, codebook=(127,), num_steps=16, activation=ActivationQuant(1.0, 0))})
    quantizer = Quantizer(graph)
    write_caffe(quantizer.apply(plan), tmp_path / "d.prototxt", tmp_path / "d.caffemodel", Style.DEPLOY)
    assert load_graph(tmp_path / "d.prototxt", tmp_path / "d.caffemodel").params["fc/0"].dtype == np.int8
    assert "channels" not in record_text(quantizer, plan)


def test_a_depthwise_layer_of_a_fork_is_quantized_in_its_stock_form(tmp_path, process):
    layer = 'layer { name: "x" type: "%s" bottom: "data" top: "x" convolution_param { num_output: 4 kernel_size: 3 pad: 1 %s } }\n'
    weights = {"x": [np.random.default_rng(1).normal(size=(4, 1, 3, 3)), np.arange(4)]}
    data = np.random.default_rng(2).normal(size=(2, 4, 7, 6)).astype(np.float32)
    found = []
    for layer_type, extra in (("ConvolutionDepthwise", ""), ("Convolution", "group: 4")):
        files = write_net(tmp_path, INPUT + layer % (layer_type, extra), weights)
        quantizer = Quantizer(load_graph(files.model, files.weights))
        write_caffe(
            quantizer.apply(strongest_plan(quantizer, {"data": data})),
            tmp_path / "q.prototxt",
            tmp_path / "q.caffemodel",
        )
        with Net(tmp_path / "q.prototxt", tmp_path / "q.caffemodel", process=process) as net:
            found.append(net.run({"data": data})["x"])
    np.testing.assert_array_equal(*found)
