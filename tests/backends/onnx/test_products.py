"""Fast products give, to the bit, what integer arithmetic in numpy and onnxruntime's float convolution give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.backends.onnx import styles
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.backends.onnx.lowering.parts.products import product_layers
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Dequantize, InnerProduct, Op, Quantize, ReLU
from nuqconv.runtimes.onnxruntime import OnnxSession, exchange
from nuqconv.runtimes.onnxruntime.exchange import ExchangeSession, exchangeable
from nuqconv.runtimes.onnxruntime.fast import fast_products
from tests.oracle import loops

RNG = np.random.default_rng(5)
KINDS = ("signed", "unsigned")


def quantized(op: Op, shape, weight, bias, offset=-3, multiplier=12.5) -> Graph:
    params = {"w": weight, "steps": np.linspace(0.01, 0.02, op.num_output, dtype=np.float32)}
    names = ("w",) if bias is None else ("w", "b")
    if bias is not None:
        params["b"] = bias
    nodes = (
        Node("q", Quantize(multiplier, offset), ("data",), ("u",)),
        Node("layer", op, ("u",), ("sums",), names),
        Node("dq", Dequantize(), ("sums",), ("real",), ("steps",)),
        Node("relu", ReLU(), ("real",), ("out",)),
    )
    return Graph("net", (Input("data", shape),), nodes, params, ("out",)).verify()


def integers(*shape, low=-128, high=127):
    return RNG.integers(low, high, shape, endpoint=True).astype(np.int8)


def run_fast(graph, data, kind):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "fast_products", lambda: kind)
        session = ExchangeSession(graph)
    return session.run_with({"data": data}, session.tensors(graph.params))


def op_types(graph, kind="signed"):
    return [node.op_type for node in lower_graph(graph, style=styles.fast(kind)).skeleton.graph.node]


@given(
    channels=st.integers(16, 20),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pad=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    offset=st.sampled_from((-128, -3, 0, 127)),
    biased=st.booleans(),
    stored=st.sampled_from((np.int8, np.float32)),
    kind=st.sampled_from(KINDS),
)
def test_convolutions(channels, kernel, stride, pad, dilation, size, offset, biased, stored, kind):
    op = Convolution(6, kernel, stride, pad, dilation, bias_term=biased)
    weight, bias = integers(6, channels, *kernel), RNG.integers(-(2**20), 2**20, 6).astype(np.int32)
    bias = bias.astype(np.float32 if stored == np.float32 else np.int32) if biased else None
    graph = quantized(op, (2, channels, *size), weight.astype(stored), bias, offset)
    assert "MatMulIntegerToFloat" in op_types(graph, kind)
    data = (RNG.standard_normal((2, channels, *size)) * 8).astype(np.float32)
    found = run_fast(graph, data, kind)["out"]
    assert np.array_equal(found, OnnxSession(graph).run({"data": data})["out"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 1), (2, 1)])
def test_convolution_is_integer_arithmetic(kind, stride, pad):
    weight, bias = integers(5, 16, 3, 3), RNG.integers(-9000, 9000, 5).astype(np.int32)
    op = Convolution(5, (3, 3), (stride,) * 2, (pad,) * 2, (1, 1))
    graph = quantized(op, (2, 16, 7, 9), weight, bias)
    data = (RNG.standard_normal((2, 16, 7, 9)) * 8).astype(np.float32)
    u = np.clip(np.rint(data * np.float32(12.5)) - 3, -128, 127) + 3
    sums = loops.conv2d(u.astype(np.int64), weight, stride, pad) + bias.astype(np.int64).reshape(1, -1, 1, 1)
    assert np.abs(sums).max() < 2**24
    wanted = np.maximum(sums.astype(np.float32) * graph.params["steps"].reshape(1, -1, 1, 1), 0)
    assert np.array_equal(run_fast(graph, data, kind)["out"], wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", [(3, 40), (3, 10, 2, 2)])
def test_inner_products(kind, transpose, shape):
    weight, bias = integers(7, 40), RNG.integers(-9000, 9000, 7).astype(np.int32)
    op = InnerProduct(7, transpose=transpose)
    graph = quantized(op, shape, weight.T if transpose else weight, bias)
    data = (RNG.standard_normal(shape) * 8).astype(np.float32)
    u = (np.clip(np.rint(data * np.float32(12.5)) - 3, -128, 127) + 3).reshape(3, 40).astype(np.int64)
    sums = u @ weight.astype(np.int64).T + bias
    assert np.array_equal(
        run_fast(graph, data, kind)["out"], np.maximum(sums.astype(np.float32) * graph.params["steps"], 0)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_sums_are_not_cut_off(kind):
    weight = np.full((4, 64, 1, 1), 127, np.int8)
    weight[1::2] = -128
    graph = quantized(
        Convolution(4, (1, 1), (1, 1), (0, 0), (1, 1), bias_term=False), (1, 64, 8, 8), weight, None, -128
    )
    data = np.full((1, 64, 8, 8), 1e30, np.float32)
    if kind == "signed" and fast_products() != "signed":
        pytest.skip("this machine cuts sums of uint8 x int8 off, and fast_products knows it")
    assert np.array_equal(run_fast(graph, data, kind)["out"], OnnxSession(graph).run({"data": data})["out"])


@pytest.mark.parametrize(
    ("op", "weight", "shape"),
    [
        (Convolution(4, (1, 1), (1, 1), (0, 0), (1, 1), bias_term=False), np.full((4, 3, 1, 1), 5.0), (1, 3, 4, 4)),
        (
            Convolution(32, (1, 1), (1, 1), (0, 0), (1, 1), group=2, bias_term=False),
            np.full((32, 16, 1, 1), 5.0),
            (1, 32, 4, 4),
        ),
        (Convolution(4, (1, 1), (1, 1), (0, 0), (1, 1), bias_term=False), np.full((4, 16, 1, 1), 5.5), (1, 16, 4, 4)),
        (Convolution(4, (1, 1), (1, 1), (0, 0), (1, 1), bias_term=False), np.full((4, 16, 1, 1), 128.0), (1, 16, 4, 4)),
        (InnerProduct(4, bias_term=False), np.full((4, 70_000), 1.0), (1, 70_000)),
    ],
    ids=["few channels", "groups", "no integers", "too large", "sums beyond int32"],
)
def test_what_stays_a_float_convolution(op, weight, shape):
    graph = quantized(op, shape, weight.astype(np.float32), None)
    assert not product_layers(graph)
    assert "QuantizeLinear" not in op_types(graph)
    data = RNG.standard_normal(shape).astype(np.float32)
    assert np.array_equal(run_fast(graph, data, "signed")["out"], OnnxSession(graph).run({"data": data})["out"])


def test_a_quantized_value_that_others_read_is_there_as_floats_too():
    graph = quantized(
        Convolution(4, (1, 1), (1, 1), (0, 0), (1, 1), bias_term=False), (1, 16, 4, 4), integers(4, 16, 1, 1), None
    )
    graph = replace(graph, outputs=("out", "u"))
    data = (RNG.standard_normal((1, 16, 4, 4)) * 8).astype(np.float32)
    found, wanted = run_fast(graph, data, "signed"), OnnxSession(graph).run({"data": data})
    assert list(found) == list(wanted) == ["out", "u"]
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_exchanged_numbers():
    op = Convolution(4, (3, 3), (1, 1), (1, 1), (1, 1))
    graph = quantized(op, (2, 16, 5, 5), integers(4, 16, 3, 3), np.arange(4, dtype=np.int32))
    assert exchangeable(graph) == {"w", "b", "steps"}
    session = ExchangeSession(graph)
    assert set(session.inputs) == {"data"}
    data = {"data": (RNG.standard_normal((2, 16, 5, 5)) * 8).astype(np.float32)}
    first = session.tensors(graph.params)
    before = session.run_with(data, first)["out"]
    for name, other in (
        ("w", integers(4, 16, 3, 3)),
        ("b", np.arange(4, 8, dtype=np.int32)),
        ("steps", np.full(4, 0.5)),
    ):
        params = {**graph.params, name: other.astype(graph.params[name].dtype)}
        tensors = session.tensors(params, {name}, first)
        found = session.run_with(data, tensors)["out"]
        assert not np.array_equal(found, before)
        assert np.array_equal(found, OnnxSession(replace(graph, params=params)).run(data)["out"])
    assert np.array_equal(session.run_with(data, first)["out"], before)


def test_written_models_keep_to_the_standard():
    graph = quantized(
        Convolution(4, (1, 1), (1, 1), (0, 0), (1, 1), bias_term=False), (1, 16, 4, 4), integers(4, 16, 1, 1), None
    )
    model = lower_graph(graph).skeleton
    assert {item.domain for item in model.opset_import} == {""}
