"""From a graph and a plan to a quantized graph."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.errors import QuantizationError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, InnerProduct, Opaque, Pooling, Quantize, ReLU
from nuqconv.quantize.activation import ActivationQuant
from nuqconv.quantize.apply import Quantizer, apply_plan, quant_node_name
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from tests.oracle import loops

A = ActivationQuant(0.5, -3)
B = ActivationQuant(0.25, -3)
INT8 = LayerPlan(Precision.INT8, activation=A)
WEIGHTS_ONLY = LayerPlan(Precision.INT8)
FLOAT = LayerPlan(Precision.FLOAT)
BOOK = (-100, -20, 0, 30, 127)
NUQ = LayerPlan(Precision.NUQ, codebook=BOOK, num_steps=16, activation=A)


def convolution(outputs, kernel, *, group=1, bias=True):
    return Convolution(outputs, (kernel, kernel), (1, 1), (0, 0), (1, 1), group, bias_term=bias)


def network() -> Graph:
    """Every kind of layer that can be quantized, two readers of one value, an in-place ReLU."""
    rng = np.random.default_rng(5)
    params = {
        "conv/0": rng.normal(size=(6, 2, 3, 3)) * np.arange(1, 7).reshape(6, 1, 1, 1),
        "conv/1": rng.normal(size=6),
        "side/0": rng.normal(size=(6, 2, 3, 3)),
        "grouped/0": rng.normal(size=(4, 3, 1, 1)),
        "up/0": rng.normal(size=(4, 5, 2, 2)) * np.arange(1, 6).reshape(1, 5, 1, 1),
        "up/1": rng.normal(size=5),
        "fc/0": rng.normal(size=(7, 180)),
        "fc/1": rng.normal(size=7),
    }
    nodes = (
        Node("conv", convolution(6, 3), ("data",), ("c@conv",), ("conv/0", "conv/1")),
        Node("side", convolution(6, 3, bias=False), ("data",), ("side",), ("side/0",)),
        Node("relu", ReLU(), ("c@conv",), ("c",)),
        Node("grouped", convolution(4, 1, group=2, bias=False), ("c",), ("g",), ("grouped/0",)),
        Node("up", Deconvolution(5, (2, 2), (1, 1), (0, 0), (1, 1)), ("g",), ("u",), ("up/0", "up/1")),
        Node("pool", Pooling("AVE", (2, 2)), ("u",), ("p",)),
        Node("fc", InnerProduct(7), ("p",), ("f",), ("fc/0", "fc/1")),
    )
    arrays = {name: np.float32(array) for name, array in params.items()}
    return Graph("net", (Input("data", (1, 2, 8, 8)),), nodes, arrays, ("f", "side"), {"c@conv": "c"}).verify()


def names(graph):
    return [node.name for node in graph.nodes]


def test_an_empty_plan_and_float_layers_change_nothing():
    graph = network()
    for plan in (Plan(), Plan.of(dict.fromkeys(("conv", "relu", "pool"), FLOAT))):
        same = apply_plan(graph, plan)
        assert same.nodes == graph.nodes
        assert set(same.params) == set(graph.params)
        for name, array in graph.params.items():
            np.testing.assert_array_equal(same.params[name], array)


def test_what_stands_around_a_quantized_layer():
    graph = network()
    quantized = apply_plan(graph, Plan.of({"conv": INT8})).verify()
    before, layer, after = quantized.nodes[:3]
    assert before == Node("conv_0_quant_layer", Quantize(2.0, -3), ("data",), ("conv_0_quant_layer",))
    assert layer == Node(
        "conv", graph.node["conv"].op, ("conv_0_quant_layer",), ("c@conv@accumulator",), ("conv/0", "conv/1")
    )
    assert after == Node(
        "conv_dequant_layer", Dequantize(), ("c@conv@accumulator",), ("c@conv",), ("conv_dequant_layer/0",)
    )
    assert quantized.nodes[3:] == graph.nodes[1:]
    assert (quantized.inputs, quantized.outputs) == (graph.inputs, graph.outputs)
    assert dict(quantized.storage) == {"c@conv": "c", "c@conv@accumulator": "c"}
    for name in set(graph.params) - {"conv/0", "conv/1"}:
        np.testing.assert_array_equal(quantized.params[name], graph.params[name])
    assert quant_node_name("conv", 1) == "conv_1_quant_layer"


@pytest.mark.parametrize(("layer", "axis"), [("conv", 0), ("side", 0), ("grouped", 0), ("up", 1), ("fc", None)])
def test_integers_stand_for_the_weights(layer, axis):
    graph = network()
    quantized = apply_plan(graph, Plan.of({layer: INT8})).verify()
    weights, q = graph.params[f"{layer}/0"], quantized.params[f"{layer}/0"]
    others = None if axis is None else tuple(set(range(weights.ndim)) - {axis})
    expected = np.abs(weights).max(axis=others).reshape(-1) / np.float32(127)
    steps = quantized.params[f"{layer}_dequant_layer/0"]
    channels = graph.shapes[graph.node[layer].outputs[0]][1]
    np.testing.assert_allclose(steps, np.broadcast_to(expected * 0.5, (channels,)), rtol=1e-6)
    assert (steps.dtype, q.dtype) == (np.float32, np.int8)
    shape = [1] * weights.ndim
    shape[0 if axis is None else axis] = -1
    assert np.abs(q * (steps / 0.5).reshape(shape) - weights).max() <= expected.max() * 0.501
    bias = graph.params.get(f"{layer}/1")
    if bias is None:
        assert f"{layer}/1" not in quantized.params
    else:
        assert quantized.params[f"{layer}/1"].dtype == np.int32
        np.testing.assert_array_equal(quantized.params[f"{layer}/1"], np.rint(bias / steps.astype(np.float64)))


def test_one_step_size_for_a_convolution_that_is_not_channel_wise():
    graph = network()
    whole = LayerPlan(Precision.INT8, activation=A, channel_wise=False)
    steps = apply_plan(graph, Plan.of({"conv": whole})).params["conv_dequant_layer/0"]
    assert steps.shape == (6,)
    np.testing.assert_allclose(steps, np.abs(graph.params["conv/0"]).max() / 127 * 0.5, rtol=1e-6)


def test_a_codebook_takes_the_nearest_levels():
    graph = network()
    uniform = apply_plan(graph, Plan.of({"fc": INT8}))
    quantized = apply_plan(graph, Plan.of({"fc": NUQ}))
    book = np.array(BOOK)
    q = uniform.params["fc/0"].astype(int)
    np.testing.assert_array_equal(
        np.abs(quantized.params["fc/0"] - q), np.abs(q[..., None] - book).min(axis=-1), err_msg="not the nearest level"
    )
    assert set(np.unique(quantized.params["fc/0"])) <= set(BOOK)
    for name in ("fc/1", "fc_dequant_layer/0"):
        np.testing.assert_array_equal(quantized.params[name], uniform.params[name])


def test_pooling_has_only_its_input_quantized():
    quantized = apply_plan(network(), Plan.of({"pool": INT8})).verify()
    assert names(quantized)[5:8] == ["pool_0_quant_layer", "pool", "pool_dequant_layer"]
    np.testing.assert_array_equal(quantized.params["pool_dequant_layer/0"], np.full(5, 0.5, np.float32))


def test_layers_share_a_quant_layer_by_value_step_size_and_offset():
    graph = network()
    shared = apply_plan(graph, Plan.of({"conv": INT8, "side": INT8}))
    assert names(shared)[:5] == ["conv_0_quant_layer", "conv", "conv_dequant_layer", "side", "side_dequant_layer"]
    assert shared.node["side"].inputs == ("conv_0_quant_layer",)
    offset = ActivationQuant(A.scale, A.offset + 1)
    for other in (B, offset):
        apart = apply_plan(graph, Plan.of({"conv": INT8, "side": LayerPlan(Precision.INT8, activation=other)}))
        assert apart.node["conv"].inputs == ("conv_0_quant_layer",)
        assert apart.node["side"].inputs == ("side_0_quant_layer",)
    # One step size on another value is another Quant layer.
    elsewhere = apply_plan(graph, Plan.of({"conv": INT8, "grouped": INT8}))
    assert elsewhere.node["grouped"].inputs == ("grouped_0_quant_layer",)


def test_a_shared_quant_layer_takes_its_name_from_the_first_layer_that_is_quantized():
    quantized = apply_plan(network(), Plan.of({"conv": FLOAT, "side": INT8}))
    assert names(quantized)[:4] == ["conv", "side_0_quant_layer", "side", "side_dequant_layer"]


@pytest.mark.parametrize("layer", ["conv", "up", "fc"])
def test_weights_only_keeps_float_arithmetic(layer):
    graph = network()
    quantized = apply_plan(graph, Plan.of({layer: WEIGHTS_ONLY})).verify()
    assert quantized.nodes == graph.nodes
    changed = quantized.params[f"{layer}/0"]
    assert changed.dtype == np.float32
    assert 0 < np.abs(changed - graph.params[f"{layer}/0"]).max() <= np.abs(graph.params[f"{layer}/0"]).max() / 250
    for name in set(graph.params) - {f"{layer}/0"}:
        np.testing.assert_array_equal(quantized.params[name], graph.params[name])


def test_a_plan_that_names_unknown_layers():
    with pytest.raises(QuantizationError) as found:
        apply_plan(network(), Plan.of({"conv": INT8, "conv9": INT8, "nothing": FLOAT}))
    assert str(found.value) == "the plan names layers that network 'net' does not have: conv9, nothing"


def test_a_plan_that_asks_for_what_cannot_be():
    book = LayerPlan(Precision.NUQ, codebook=BOOK, num_steps=16)
    with pytest.raises(QuantizationError) as found:
        apply_plan(network(), Plan.of({"relu": INT8, "grouped": NUQ, "up": book, "pool": NUQ, "fc": NUQ}))
    assert str(found.value).splitlines()[0] == "the plan asks for what cannot be; leave these layers out"
    assert found.value.problems == (
        "layer 'relu' (ReLU): layers of this type are not quantized",
        "layer 'grouped' (Convolution): no nuq: NUQ needs group 1",
        "layer 'up' (Deconvolution): no nuq: a Deconvolution has no NUQ",
        "layer 'pool' (Pooling): no nuq: a Pooling has no weights",
    )


def test_pooling_without_a_step_size_for_its_input():
    with pytest.raises(QuantizationError) as found:
        apply_plan(network(), Plan.of({"pool": WEIGHTS_ONLY}))
    assert str(found.value) == "layer 'pool' (Pooling) has no weights, and the plan gives its input no step size"


def test_shared_weights_cannot_be_quantized():
    nodes = tuple(
        Node(name, InnerProduct(3, bias_term=False), (value,), (name,), ("w",))
        for name, value in (("a", "data"), ("b", "a"))
    )
    graph = Graph("net", (Input("data", (1, 3)),), nodes, {"w": np.ones((3, 3), np.float32)}, ("b",))
    with pytest.raises(QuantizationError) as found:
        apply_plan(graph, Plan.of({"a": INT8}))
    assert found.value.problems == ("layer 'a' (InnerProduct): no int8: its weights are shared with another layer",)


def test_layers_behind_an_unknown_one():
    """Weights tell the number of channels; without them it is not known."""
    nodes = (
        Node("odd", Opaque("Odd", "not known"), ("data",), ("o",)),
        Node("pool", Pooling("AVE", (2, 2)), ("o",), ("p",)),
        Node("fc", InnerProduct(2, bias_term=False), ("p",), ("f",), ("w",)),
    )
    graph = Graph("net", (Input("data", (1, 3)),), nodes, {"w": np.ones((2, 3), np.float32)}, ("f",))
    quantized = apply_plan(graph, Plan.of({"fc": INT8}))
    assert names(quantized) == ["odd", "pool", "fc_0_quant_layer", "fc", "fc_dequant_layer"]
    assert quantized.params["fc_dequant_layer/0"].shape == (2,)
    with pytest.raises(QuantizationError) as found:
        apply_plan(graph, Plan.of({"pool": INT8}))
    assert found.value.problems == ("layer 'pool' (Pooling): no int8: the shape of its output is not known",)


def test_integers_are_made_once():
    quantizer = Quantizer(network())
    first = quantizer.integers("conv", A)
    assert quantizer.integers("conv", ActivationQuant(0.5, -3)) is first
    assert quantizer.integers("conv", B) is not first
    assert quantizer.integers("conv", A, channel_wise=False).scales.shape == (1,)
    assert quantizer.integers("conv", None).bias is None
    assert quantizer.integers("side", A).bias is None
    with pytest.raises(ValueError, match="read-only"):
        first.weights[:] = 0


@pytest.mark.parametrize("layer", ["relu", "pool"])
def test_layers_without_weights_have_no_integers(layer):
    graph = network()
    with pytest.raises(QuantizationError) as found:
        Quantizer(graph).integers(layer, A)
    assert str(found.value) == f"{graph.node[layer].place} has no weights to quantize"


@pytest.mark.parametrize("size", [1e-8, 1e-20, 1e-35, 0.0])
def test_channels_that_training_has_switched_off(size):
    """Tiny weights beside a large bias (D5): the bias must not overflow int32, and the output must stay right."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(3, 4, 3, 3)).astype(np.float32)
    weights[1] *= np.float32(size)
    bias = np.array([0.5, 1000.0, -2.0], np.float32)
    node = Node("conv", convolution(3, 3), ("data",), ("y",), ("w", "b"))
    graph = Graph("net", (Input("data", (1, 4, 6, 6)),), (node,), {"w": weights, "b": bias}, ("y",))
    activation = ActivationQuant(2.0**-10, 0)
    quantized = apply_plan(graph, Plan.of({"conv": LayerPlan(Precision.INT8, activation=activation)})).verify()
    q, steps = quantized.params["b"], quantized.params["conv_dequant_layer/0"]
    assert abs(int(q[1])) <= 2**30 + 64
    data = rng.integers(-127, 128, (1, 4, 6, 6)) * np.float32(2.0**-10)
    u = loops.quantize(data, activation.scale, activation.offset)
    sums = loops.conv2d(u, quantized.params["w"], 1, 0) + q.astype(np.int64).reshape(1, -1, 1, 1)
    assert np.abs(sums).max() < 2**31
    found = sums * steps.astype(np.float64).reshape(1, -1, 1, 1)
    # The inputs are exact here, so what differs is the rounding of weights and biases.
    exact = np.zeros((1, 3, 4, 4))
    for y in range(4):
        for x in range(4):
            exact[0, :, y, x] = np.einsum("chw,ochw->o", data[0, :, y : y + 3, x : x + 3], weights.astype(np.float64))
    exact += bias.reshape(1, -1, 1, 1)
    assert np.abs(found[:, 1] - exact[:, 1]).max() < 1000 * 2.0**-24
    assert np.abs(found - exact).max() < 0.02
