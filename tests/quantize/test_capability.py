"""Which layers can be quantized, and how far."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import (
    Convolution,
    Deconvolution,
    Dequantize,
    Eltwise,
    InnerProduct,
    Opaque,
    Pooling,
    Quantize,
    ReLU,
    Scale,
)
from nuqconv.ir.traits import QuantizedForm
from nuqconv.quantize.capability import Capability, capabilities, quantized_parts


def single(op, *params: str) -> Graph:
    arrays = {name: np.zeros((1, 1), np.float32) for name in params}
    return Graph("net", (Input("x", (1, 4, 9, 9)),), (Node("layer", op, ("x",), ("y",), params),), arrays, ("y",))


def windowed(kind, rank=2, group=1, dilation=None):
    ones = (1,) * rank
    return kind(4, (3,) * rank, ones, (0,) * rank, dilation or ones, group, bias_term=False)


CAN_NUQ = (True, True, "")
NO_FILTER = (False, False, "the filter is not 4-D")
DECONVOLUTION = "a Deconvolution needs dilation 1 and group 1"
PRODUCT = "an InnerProduct needs axis 1 and transpose: false"
POOLING = "only AVE Pooling that is not global can be quantized"


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (windowed(Convolution), CAN_NUQ),
        (windowed(Convolution, group=2), (True, False, "NUQ needs group 1")),
        (windowed(Convolution, dilation=(1, 2)), (True, False, "NUQ needs dilation 1")),
        (windowed(Convolution, group=4, dilation=(2, 2)), (True, False, "NUQ needs dilation 1")),
        (windowed(Convolution, rank=3), NO_FILTER),
        (windowed(Convolution, rank=1), NO_FILTER),
        (windowed(Deconvolution), (True, False, "a Deconvolution has no NUQ")),
        (windowed(Deconvolution, group=2), (False, False, DECONVOLUTION)),
        (windowed(Deconvolution, dilation=(2, 1)), (False, False, DECONVOLUTION)),
        (windowed(Deconvolution, rank=3), NO_FILTER),
        (InnerProduct(4), CAN_NUQ),
        (InnerProduct(4, bias_term=False), CAN_NUQ),
        (InnerProduct(4, transpose=True), (False, False, PRODUCT)),
        (InnerProduct(4, axis=2), (False, False, PRODUCT)),
        (InnerProduct(4, axis=-1), (False, False, PRODUCT)),
        (InnerProduct(4, axis=2, by_rows=True), CAN_NUQ),
        (InnerProduct(4, axis=2, transpose=True, by_rows=True), (False, False, PRODUCT)),
    ],
)
def test_layers_with_weights(op, expected):
    int8, nuq, reason = expected
    assert capabilities(single(op, "w")) == (Capability("layer", op.kind, int8, nuq, weighted=True, reason=reason),)


@pytest.mark.parametrize(
    ("op", "int8", "reason"),
    [
        (Pooling("AVE", (2, 2)), True, "a Pooling has no weights"),
        (Pooling("AVE", global_pooling=True), False, POOLING),
        (Pooling("MAX", (2, 2)), False, POOLING),
    ],
)
def test_pooling(op, int8, reason):
    assert capabilities(single(op)) == (Capability("layer", "Pooling", int8, nuq=False, weighted=False, reason=reason),)


@pytest.mark.parametrize("op", [ReLU(), Scale(), Eltwise(), Quantize(1.0, 0), Opaque("Convolution", "odd")])
def test_other_layers_are_not_listed(op):
    assert capabilities(single(op)) == ()


@pytest.mark.parametrize(
    ("first", "second"), [(("w", "b1"), ("w", "b2")), (("w1", "b"), ("w2", "b")), (("w", "b"), ("w", "b"))]
)
def test_shared_parameters_keep_a_layer_in_float(first, second):
    nodes = (
        Node("one", InnerProduct(4), ("x",), ("y",), first),
        Node("two", InnerProduct(4), ("y",), ("z",), second),
        Node("own", InnerProduct(4), ("z",), ("end",), ("w3", "b3")),
    )
    graph = Graph("net", (Input("x", (1, 4)),), nodes, {}, ("end",))
    found = capabilities(graph)
    assert [item.name for item in found] == ["one", "two", "own"]
    assert [(item.int8, item.nuq, item.reason) for item in found] == [
        (False, False, "its weights are shared with another layer"),
        (False, False, "its weights are shared with another layer"),
        CAN_NUQ,
    ]


def test_a_float_graph_has_no_quantized_parts():
    assert quantized_parts(single(InnerProduct(4), "w")) == []


@pytest.mark.parametrize(
    "op",
    [Quantize(1.0, 0), Dequantize(), Opaque("AntiQuant", "not known", (QuantizedForm(),))],
)
def test_layers_of_a_quantized_graph_are_found(op):
    assert quantized_parts(single(op)) == [f"layer 'layer' ({op.kind})"]


def test_other_unknown_layers_are_no_quantized_parts():
    assert quantized_parts(single(Opaque("Quantum", "not known"))) == []


def test_integer_weights_are_found():
    graph = single(InnerProduct(4), "w", "b")
    integers = {"w": np.zeros((4, 324), np.int8), "b": np.zeros(4, np.int32)}
    changed = Graph(graph.name, graph.inputs, graph.nodes, integers, graph.outputs)
    assert quantized_parts(changed) == ["layer 'layer' (InnerProduct): has int32 and int8 weights"]
    unsigned = {"w": np.zeros((4, 324), np.float32), "b": np.zeros(4, np.uint64)}
    changed = Graph(graph.name, graph.inputs, graph.nodes, unsigned, graph.outputs)
    assert quantized_parts(changed) == ["layer 'layer' (InnerProduct): has uint64 weights"]


def test_pooling_behind_an_unknown_layer():
    """The number of its channels, which DeQuant needs, is not known; weights would tell it."""
    nodes = (
        Node("odd", Opaque("Odd", "not known"), ("x",), ("o",)),
        Node("pool", Pooling("AVE", (2, 2)), ("o",), ("p",)),
        Node("fc", InnerProduct(4, bias_term=False), ("p",), ("y",), ("w",)),
    )
    graph = Graph("net", (Input("x", (1, 4)),), nodes, {"w": np.zeros((4, 4), np.float32)}, ("y",))
    pool, fc = capabilities(graph)
    assert (pool.int8, pool.reason) == (False, "the shape of its output is not known")
    assert (fc.int8, fc.nuq, fc.reason) == CAN_NUQ
