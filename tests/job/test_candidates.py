"""The search space of a model: sizes, predicted losses, codebooks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuqconv.errors import ConfigError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Deconvolution, InnerProduct, Pooling, ReLU
from nuqconv.job.candidates import ActivationRule, LayerRequest, activation_quants, find_candidates
from nuqconv.quantize.activation import ActivationQuant, ifmr
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.histogram import Histogram
from nuqconv.quantize.plan import LayerPlan, Precision

RNG = np.random.default_rng(11)
DATA = RNG.normal(size=4000).astype(np.float32)
A = ActivationQuant(float(np.float32(0.03)), 0)
BOTH = (32, 16)


def network(**weights) -> Graph:
    """A convolution (6 filters of 2x3x3 with bias), a deconvolution (2x6), pooling and an inner product (5x24)."""
    params = {
        "conv/0": RNG.normal(size=(6, 2, 3, 3)),
        "conv/1": RNG.normal(size=6),
        "up/0": RNG.normal(size=(6, 6, 1, 1)),
        "fc/0": RNG.normal(size=(5, 24)),
        "fc/1": RNG.normal(size=5),
    }
    params = {name: np.float32(array) for name, array in (params | weights).items()}
    ones, none = (1, 1), (0, 0)
    nodes = (
        Node("conv", Convolution(6, (3, 3), ones, none, ones), ("data",), ("conv",), ("conv/0", "conv/1")),
        Node("relu", ReLU(), ("conv",), ("relu",)),
        Node("up", Deconvolution(6, ones, ones, none, ones, bias_term=False), ("relu",), ("up",), ("up/0",)),
        Node("pool", Pooling("AVE", (2, 2), (2, 2)), ("up",), ("pool",)),
        Node("fc", InnerProduct(5), ("pool",), ("fc",), ("fc/0", "fc/1")),
    )
    return Graph("net", (Input("data", (1, 2, 6, 6)),), nodes, params, ("fc",)).verify()


def histograms(*values, data=DATA):
    found = {value: Histogram() for value in values}
    for histogram in found.values():
        histogram.update(data)
    return found


def candidates(graph, *requests, activation=A):
    quantizer = Quantizer(graph)
    values = [graph.node[request.name].inputs[0] for request in requests]
    activations = {request.name: activation for request in requests} if activation else {}
    return find_candidates(quantizer, requests, activations, histograms(*values))


def space(graph, *requests, activation=A):
    return candidates(graph, *requests, activation=activation).space.layers


def test_sizes_of_a_convolution():
    """108 weights, 6 step sizes, 6 biases: D7 by hand."""
    (layer,) = space(network(), LayerRequest("conv", BOTH))
    assert layer.name == "conv"
    assert layer.float_bytes == 4 * (108 + 6)
    assert [option.bytes for option in layer.options] == [108 + 48, 108 * 5 / 8 + 0.5 + 32 + 48, 54 + 16 + 48]
    assert [option.layer_plan.num_steps for option in layer.options] == [None, 32, 16]
    assert [len(option.layer_plan.codebook or ()) for option in layer.options] == [0, 32, 16]
    assert {option.layer_plan.activation for option in layer.options} == {A}
    assert {option.layer_plan.channel_wise for option in layer.options} == {True}


def test_sizes_of_an_inner_product_which_has_one_step_size():
    (layer,) = space(network(), LayerRequest("fc", BOTH))
    assert layer.float_bytes == 4 * (120 + 5)
    assert [option.bytes for option in layer.options] == [120 + 24, 75 + 32 + 24, 60 + 16 + 24]
    assert {option.layer_plan.channel_wise for option in layer.options} == {False}


def test_one_step_size_for_a_convolution():
    (layer,) = space(network(), LayerRequest("conv", (16,), channel_wise=False))
    assert [option.bytes for option in layer.options] == [108 + 28, 54 + 16 + 28]
    assert {option.layer_plan.channel_wise for option in layer.options} == {False}


def test_layers_that_are_int8_only_and_pooling():
    up, pool = space(network(), LayerRequest("up"), LayerRequest("pool"))
    assert [option.layer_plan for option in up.options] == [LayerPlan(Precision.INT8, activation=A)]
    assert (up.options[0].bytes, up.float_bytes) == (36 + 24, 144)
    assert [option.layer_plan for option in pool.options] == [LayerPlan(Precision.INT8, activation=A)]
    assert (pool.options[0].bytes, pool.float_bytes) == (0, 0)
    assert 0 < pool.options[0].loss < up.options[0].loss


@pytest.mark.parametrize("layer", ["conv", "fc"])
def test_losses_rise_from_option_to_option(layer):
    (found,) = space(network(), LayerRequest(layer, BOTH))
    losses = [option.loss for option in found.options]
    assert losses == sorted(losses)
    assert len(set(losses)) == 3
    assert losses[-1] < 0.1
    sizes = [option.bytes for option in found.options]
    assert sizes == sorted(sizes, reverse=True)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["conv", "up", "fc"]), st.sets(st.integers(2, 256), min_size=1, max_size=6))
def test_any_sizes_of_codebooks(layer, sizes):
    steps = tuple(sorted(sizes, reverse=True))
    (found,) = space(network(), LayerRequest(layer, steps), activation=None)
    plans = [option.layer_plan for option in found.options[1:]]
    assert [option.loss for option in found.options] == sorted(option.loss for option in found.options)
    assert {plan.num_steps for plan in plans} <= sizes
    assert all(len(plan.codebook) <= plan.num_steps for plan in plans)
    assert len({plan.codebook for plan in plans}) == len(plans)
    assert plans[-1].num_steps == min(sizes)


@pytest.mark.parametrize("steps", [(256,), (255, 200), (200, 129), (200, 128), (200, 16)])
def test_codebooks_of_as_many_bits_as_int8_are_no_options_of_a_search(steps):
    weights = np.linspace(-1, 1, 600, dtype=np.float32).reshape(5, 120)
    node = Node("fc", InnerProduct(5, bias_term=False), ("data",), ("fc",), ("fc/0",))
    graph = Graph("net", (Input("data", (1, 120)),), (node,), {"fc/0": weights}, ("fc",)).verify()
    (searched,) = space(graph, LayerRequest("fc", steps), activation=None)
    assert [option.layer_plan.num_steps for option in searched.options] == [None, *(n for n in steps if n <= 128)]
    (chosen,) = space(graph, LayerRequest("fc", steps, strongest_only=True), activation=None)
    assert chosen.options[-1].layer_plan.num_steps == steps[-1]


@pytest.mark.parametrize("layer", ["conv", "fc"])
def test_the_loss_is_the_relative_error_of_the_weights_and_of_the_input(layer):
    graph = network()
    quantizer = Quantizer(graph)
    (found,) = space(graph, LayerRequest(layer, BOTH))
    weights = graph.params[f"{layer}/0"].astype(np.float64)
    integers = quantizer.integers(layer, A)
    steps = integers.scales.astype(np.float64).reshape(-1, *[1] * (weights.ndim - 1))
    u = np.clip(np.rint(DATA / np.float64(A.scale)), -128, 127) * A.scale
    noise = np.square(u - DATA).sum() / np.square(DATA).sum()
    for option in found.options:
        book = np.array(option.layer_plan.codebook or range(-128, 128))
        levels = book[np.abs(integers.weights[..., None] - book).argmin(axis=-1)]
        exact = np.square(levels * steps - weights).sum() / np.square(weights).sum()
        # The input's error is taken at the centres of the histogram's bins; rounding and codebook errors are taken as independent.
        assert option.loss == pytest.approx(exact + noise, rel=0.1 if option.layer_plan.codebook else 0.002)


def test_layers_with_few_levels_are_lossless():
    """7 levels: 32 and 16 steps are one and the same form, which costs nothing more than int8."""
    rng = np.random.default_rng(0)
    few = rng.choice([-127, -60, -3, 0, 8, 90, 127], size=(6, 2, 3, 3))
    found = candidates(network(**{"conv/0": few}), LayerRequest("conv", BOTH), LayerRequest("fc", BOTH))
    assert dict(found.lossless) == {"conv": 7}
    conv, fc = found.space.layers
    int8, nuq = conv.options
    assert (nuq.layer_plan.num_steps, nuq.layer_plan.codebook) == (16, (-127, -60, -3, 0, 8, 90, 127))
    assert nuq.loss == int8.loss
    assert nuq.bytes == 108 * 3 // 8 + 1 + 7 + 48
    assert len(fc.options) == 3


def test_levels_between_16_and_32_are_lossless_at_32_only():
    levels = np.linspace(-127, 127, 20).round()
    weights = np.resize(levels, (6, 2, 3, 3))
    weights[:, 0, 0, 0] = 127
    found = candidates(network(**{"conv/0": weights}), LayerRequest("conv", BOTH))
    assert dict(found.lossless) == {"conv": 20}
    int8, at_32, at_16 = found.space.layers[0].options
    assert len(at_32.layer_plan.codebook) == 20
    assert at_32.loss == int8.loss < at_16.loss


def test_int8_layers_are_not_asked_whether_they_are_lossless():
    few = np.resize([-127.0, 127.0], (6, 6, 1, 1))
    assert dict(candidates(network(**{"up/0": few}), LayerRequest("up")).lossless) == {}


def test_weights_of_zeros():
    found = candidates(network(**{"conv/0": np.zeros((6, 2, 3, 3))}), LayerRequest("conv", BOTH))
    int8, nuq = found.space.layers[0].options
    assert nuq.layer_plan.codebook == (0,)
    assert nuq.bytes == 0 + 1 + 48
    assert nuq.loss == int8.loss
    assert dict(found.lossless) == {"conv": 1}


def test_weights_only():
    with_input = space(network(), LayerRequest("conv", BOTH))[0]
    found = space(network(), LayerRequest("conv", BOTH), LayerRequest("pool"), activation=None)
    assert [layer.name for layer in found] == ["conv"]
    assert [option.layer_plan.activation for option in found[0].options] == [None] * 3
    assert [option.bytes for option in found[0].options] == [option.bytes for option in with_input.options]
    # Without the noise of a quantized input the loss is that of the weights alone.
    assert 0 < found[0].options[0].loss < with_input.options[0].loss


def test_nothing_to_quantize():
    with pytest.raises(ConfigError) as found:
        space(network(), LayerRequest("pool"), activation=None)
    assert str(found.value) == ("the configuration quantizes no layer that can be quantized; enable at least one")


def test_a_finer_step_of_the_input_is_a_smaller_loss():
    coarse, fine = (
        space(network(), LayerRequest("pool"), activation=ActivationQuant(scale, 0))[0].options[0].loss
        for scale in (2.0**-4, 2.0**-5)
    )
    # Uniform rounding noise is a twelfth of the step's square.
    assert coarse == pytest.approx(2.0**-8 / 12 / np.square(DATA.astype(np.float64)).mean(), rel=0.05)
    assert fine == pytest.approx(coarse / 4, rel=0.05)


def test_an_input_of_zeros_has_no_noise():
    quantizer = Quantizer(network())
    found = find_candidates(
        quantizer, [LayerRequest("pool")], {"pool": A}, histograms("up", data=np.zeros(9, np.float32))
    )
    assert found.space.layers[0].options[0].loss == 0


def test_zeros_cost_nothing():
    """They are what a ReLU makes most of; a bin's centre would stand for them badly where few values are not 0."""
    few = np.concatenate([np.zeros(10**6, np.float32), np.float32([1.0, 0.7])])
    (pool,) = find_candidates(
        Quantizer(network()), [LayerRequest("pool")], {"pool": ActivationQuant(1.0, -128)}, histograms("up", data=few)
    ).space.layers
    assert pool.options[0].loss == pytest.approx(0.09 / 1.49, rel=1e-3)


