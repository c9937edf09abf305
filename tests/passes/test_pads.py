"""Padding that goes into convolutions, against the graph with its Pads in onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Pad, ReLU
from nuqconv.passes.pads import absorb_pads
from nuqconv.runtimes.onnxruntime import OnnxSession


def padded(pad, op, shape, more=()):
    """x -> Pad -> Convolution -> y."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (op.num_output, shape[1] // op.group, *op.kernel)).astype(np.float32)
    nodes = (
        Node("pad", pad, ("x",), ("p",)),
        Node("conv", op, ("p",), ("y",), ("w", "b")),
        *more,
    )
    outputs = tuple(name for node in nodes[1:] for name in node.outputs)
    bias = rng.integers(-3, 4, op.num_output).astype(np.float32)
    return Graph("net", (Input("x", shape),), nodes, {"w": weight, "b": bias}, outputs).verify()


def outputs(graph):
    data = np.random.default_rng(1).integers(-5, 6, graph.inputs[0].shape).astype(np.float32)
    return OnnxSession(graph, threads=1).run({"x": data})


def names(graph):
    return [node.name for node in graph.nodes]


@given(st.data())
def test_the_result_stays(data):
    small = st.integers(1, 3)
    kernel, stride, dilation = (tuple(data.draw(small) for _ in range(2)) for _ in range(3))
    pad = tuple(data.draw(st.integers(0, 2)) for _ in range(2))
    begins, ends = ((0, 0, *(data.draw(st.integers(0, 3)) for _ in range(2))) for _ in range(2))
    op = Convolution(4, kernel, stride, pad, dilation, data.draw(st.sampled_from([1, 2])))
    sizes = tuple(data.draw(st.integers(5, 9)) for _ in range(2))
    graph = padded(Pad(begins, ends), op, (1, 2, *sizes))
    found = absorb_pads(graph)
    assert found.shapes["y"] == graph.shapes["y"]
    if all((end - begin) % d == 0 for begin, end, d in zip(begins[2:], ends[2:], dilation, strict=True)):
        assert names(found) == ["conv"]
    # Whole numbers: sums are exact in any order.
    np.testing.assert_array_equal(outputs(found)["y"], outputs(graph)["y"])


def test_equal_ends_change_no_weight():
    graph = padded(Pad((0, 0, 1, 2), (0, 0, 1, 2)), Convolution(4, (3, 3), (1, 1), (1, 0), (1, 1)), (1, 2, 8, 8))
    (node,) = absorb_pads(graph).nodes
    assert node.op.pad == (2, 2)
    assert node.params == ("w", "b")


def test_padding_of_tensorflow_and_of_stride_two():
    """With an even size and stride 2, TensorFlow pads the end only: one row and column of zeros in front of the kernel."""
    graph = padded(Pad((0, 0, 0, 0), (0, 0, 1, 1)), Convolution(4, (3, 3), (2, 2), (0, 0), (1, 1)), (1, 2, 8, 8))
    (node,) = absorb_pads(graph).nodes
    assert (node.op.kernel, node.op.pad) == ((4, 4), (1, 1))
    graph = padded(Pad((0, 0, 1, 1), (0, 0, 0, 0)), Convolution(4, (3, 3), (2, 2), (0, 0), (1, 1)), (1, 2, 8, 8))
    (node,) = absorb_pads(graph).nodes
    assert (node.op.kernel, node.op.pad) == ((3, 3), (1, 1))


@pytest.mark.parametrize(
    ("pad", "more"),
    [
        (Pad((0, 0, 1, 1), (0, 0, 1, 1), "edge"), ()),
        (Pad((0, 0, 1, 1), (0, 0, 1, 1), value=1.0), ()),
        (Pad((0, 1, 1, 1), (0, 1, 1, 1)), ()),
        (Pad((0, 0, -1, 1), (0, 0, 1, 1)), ()),
        (Pad((0, 0, 1, 1), (0, 0, 1, 1)), (Node("other", ReLU(), ("p",), ("z",)),)),
    ],
    ids=["edge", "value", "channels", "cut", "two readers"],
)
def test_what_stays_apart(pad, more):
    channels = 2 + pad.begins[1] + pad.ends[1]
    op = Convolution(4, (3, 3), (1, 1), (0, 0), (1, 1), channels // 2 if channels == 4 else 1)
    weight = np.ones((4, channels // op.group, 3, 3), np.float32)
    nodes = (Node("pad", pad, ("x",), ("p",)), Node("conv", op, ("p",), ("y",), ("w", "b")), *more)
    params = {"w": weight, "b": np.zeros(4, np.float32)}
    graph = Graph("net", (Input("x", (1, 2, 6, 6)),), nodes, params, ("y", *(["z"] if more else []))).verify()
    assert absorb_pads(graph) is graph
