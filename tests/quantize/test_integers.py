"""A layer's integers as bytes, and plans that refer to them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nuqconv.errors import FormatError, QuantizationError
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.integers import QuantizedWeights
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from tests.quantize.test_apply import BOOK, NUQ, network

integers = st.builds(
    QuantizedWeights,
    hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)),
    hnp.arrays(np.float32, st.integers(1, 6), elements=st.floats(2.0**-126, 2.0**60, width=32)),
    st.none() | hnp.arrays(np.int32, st.integers(0, 6)),
    st.none() | hnp.arrays(np.float32, st.integers(0, 6), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
)


@given(integers)
def test_bytes_give_the_same_integers_back(found):
    data = found.to_bytes()
    again = QuantizedWeights.from_bytes(data)
    np.testing.assert_array_equal(again.weights, found.weights)
    np.testing.assert_array_equal(again.scales, found.scales)
    assert (again.weights.dtype, again.scales.dtype) == (np.int8, np.float32)
    for name in ("bias", "float_bias"):
        one, two = getattr(found, name), getattr(again, name)
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_array_equal(two, one)
            assert two.dtype == one.dtype
    assert again.to_bytes() == data
    assert found.digest() == hashlib.sha256(data).hexdigest()


@given(integers, st.data())
def test_damaged_bytes_are_refused(found, data):
    whole = found.to_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(FormatError, match="damaged"):
        QuantizedWeights.from_bytes(whole[:cut])
    with pytest.raises(FormatError, match="damaged"):
        QuantizedWeights.from_bytes(whole + b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]\n",
        b"[" * 4000 + b"\n",
        b'{"weights": 3, "scales": 1, "bias": null}\n',
        b'{"weights": [-1], "scales": 1, "bias": null}\n',
        b'{"weights": [true], "scales": 1, "bias": null}\n12345',
        b'{"weights": [1], "scales": 1.0, "bias": null}\n12345',
        b'{"weights": [1], "scales": 1, "bias": null, "other": null}\n12345',
        b'{"weights": [1], "scales": 1, "bias": null, "float_bias": 1}\n12345',
        b'{"weights": [1], "scales": 1, "bias": null, "float_bias": -1}\n1',
        b'{"weights": [99999999999999999999, 99999999999], "scales": 1, "bias": null}\n12345',
    ],
)
def test_headers_that_are_none(data):
    with pytest.raises(FormatError, match="damaged"):
        QuantizedWeights.from_bytes(data)


def chosen(quantizer: Quantizer) -> QuantizedWeights:
    own = quantizer.integers("conv", NUQ.activation)
    rng = np.random.default_rng(3)
    return replace(own, weights=rng.choice(np.array(BOOK, np.int8), own.weights.shape), scales=own.scales * 2)


def test_a_plan_takes_stored_integers():
    quantizer = Quantizer(network())
    found = chosen(quantizer)
    layer = replace(NUQ, weights=quantizer.store(found))
    graph = quantizer.apply(Plan.of({"conv": layer}))
    np.testing.assert_array_equal(graph.params["conv/0"], found.weights)
    np.testing.assert_array_equal(graph.params["conv/1"], found.bias)
    np.testing.assert_array_equal(graph.params["conv_dequant_layer/0"], found.scales * np.float32(NUQ.activation.scale))
    assert quantizer.layer_integers("conv", layer) is quantizer.stored(found.digest())
    assert Plan.from_json(Plan.of({"conv": layer}).to_json())["conv"] == layer


def test_equal_layers_get_the_same_arrays():
    quantizer = Quantizer(network())
    first, second = (
        quantizer.apply(Plan.of({"conv": NUQ, "fc": other})) for other in (NUQ, LayerPlan(Precision.FLOAT))
    )
    for name in ("conv/0", "conv/1", "conv_dequant_layer/0"):
        assert first.params[name] is second.params[name]
        assert not first.params[name].flags.writeable


def test_integers_that_nobody_stored():
    quantizer = Quantizer(network())
    with pytest.raises(QuantizationError, match="are not here"):
        quantizer.apply(Plan.of({"conv": replace(NUQ, weights="0" * 64)}))


def test_integers_of_another_layer():
    quantizer = Quantizer(network())
    found = chosen(quantizer)
    wrong = replace(found, weights=np.full((2, 3, 1, 1), 7, np.int8), scales=found.scales[:1], bias=None)
    layer = replace(NUQ, weights=quantizer.store(wrong))
    with pytest.raises(QuantizationError, match="not of this layer") as caught:
        quantizer.apply(Plan.of({"conv": layer}))
    assert len(caught.value.problems) == 4
    assert "[7]" in caught.value.problems[3]


def test_a_float_bias_goes_with_a_float_input():
    quantizer = Quantizer(network())
    own = quantizer.integers("conv", None)
    found = replace(own, float_bias=np.arange(6, dtype=np.float32))
    alone = replace(NUQ, activation=None, precision=Precision.INT8, codebook=None, num_steps=None)
    graph = quantizer.apply(Plan.of({"conv": replace(alone, weights=quantizer.store(found))}))
    np.testing.assert_array_equal(graph.params["conv/1"], np.arange(6))
    np.testing.assert_array_equal(graph.params["conv/0"], found.as_floats(0))
    np.testing.assert_array_equal(graph.stepped["conv/0"].floats, graph.params["conv/0"])
    with_input = replace(quantizer.integers("conv", NUQ.activation), float_bias=found.float_bias)
    for layer, wrong in (
        (replace(alone, activation=NUQ.activation), with_input),
        (alone, replace(found, float_bias=np.zeros(5, np.float32))),
        (alone, replace(found, float_bias=np.full(6, np.nan, np.float32))),
    ):
        with pytest.raises(QuantizationError, match="not of this layer") as caught:
            quantizer.apply(Plan.of({"conv": replace(layer, weights=quantizer.store(wrong))}))
        assert "float bias values, expected" in caught.value.problems[0]
        assert len(caught.value.problems) == 1
    side = replace(quantizer.integers("side", None), float_bias=found.float_bias)
    with pytest.raises(QuantizationError, match="not of this layer"):
        quantizer.apply(Plan.of({"side": replace(alone, weights=quantizer.store(side))}))


@pytest.mark.parametrize("weights", ["", "0" * 63, "G" * 64, 3])
def test_names_that_are_no_digest(weights):
    with pytest.raises(QuantizationError, match="SHA-256"):
        replace(NUQ, weights=weights)


def test_a_float_layer_has_no_integers():
    with pytest.raises(QuantizationError, match="no integers"):
        LayerPlan(Precision.FLOAT, weights="0" * 64)


@given(integers, st.data())
def test_as_floats_by_a_loop_over_channels(found, data):
    axis = data.draw(st.integers(0, found.weights.ndim - 1))
    count = found.weights.shape[axis]
    for scales in (found.scales[:1], np.resize(found.scales, count)):
        floats = replace(found, scales=scales).as_floats(axis)
        assert floats.dtype == np.float32
        for channel in range(count):
            expected = np.take(found.weights, channel, axis).astype(np.float32) * scales[min(channel, len(scales) - 1)]
            np.testing.assert_array_equal(np.take(floats, channel, axis), expected)