def test_activation_quants_follow_the_rule_of_each_layer():
    graph = network()
    rule = ActivationRule(max_percentile=0.9, min_percentile=0.8, search_range=(0.9, 1.1), search_step=0.1)
    hists = histograms("data") | histograms("relu", data=np.abs(DATA))
    requests = [LayerRequest("conv"), LayerRequest("up", activation=rule)]
    found = activation_quants(Quantizer(graph), requests, hists, with_offset=True)
    assert found == {
        "conv": ifmr(hists["data"]),
        "up": ifmr(hists["relu"], max_percentile=0.9, min_percentile=0.8, search_range=(0.9, 1.1), search_step=0.1),
    }
    assert found["up"].offset == -128
    symmetric = activation_quants(Quantizer(graph), requests, hists, with_offset=False)
    assert {quant.offset for quant in symmetric.values()} == {0}


def test_readers_of_one_value_by_one_rule_get_the_same_quantizer():
    nodes = tuple(Node(name, InnerProduct(1, bias_term=False), ("data",), (name,), (f"{name}/0",)) for name in "abc")
    params = {f"{name}/0": np.ones((1, 72), np.float32) for name in "abc"}
    graph = Graph("net", (Input("data", (1, 2, 6, 6)),), nodes, params, ("a", "b", "c"))
    other = ActivationRule(search_range=(0.3, 0.4))
    requests = [LayerRequest("a"), LayerRequest("b", (16,)), LayerRequest("c", activation=other)]
    found = activation_quants(Quantizer(graph), requests, histograms("data"), with_offset=True)
    assert found["a"] is found["b"]
    assert found["c"].scale < found["a"].scale / 2
