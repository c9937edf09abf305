"""Networks with channels last lose their transpositions and keep their outputs; the original file in onnxruntime is the judge."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nuqconv.frontends.onnx.build import graph_of
from nuqconv.ir.ops import Bias, Concat, Permute, Reduce, Scale
from nuqconv.runtimes.onnxruntime import OnnxSession

RNG = np.random.default_rng(4)
FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


class Export:
    """Writes a model as an exporter from a framework with channels last does."""

    def __init__(self, shape=(1, 10, 12, 3)):
        self.nodes, self.tensors, self.count = [], {}, 0
        self.shape = shape

    def add(self, kind, *inputs, **attributes):
        self.count += 1
        name = f"{kind}_{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, array):
        name = f"constant_{len(self.tensors)}"
        self.tensors[name] = np.asarray(array)
        return name

    def conv(self, value, channels, filters, size=3):
        turned = self.add("Transpose", value, perm=FIRST)
        weight = self.constant(floats(filters, channels, size, size))
        made = self.add("Conv", turned, weight, auto_pad="SAME_UPPER")
        return self.add("Transpose", made, perm=LAST)

    def model(self, *outputs):
        graph = helper.make_graph(
            self.nodes,
            "export",
            [helper.make_tensor_value_info("data", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.tensors.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def check(model, shape=(1, 10, 12, 3)):
    """Returns the graph, after a comparison of its outputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    data = {"data": floats(*shape)}
    wanted = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, data)
    graph = graph_of(model).graph
    found = OnnxSession(graph).run(data)
    for array, name in zip(wanted, (item.name for item in model.graph.output), strict=True):
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4 * np.abs(array).max())
    return graph


def permutes(graph):
    return sum(isinstance(node.op, Permute) for node in graph.nodes)


def test_a_mobile_network():
    """Convolutions with bias and ReLU6 behind them, a residual, a pad, a concatenation, and a mean to a classifier."""
    net = Export()
    a = net.conv("data", 3, 8)
    a = net.add("Add", a, net.constant(floats(8)))
    a = net.add("Clip", a, net.constant(np.float32(0)), net.constant(np.float32(6)))
    b = net.add("Mul", net.conv(a, 8, 8), net.constant(floats(1, 1, 1, 8)))
    b = net.add("Add", a, b)
    c = net.add("Pad", b, net.constant(np.array([0, 1, 0, 0, 0, 0, 1, 0])))
    c = net.conv(c, 8, 4)
    d = net.add("Concat", c, c, axis=3)
    d = net.add("Relu", d)
    d = net.conv(d, 8, 5, 1)
    e = net.add("ReduceMean", d, net.constant(np.array([1, 2])), keepdims=0)
    graph = check(net.model(net.add("Softmax", e, axis=-1)))
    assert permutes(graph) == 1
    assert {Bias, Scale} <= {type(node.op) for node in graph.nodes}
    assert [node.op.axis for node in graph.nodes if isinstance(node.op, Concat)] == [1]
    assert [node.op.axes for node in graph.nodes if isinstance(node.op, Reduce)] == [(2, 3)]


def test_what_needs_its_layout_keeps_it():
    net = Export()
    a = net.conv("data", 3, 4)
    a = net.add("MatMul", a, net.constant(floats(4, 6)))
    graph = check(net.model(a))
    assert permutes(graph) == 2


def test_outputs_keep_their_layout():
    net = Export()
    a = net.conv("data", 3, 4)
    b = net.add("Relu", a)
    c = net.conv(b, 4, 2)
    graph = check(net.model(b, c, a))
    assert permutes(graph) <= 4


def test_a_network_with_channels_first_stays_as_it_is():
    nodes = [helper.make_node("Transpose", ["data"], ["x"], perm=[0, 2, 1, 3]), helper.make_node("Relu", ["x"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "plain",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, (1, 10, 12, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    found = check(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))
    assert [node.name for node in found.nodes] == ["Transpose:x", "Relu:y"]


STEPS = (
    "relu",
    "add",
    "mul",
    "sub",
    "concat",
    "pad",
    "slice",
    "conv",
    "softmax",
    "resize",
    "split",
    "mean",
    "residual",
)


@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7))
def test_random_networks(steps):
    net = Export((1, 6, 7, 3))
    value, shape = net.conv("data", 3, 4), [1, 6, 7, 4]
    for step in steps:
        if step == "relu":
            value = net.add("LeakyRelu", value)
        elif step in ("add", "mul", "sub"):
            lay = [(shape[3],), (1, 1, 1, 1), (shape[1], 1, 1), ()][len(value) % 4]
            value = net.add(step.capitalize(), value, net.constant(floats(*lay)))
        elif step == "concat":
            value, shape[3] = net.add("Concat", value, value, axis=3), 2 * shape[3]
        elif step == "pad":
            value = net.add("Pad", value, net.constant(np.array([0, 1, 0, 2, 0, 0, 0, 0])))
            shape[1], shape[3] = shape[1] + 1, shape[3] + 2
        elif step == "slice" and shape[2] > 3:
            bounds = [net.constant(np.array([item])) for item in (1, shape[2], 2, 1)]
            value, shape[2] = net.add("Slice", value, *bounds), shape[2] - 1
        elif step == "conv":
            value, shape[3] = net.conv(value, shape[3], 3), 3
        elif step == "softmax":
            value = net.add("Softmax", value, axis=3)
        elif step == "resize":
            scales = net.constant(np.array([1, 2, 1, 1], np.float32))
            value = net.add(
                "Resize",
                value,
                "",
                scales,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            shape[1] *= 2
        elif step == "split" and shape[3] > 1:
            net.nodes.append(
                helper.make_node(
                    "Split", [value, net.constant(np.array([1, shape[3] - 1]))], [f"{value}a", f"{value}b"], axis=3
                )
            )
            value, shape[3] = f"{value}b", shape[3] - 1
        elif step == "mean":
            value = net.add("Sub", value, net.add("ReduceMean", value, net.constant(np.array([1, 2])), keepdims=1))
        elif step == "residual":
            value = net.add("Add", value, net.add("Sigmoid", value))
    model = net.model(net.conv(value, shape[3], 2))
    graph = check(model, (1, 6, 7, 3))
    assert permutes(graph) == 2


@pytest.mark.parametrize("step", [2, -1])
def test_strided_slices(step):
    net = Export()
    a = net.conv("data", 3, 4)
    start, end = (1, 9) if step > 0 else (-1, -11)
    bounds = [net.constant(np.array([item])) for item in (start, end, 1, step)]
    graph = check(net.model(net.conv(net.add("Slice", a, *bounds), 4, 2)))
    assert permutes(graph) == 2
