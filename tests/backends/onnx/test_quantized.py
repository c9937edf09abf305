"""Quantized layers, to the bit, against integer arithmetic in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuqconv.backends.onnx import to_onnx
from nuqconv.backends.onnx.styles import FAKE_QUANT, INTEGER
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Deconvolution, Dequantize, Eltwise, InnerProduct, Pooling, Quantize, ReLU
from nuqconv.runtimes.onnxruntime import OnnxSession

from .graphs import integer_convolution, integer_deconvolution, integer_input, quantized

OFFSETS = [-128, -14, 0, 127]
BOTH = pytest.mark.parametrize("integer", [False, True], ids=["fake", "integer"])


def int8(rng, *shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


def int32(rng, *shape):
    return rng.integers(-(2**20), 2**20, shape).astype(np.int32)


def data_for(rng, shape, multiplier):
    """Numbers that reach beyond both ends of the range, ties among them."""
    halves = rng.integers(-600, 600, shape) / 2
    return (halves / multiplier).astype(np.float32)


def held(accumulator, graph):
    """What Dequantize makes of exact integers."""
    steps = graph.params["steps"].reshape(-1, *(1,) * (accumulator.ndim - 2))
    return accumulator.astype(np.float32) * steps


def check(graph, data, accumulator, *, integer):
    found = OnnxSession(graph, outputs=["acc", "out"], threads=2, integer=integer).run({"data": data})
    np.testing.assert_array_equal(found["acc"], accumulator)
    assert found["acc"].dtype == (np.int32 if integer and accumulator.dtype == np.int64 else np.float32)
    np.testing.assert_array_equal(found["out"], held(accumulator, graph))
    assert found["out"].dtype == np.float32


@BOTH
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "dilation", "group", "shape"),
    [
        ((3, 3), (1, 1), (1, 1), (1, 1), 1, (2, 8, 7, 9)),
        ((3, 3), (2, 2), (1, 1), (1, 1), 1, (2, 8, 7, 9)),
        ((1, 1), (1, 1), (0, 0), (1, 1), 1, (2, 8, 7, 9)),
        ((1, 1), (2, 1), (0, 2), (1, 1), 1, (2, 8, 7, 9)),
        ((5, 2), (3, 1), (2, 1), (1, 1), 1, (1, 8, 9, 9)),
        ((3, 3), (1, 1), (2, 2), (2, 2), 1, (2, 8, 7, 9)),
        ((3, 3), (1, 1), (1, 1), (1, 1), 2, (2, 8, 7, 9)),
        ((3, 3), (2, 2), (1, 1), (1, 1), 8, (2, 8, 7, 9)),
        ((3, 2, 2), (1, 2, 1), (1, 1, 0), (1, 1, 1), 1, (1, 4, 5, 4, 6)),
    ],
)
def test_convolution(integer, offset, kernel, stride, pad, dilation, group, shape):
    rng = np.random.default_rng(1)
    weight, bias = int8(rng, 8, shape[1] // group, *kernel), int32(rng, 8)
    graph = quantized(
        Convolution(8, kernel, stride, pad, dilation, group), shape, weight, bias, offset=offset, multiplier=4
    )
    data = data_for(rng, shape, 4)
    u = integer_input(data, 4, offset)
    accumulator = integer_convolution(u, weight, stride, pad, dilation, group)
    accumulator += bias.reshape(-1, *(1,) * len(kernel))
    check(graph, data, accumulator, integer=integer)


@BOTH
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("bias_term", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "dilation", "group"),
    [
        ((4, 4), (2, 2), (1, 1), (1, 1), 1),
        ((2, 2), (2, 2), (0, 0), (1, 1), 1),
        ((3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((3, 3), (1, 1), (0, 2), (1, 1), 1),
        ((1, 1), (3, 3), (1, 0), (1, 1), 1),
        ((2, 3), (3, 2), (2, 1), (1, 1), 1),
        ((3, 2), (2, 3), (3, 1), (1, 2), 1),
        ((4, 4), (2, 2), (1, 1), (1, 1), 2),
        ((3, 3), (2, 1), (1, 1), (2, 1), 4),
    ],
)
def test_deconvolution(integer, offset, bias_term, kernel, stride, pad, dilation, group):
    rng = np.random.default_rng(2)
    shape = (2, 4, 5, 6)
    weight, bias = int8(rng, 4, 8 // group, *kernel), int32(rng, 8) if bias_term else None
    op = Deconvolution(8, kernel, stride, pad, dilation, group, bias_term)
    graph = quantized(op, shape, weight, bias, offset=offset, multiplier=0.5)
    data = data_for(rng, shape, 0.5)
    accumulator = integer_deconvolution(integer_input(data, 0.5, offset), weight, stride, pad, dilation, group)
    if bias is not None:
        accumulator += bias.reshape(-1, 1, 1)
    check(graph, data, accumulator, integer=integer)


@BOTH
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("shape", [(3, 20), (3, 4, 3, 2), (1, 500)])
@pytest.mark.parametrize("transpose", [False, True])
def test_inner_product(integer, offset, shape, transpose):
    rng = np.random.default_rng(3)
    size = int(np.prod(shape[1:]))
    weight, bias = int8(rng, 7, size), int32(rng, 7)
    stored = np.ascontiguousarray(weight.T) if transpose else weight
    graph = quantized(InnerProduct(7, transpose=transpose), shape, stored, bias, offset=offset)
    data = data_for(rng, shape, 1)
    accumulator = integer_input(data, 1, offset).reshape(shape[0], -1) @ weight.astype(np.int64).T + bias
    check(graph, data, accumulator, integer=integer)


@BOTH
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 1), (7, 7)])
def test_average(integer, offset, kernel, stride):
    rng = np.random.default_rng(4)
    shape = (2, 5, 7, 7)
    graph = quantized(
        Pooling("AVE", (kernel, kernel), (stride, stride), round_up=False), shape, None, None, offset=offset
    )
    data = data_for(rng, shape, 1)
    u = integer_input(data, 1, offset)
    windows = np.lib.stride_tricks.sliding_window_view(u, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    average = windows.sum((-1, -2)).astype(np.float32) / np.float32(kernel * kernel)
    check(graph, data, average, integer=integer)
    for opset in (13, 19):
        found = OnnxSession(to_onnx(graph, opset=opset, style=INTEGER if integer else FAKE_QUANT)).run({"data": data})[
            "out"
        ]
        np.testing.assert_array_equal(found, held(average, graph))


@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_integers_do_not_saturate(sign):
    """Sums of 32767 and more in pairs, and totals far beyond 2**24, come out exact on integers."""
    size = 60_000
    weight = np.full((3, size), 127 * sign if sign > 0 else -128, np.int8)
    graph = quantized(InnerProduct(3), (2, size), weight, np.full(3, 12345, np.int32), offset=-128)
    data = np.full((2, size), 1000, np.float32)
    accumulator = np.full((2, 3), 255 * int(weight[0, 0]) * size + 12345)
    assert abs(accumulator).max() > 2**30
    check(graph, data, accumulator, integer=True)
    kernel = (3, 3)
    weight = np.full((16, 64, *kernel), weight[0, 0], np.int8)
    op = Convolution(16, kernel, (1, 1), (0, 0), (1, 1), bias_term=False)
    graph = quantized(op, (1, 64, 20, 20), weight, None, offset=-128)
    data = np.full((1, 64, 20, 20), 1000, np.float32)
    accumulator = np.full((1, 16, 18, 18), 255 * int(weight[0, 0, 0, 0]) * 64 * 9)
    check(graph, data, accumulator, integer=True)


@BOTH
@settings(max_examples=30, deadline=None)
@given(
    offset=st.integers(-128, 127),
    multiplier=st.floats(2**-10, 2**10, width=32),
    seed=st.integers(0, 2**16),
)
def test_quantize_rounds_as_decided(integer, offset, multiplier, seed):
    rng = np.random.default_rng(seed)
    data = (rng.standard_normal((1, 4000)) * 200 / multiplier).astype(np.float32)
    graph = Graph(
        "q", (Input("data", (1, 4000)),), (Node("q", Quantize(multiplier, offset), ("data",), ("q",)),), {}, ("q",)
    )
    found = OnnxSession(graph, integer=integer).run({"data": data})["q"]
    u = integer_input(data, multiplier, offset)
    np.testing.assert_array_equal(found, u + offset + 128 if integer else u)
    assert found.dtype == (np.uint8 if integer else np.float32)


@BOTH
def test_layers_around_a_quantized_one_are_not_multiplied_into_it(integer):
    """A following Scale, Power or BatchNorm-like product must not reach the integer weights."""
    rng = np.random.default_rng(6)
    shape = (2, 16, 12, 12)
    weight, bias = int8(rng, 32, 16, 3, 3), int32(rng, 32)
    op = Convolution(32, (3, 3), (1, 1), (1, 1), (1, 1))
    graph = quantized(op, shape, weight, bias, offset=3, multiplier=1)
    data = data_for(rng, shape, 1)
    accumulator = integer_convolution(integer_input(data, 1, 3), weight, op.stride, op.pad, op.dilation, 1)
    accumulator += bias.reshape(-1, 1, 1)
    assert abs(accumulator).max() < 2**24
    # Only the end is an output here, so that nothing keeps onnxruntime from merging.
    found = OnnxSession(graph, integer=integer).run({"data": data})["out"]
    np.testing.assert_array_equal(found, held(accumulator, graph))


def test_what_integers_cannot_do_is_listed():
    rng = np.random.default_rng(7)
    nodes = (
        Node("quant", Quantize(1.0, 0), ("data",), ("q",)),
        Node("relu_on_q", ReLU(), ("q",), ("r",)),
        Node("floats", InnerProduct(4), ("q",), ("f",), ("wf", "bf")),
        Node("good", InnerProduct(4), ("q",), ("g",), ("w", "b")),
        Node("early", ReLU(), ("g",), ("e",)),
        Node("lost", Dequantize(), ("e",), ("l",), ("s",)),
        Node("merge", Eltwise(), ("f", "l"), ("m",)),
    )
    params = {
        "wf": np.ones((4, 4), np.float32),
        "bf": np.ones(4, np.float32),
        "w": int8(rng, 4, 4),
        "b": int32(rng, 4),
        "s": np.ones(4, np.float32),
    }
    graph = Graph("bad", (Input("data", (2, 4)),), nodes, params, ("m", "r")).verify()
    with pytest.raises(UnsupportedError) as caught:
        to_onnx(graph, style=INTEGER)
    text = "\n".join(caught.value.problems)
    for name in ("relu_on_q", "floats", "early", "lost", "merge"):
        assert f"'{name}'" in text
    assert len(caught.value.problems) == 6
    to_onnx(graph)
