"""The error of quantized layers, in the network and alone, against real Caffe and faults that were put in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nuqconv.api import load
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.onnx import write_onnx
from nuqconv.backends.onnx.styles import FAKE_QUANT, PACKED, QDQ
from nuqconv.comparison.layer_errors import measure_layer_errors
from nuqconv.comparison.quantized import has_quantized_layers, pair_layers
from nuqconv.errors import ModelError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, InnerProduct, Opaque, ReLU
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import conv_net, write_net
from tests.support.plans import strongest_plan

ROUNDER = 1.5 * 2**23


def batch(count=4, seed=1):
    return {"data": np.random.default_rng(seed).normal(size=(count, 3, 12, 12)).astype(np.float32)}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """The small net as it was read, its quantizer, and a plan with codebooks of 16."""
    files = conv_net(tmp_path_factory.mktemp("net"))
    graph = load(files.model, files.weights)
    quantizer = Quantizer(fold_affine(graph).graph)
    return graph, quantizer, strongest_plan(quantizer, batch(16, seed=2))


def errors_of(original, quantized, *batches):
    return measure_layer_errors(pair_layers(original, quantized), batches or [batch()])


def written(form, quantized, folder):
    """The quantized net written in one of our forms and read again."""
    path, weights = folder / "net_model.prototxt", folder / "net.caffemodel"
    if form in ("fake_quant", "deploy"):
        write_caffe(quantized, path, weights, *([Style.DEPLOY] if form == "deploy" else []))
        return load(path, weights)
    path = folder / "net.onnx"
    write_onnx(quantized, path, style={"qdq": QDQ, "packed": PACKED}.get(form, FAKE_QUANT))
    return load(path)


@pytest.mark.parametrize("form", ["fake_quant", "deploy", "plain onnx", "qdq", "packed"])
def test_every_form_gives_the_same_errors(net, form, tmp_path):
    graph, quantizer, plan = net
    quantized = quantizer.apply(plan)
    expected = errors_of(graph, quantized)
    found = errors_of(graph, written(form, quantized, tmp_path))
    assert [layer.layer for layer in found.layers] == ["conv1", "conv2", "pool", "fc"]
    assert [layer.levels for layer in found.layers] == [16, 16, None, 16]
    # QDQ divides by a step where the others multiply by its reciprocal, which may move what lies between two steps.
    near = {"abs": 2e-4} if form == "qdq" else {"rel": 1e-5, "abs": 1e-9}
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        for name in ("accumulated", "single", "weights", "activations"):
            one, two = getattr(ours, name), getattr(theirs, name)
            assert (one is None) == (two is None)
            assert one is None or one.relative == pytest.approx(two.relative, **near)
    assert found.outputs["prob"].relative == pytest.approx(expected.outputs["prob"].relative, **near)


def one_layer(folder, node, weights, multiplier, offset, steps):
    """A quantized layer by hand, in stock layers of Caffe: rounding by adding 1.5 * 2^23, clipping by two ReLUs."""
    op = node.op
    if isinstance(op, Convolution):
        kernel, pad, stride = op.kernel, op.pad, op.stride
        body = f'type: "Convolution" convolution_param {{ num_output: {op.num_output} kernel_h: {kernel[0]} kernel_w: {kernel[1]} '
        body += f"pad_h: {pad[0]} pad_w: {pad[1]} stride_h: {stride[0]} stride_w: {stride[1]} group: {op.group} }}"
    else:
        assert isinstance(op, InnerProduct)
        body = f'type: "InnerProduct" inner_product_param {{ num_output: {op.num_output} }}'
    low, high = -128 - offset, 127 - offset
    # min(x, high) = high - relu(high - x), and max(x, low) = low + relu(x - low).
    chain = [
        f"power_param {{ scale: {multiplier!r} shift: {ROUNDER!r} }}",
        f"power_param {{ shift: {-ROUNDER - low!r} }}",
        None,
        f"power_param {{ scale: -1 shift: {float(high - low)!r} }}",
        None,
        f"power_param {{ scale: -1 shift: {float(high)!r} }}",
    ]
    shape = " ".join(f"dim: {size}" for size in weights["x"].shape)
    text = f'name: "one"\nlayer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {shape} }} }} }}\n'
    last = "x"
    for number, power in enumerate(chain):
        kind = 'type: "ReLU"' if power is None else f'type: "Power" {power}'
        text += f'layer {{ name: "q{number}" bottom: "{last}" top: "q{number}" {kind} }}\n'
        last = f"q{number}"
    text += f'layer {{ name: "body" bottom: "{last}" top: "sums" {body} }}\n'
    text += 'layer { name: "steps" bottom: "sums" top: "y" type: "Scale" scale_param { axis: 1 } }\n'
    stored = [weights["weight"].astype(np.float32), weights["bias"].astype(np.float32)]
    return write_net(folder, text, {"body": stored, "steps": [steps]}, "one")


DEPTHWISE = """
name: "depthwise"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } } }
layer { name: "stem" type: "Convolution" bottom: "data" top: "stem" convolution_param { num_output: 8 kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "relu0" type: "ReLU" bottom: "stem" top: "stem" }
layer { name: "dw" type: "Convolution" bottom: "stem" top: "dw" convolution_param { num_output: 8 kernel_size: 3 pad: 1 group: 8 bias_term: false } }
layer { name: "dw/bn" type: "BatchNorm" bottom: "dw" top: "dw" }
layer { name: "dw/scale" type: "Scale" bottom: "dw" top: "dw" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "dw" top: "dw" }
layer { name: "pw" type: "Convolution" bottom: "dw" top: "pw" convolution_param { num_output: 6 kernel_size: 1 } }
layer { name: "relu2" type: "ReLU" bottom: "pw" top: "pw" }
layer { name: "pool" type: "Pooling" bottom: "pw" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
"""


@pytest.fixture(scope="module")
def depthwise(tmp_path_factory):
    """A net as those for telephones are, with what `net` gives and its files."""
    rng = np.random.default_rng(4)
    weights = {
        "stem": [rng.normal(size=(8, 3, 3, 3)) / 5, rng.normal(size=8) / 4],
        "dw": [rng.normal(size=(8, 1, 3, 3)) / 3],
        "dw/bn": [rng.normal(size=8) / 4, rng.uniform(0.5, 2, 8), np.array([1.0])],
        "dw/scale": [rng.uniform(0.5, 2, 8), rng.normal(size=8) / 4],
        "pw": [rng.normal(size=(6, 8, 1, 1)) / 3, rng.normal(size=6) / 4],
        "fc": [rng.normal(size=(5, 6)) / 3, rng.normal(size=5)],
    }
    files = write_net(tmp_path_factory.mktemp("depthwise"), DEPTHWISE, weights)
    graph = load(files.model, files.weights)
    quantizer = Quantizer(fold_affine(graph).graph)
    return files, (graph, quantizer, strongest_plan(quantizer, batch(16, seed=2)))


def test_every_quantized_layer_of_a_depthwise_net_has_a_row(depthwise, tmp_path):
    _, (graph, quantizer, plan) = depthwise
    assert set(plan) == {"stem", "dw", "pw", "fc"}
    found = errors_of(graph, written("fake_quant", quantizer.apply(plan), tmp_path))
    assert [layer.layer for layer in found.layers] == ["stem", "dw", "pw", "fc"]
    assert found.unmeasured == {}


@pytest.mark.caffe
@pytest.mark.parametrize("name", ["conv1", "conv2", "fc"])
def test_single_error_is_that_of_a_net_of_one_layer_in_real_caffe(net, name, tmp_path, caffe_process):
    end = {"conv1": "scale1"}.get(name, name)
    check_single_error(conv_net(tmp_path), net, name, end, tmp_path, caffe_process)


@pytest.mark.caffe
@pytest.mark.parametrize("name", ["stem", "dw", "pw", "fc"])
def test_single_errors_of_a_depthwise_net(depthwise, name, tmp_path, caffe_process):
    files, net = depthwise
    end = {"dw": "dw/scale"}.get(name, name)
    check_single_error(files, net, name, end, tmp_path, caffe_process)


def check_single_error(files, net, name, end, folder, caffe_process):
    """The layer alone, made by hand in stock layers, run in real Caffe on what feeds it in the float net."""
    graph, quantizer, plan = net
    data = batch(2, seed=7)
    quantized = quantizer.apply(plan)
    ours = next(layer for layer in errors_of(graph, quantized, data).layers if layer.layer == name)
    node = quantizer.graph.node[name]
    x = (
        OnnxSession(quantizer.graph, outputs=[node.inputs[0]]).run(data)[node.inputs[0]]
        if node.inputs[0] != "data"
        else data["data"]
    )
    integers, layer = quantizer.layer_integers(name, plan[name]), plan[name]
    multiplier = float(np.float32(1) / np.float32(layer.activation.scale))
    steps = np.broadcast_to(np.float32(layer.activation.scale) * integers.scales, (node.op.num_output,)).copy()
    parts = {"x": x, "weight": integers.weights, "bias": integers.bias}
    coarse = one_layer(folder, node, parts, multiplier, layer.activation.offset, steps)
    with Net(coarse.model, coarse.weights, process=caffe_process) as found:
        y = found.run({"x": x}, ["y"])["y"]
    value = quantizer.graph.storage_name(node.outputs[0])
    with Net(files.model, files.weights, process=caffe_process) as whole:
        wanted = whole.run(data, [value], end=end)[value]
    relative = np.linalg.norm((y - wanted).astype(np.float64)) / np.linalg.norm(wanted.astype(np.float64))
    assert ours.single.relative == pytest.approx(relative, abs=1e-6)
    assert ours.single.largest == pytest.approx(np.abs(y - wanted).max(), rel=1e-4)


def test_parts_of_the_single_error(net):
    """Weights alone and the input alone, against plain numpy."""
    graph, quantizer, plan = net
    data = batch(2, seed=7)
    layer = errors_of(graph, quantizer.apply(plan), data).layers[-1]
    node, chosen = quantizer.graph.node["fc"], plan["fc"]
    values = OnnxSession(quantizer.graph, outputs=[node.inputs[0], "fc"]).run(data)
    x = values[node.inputs[0]].astype(np.float64).reshape(2, -1)
    weight, bias = (quantizer.graph.params[name].astype(np.float64) for name in node.params)
    integers, activation = quantizer.layer_integers("fc", chosen), chosen.activation
    coarse = integers.weights * integers.scales.astype(np.float64)
    q = np.clip(
        np.rint(x / np.float64(np.float32(activation.scale))), -128 - activation.offset, 127 - activation.offset
    )
    wanted = x @ weight.T + bias
    assert np.allclose(wanted, values["fc"], rtol=1e-4, atol=1e-4)
    norm = np.linalg.norm(wanted)
    by_input = np.linalg.norm(q * np.float64(np.float32(activation.scale)) @ weight.T + bias - wanted) / norm
    by_weights = np.linalg.norm(x @ coarse.T + integers.bias * integers.scales * activation.scale - wanted) / norm
    assert layer.activations.relative == pytest.approx(by_input, rel=1e-4)
    assert layer.weights.relative == pytest.approx(by_weights, rel=1e-4)


def test_what_is_accumulated_is_the_quantized_network(net):
    graph, quantizer, plan = net
    quantized, data = quantizer.apply(plan), batch(3, seed=9)
    found = errors_of(graph, quantized, data)
    names = {layer.layer: quantizer.graph.node[layer.layer].outputs[0] for layer in found.layers}
    wanted = OnnxSession(quantizer.graph, outputs=list(names.values())).run(data)
    coarse = OnnxSession(quantized, outputs=list(names.values())).run(data)
    for layer in found.layers:
        a, b = (values[names[layer.layer]].astype(np.float64) for values in (coarse, wanted))
        assert layer.accumulated.relative == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-4)
    first = found.layers[0]
    assert first.accumulated.relative == pytest.approx(first.single.relative, rel=1e-9)


def test_batches_do_not_change_it(net):
    graph, quantizer, plan = net
    data = batch(12, seed=5)
    whole = errors_of(graph, quantizer.apply(plan), data)
    parts = errors_of(graph, quantizer.apply(plan), *({"data": data["data"][i : i + 5]} for i in (0, 5, 10)))
    assert (whole.samples, parts.samples) == (12, 12)
    for one, two in zip(whole.layers, parts.layers, strict=True):
        assert one.single.relative == pytest.approx(two.single.relative, rel=1e-5)
    few = measure_layer_errors(pair_layers(graph, quantizer.apply(plan)), [data], limit=7)
    assert few.samples == 7


def chain(rng, layers=5):
    """Convolutions and ReLUs with random weights."""
    nodes, params, value = [], {}, "data"
    for number in range(layers):
        name = f"conv{number}"
        op = Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1))
        nodes.append(Node(name, op, (value,), (name,), (f"{name}/0", f"{name}/1")))
        nodes.append(Node(f"relu{number}", ReLU(), (name,), (f"relu{number}",)))
        inputs = 3 if number == 0 else 6
        params[f"{name}/0"] = (rng.normal(size=(6, inputs, 3, 3)) / np.sqrt(9 * inputs)).astype(np.float32)
        params[f"{name}/1"] = rng.normal(size=6).astype(np.float32) / 4
        value = f"relu{number}"
    return Graph("chain", (Input("data", (2, 3, 8, 8)),), tuple(nodes), params, (value,)).verify()


@pytest.mark.parametrize("kind", ["of the result", "of the input"])
def test_a_step_size_that_was_doubled_is_ranked_first(kind):
    """In 100 of 100 nets, whichever the layer."""
    for seed in range(50):
        rng = np.random.default_rng([seed, kind == "of the input"])
        graph = chain(rng)
        data = {"data": rng.normal(size=(2, 3, 8, 8)).astype(np.float32)}
        quantizer = Quantizer(graph)
        quantized = quantizer.apply(strongest_plan(quantizer, data, steps=int(rng.choice([16, 32]))))
        name = f"conv{rng.integers(5)}"
        assert doubled(quantized, name, kind) is not quantized
        found = measure_layer_errors(pair_layers(graph, doubled(quantized, name, kind)), [data])
        assert found.ranked[0].layer == name, (seed, name, [layer.layer for layer in found.ranked])


def doubled(graph, name, kind):
    if kind == "of the result":
        step = f"{name}_dequant_layer/0"
        return replace(graph, params={**graph.params, step: 2 * graph.params[step]})
    maker = graph.producer[graph.node[name].inputs[0]]
    op = replace(maker.op, multiplier=maker.op.multiplier / 2)
    return graph.with_nodes(replace(node, op=op) if node is maker else node for node in graph.nodes)


def test_weights_alone(net):
    """Nets whose input stays float, which have no quantized layer but quantized weights."""
    graph, quantizer, _ = net
    plan = Plan.of({"conv1": LayerPlan(Precision.INT8), "fc": LayerPlan(Precision.INT8)})
    quantized = quantizer.apply(plan)
    assert not has_quantized_layers(quantized)
    found = errors_of(graph, quantized)
    assert [layer.layer for layer in found.layers] == ["conv1", "fc"]
    for layer in found.layers:
        assert layer.activations is None
        assert layer.single.relative == pytest.approx(layer.weights.relative, rel=1e-9)
        assert 1e-4 < layer.single.relative < 0.02


def test_what_is_no_quantization(net):
    graph, quantizer, plan = net
    with pytest.raises(ModelError, match="no layer of the float network is quantized in the other one"):
        pair_layers(graph, graph)
    assert has_quantized_layers(quantizer.apply(plan))
    assert not has_quantized_layers(graph)
    pair = pair_layers(graph, quantizer.apply(plan))
    with pytest.raises(ModelError, match="there is no sample"):
        measure_layer_errors(pair, [])


def test_a_layer_that_was_left_in_float_has_no_row(net):
    graph, quantizer, plan = net
    found = errors_of(graph, quantizer.apply(plan.replace("conv2", LayerPlan(Precision.FLOAT))))
    assert [layer.layer for layer in found.layers] == ["conv1", "pool", "fc"]


def test_layers_behind_what_cannot_be_run(net):
    graph, quantizer, plan = net
    quantized = quantizer.apply(plan)
    pair = pair_layers(graph, quantized)
    odd = Opaque("Mystery", "nobody knows it")

    def hidden(source):
        return source.with_nodes(replace(node, op=odd) if node.name == "sum" else node for node in source.nodes)

    found = measure_layer_errors(
        replace(pair, original=hidden(pair.original), quantized=hidden(pair.quantized)), [batch()]
    )
    assert [layer.layer for layer in found.layers] == ["conv1", "conv2"]
    assert set(found.unmeasured) == {"pool", "fc"}
    assert "onnxruntime cannot run layer 'sum'" in found.unmeasured["pool"] or "sum" in found.unmeasured["pool"]
    assert found.outputs == {}


_PEAK = """
import sys
import numpy as np
from nuqconv.comparison.layer_errors import measure_layer_errors
from nuqconv.comparison.quantized import pair_layers
from nuqconv.quantize.apply import Quantizer
from tests.comparison.test_layer_errors import chain
from tests.support.peak import peak_memory
from tests.support.plans import strongest_plan
graph = chain(np.random.default_rng(0))
data = lambda seed: {"data": np.random.default_rng(seed).normal(size=(10, 3, 24, 24)).astype(np.float32)}
from dataclasses import replace
graph = replace(graph, inputs=(replace(graph.inputs[0], shape=(10, 3, 24, 24)),))
quantizer = Quantizer(graph)
pair = pair_layers(graph, quantizer.apply(strongest_plan(quantizer, data(0))))
found = measure_layer_errors(pair, (data(seed) for seed in range(int(sys.argv[1]) // 10)))
assert found.samples == int(sys.argv[1])
print(peak_memory())
"""


def test_memory_does_not_grow_with_the_samples():
    def peak(samples):
        command = [sys.executable, "-c", _PEAK, str(samples)]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], env=os.environ
        )
        return int(ended.stdout)

    assert peak(1000) <= 1.1 * peak(10)
