"""Quantized ONNX models are quantized graphs; the file itself in onnxruntime is the judge."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import nuqconv
from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.ir.ops import Dequantize, Quantize
from nuqconv.runtimes.onnxruntime import OnnxSession

RNG = np.random.default_rng(8)
STEP, BETWEEN = np.float32(0.03), np.float32(0.011)


def qdq_model(kind, *, channel_wise=True, point=120, symmetric=True, dtype=np.uint8):
    """Conv, Relu, Gemm with QuantizeLinear and DequantizeLinear around them, or QLinearConv."""
    zero = np.array(point if dtype == np.uint8 else point - 128, dtype)
    steps = np.abs(RNG.standard_normal(6 if channel_wise else 1)).astype(np.float32) / 100 + np.float32(0.001)
    tensors = {
        "s": np.array(STEP),
        "z": zero,
        "w": RNG.integers(-127, 127, (6, 3, 3, 3)).astype(np.int8),
        "ws": steps if channel_wise else steps.reshape(()),
        "wz": np.zeros(steps.shape if channel_wise else (), np.int8) + np.int8(0 if symmetric else 3),
        "b": RNG.integers(-500, 500, 6).astype(np.int32),
        "bs": (steps * STEP) if channel_wise else (steps * STEP).reshape(()),
        "s2": np.array(BETWEEN),
        "z2": np.array(10, np.uint8),
        "w3": RNG.integers(-127, 127, (5, 6)).astype(np.int8),
        "ws3": np.array(0.004, np.float32),
        "b3": RNG.standard_normal(5).astype(np.float32),
    }
    node = helper.make_node
    start = [node("QuantizeLinear", ["x", "s", "z"], ["q"], "q")]
    if kind == "qdq":
        nodes = [
            *start,
            node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
            node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], "wd", **({"axis": 0} if channel_wise else {})),
            node("DequantizeLinear", ["b", "bs"], ["bd"], "bd", **({"axis": 0} if channel_wise else {})),
            node("Conv", ["d", "wd", "bd"], ["c"], "conv", pads=[1, 1, 1, 1]),
        ]
    else:
        tensors["big"], tensors["bigz"] = np.array(0.4, np.float32), np.array(128, np.uint8)
        operands = ["q", "s", "z", "w", "ws", "wz", "big", "bigz", "b"]
        nodes = [
            *start,
            node("QLinearConv", operands, ["qc"], "conv", pads=[1, 1, 1, 1]),
            node("DequantizeLinear", ["qc", "big", "bigz"], ["c"], "dc"),
        ]
    nodes += [
        node("Relu", ["c"], ["r"], "relu"),
        node("GlobalAveragePool", ["r"], ["p"], "gap"),
        node("Flatten", ["p"], ["f"], "flat"),
        node("QuantizeLinear", ["f", "s2", "z2"], ["q2"], "q2"),
        node("DequantizeLinear", ["q2", "s2", "z2"], ["d2"], "d2"),
        node("DequantizeLinear", ["w3", "ws3"], ["w3d"], "w3d"),
        node("Gemm", ["d2", "w3d", "b3"], ["y"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def outputs(model, data):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": data})[0]


def kinds(graph):
    return [type(node.op) for node in graph.nodes].count(Quantize), [type(node.op) for node in graph.nodes].count(
        Dequantize
    )


# onnxruntime has no QLinearConv of int8 with an output in uint8.
@pytest.mark.parametrize(("kind", "dtype"), [("qdq", np.uint8), ("qdq", np.int8), ("qlinear", np.uint8)])
@pytest.mark.parametrize("channel_wise", [True, False])
@pytest.mark.parametrize("point", [0, 120, 255])
def test_layers_are_quantized(kind, channel_wise, point, dtype):
    model = qdq_model(kind, channel_wise=channel_wise, point=point, dtype=dtype)
    graph = graph_of(model).graph
    assert kinds(graph) == (2, 2)
    assert {graph.params[name].dtype for node in graph.nodes for name in node.params} >= {
        np.dtype(np.int8),
        np.dtype(np.int32),
    }
    data = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    wanted = outputs(model, data)
    np.testing.assert_allclose(OnnxSession(graph).run({"x": data})["y"], wanted, atol=0.02 * np.abs(wanted).max())


def test_weights_with_a_zero_point_stay_real_numbers():
    model = qdq_model("qdq", symmetric=False)
    graph = graph_of(model).graph
    assert kinds(graph) == (1, 1)
    data = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(OnnxSession(graph).run({"x": data})["y"], outputs(model, data), atol=0.02)


@pytest.mark.caffe
def test_a_quantized_model_becomes_a_deploy_model(tmp_path):
    """Its int8 numbers are those of the file, and it is refused as the float model of a search."""
    model = qdq_model("qdq")
    path = tmp_path / "q.onnx"
    path.write_bytes(model.SerializeToString())
    nuqconv.convert(path, tmp_path / "q.prototxt")
    deploy = load_graph(tmp_path / "q.prototxt", tmp_path / "q.caffemodel")
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    integers = [array for array in deploy.params.values() if array.dtype == np.int8]
    assert any(np.array_equal(array, stored["w"]) for array in integers)
    data = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)
    wanted = outputs(model, data)
    found = OnnxSession(deploy).run({"x": data})["y"]
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())
    config = tmp_path / "config.json"
    with pytest.raises(UnsupportedError, match="quantized already"):
        nuqconv.create_quant_config(config, path, None)


def dynamic_model(kind):
    """What quantizes by the range of the run's own numbers, as exporters of dynamic quantization write it."""
    node = helper.make_node
    shape = {"conv": (1, 3, 5, 6), "pair": (2, 3, 5, 6), "product": (2, 4, 6), "signed": (4, 6)}[kind]
    tensors = {"ws": np.float32(0.01), "wz": np.array(128, np.uint8)}
    nodes = [node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "dynamic")]
    if kind == "pair":
        nodes.append(node("DequantizeLinear", ["q", "s", "z"], ["y"], "real"))
    else:
        if kind == "conv":
            tensors["w"] = RNG.integers(0, 255, (4, 3, 3, 3)).astype(np.uint8)
            nodes.append(node("ConvInteger", ["q", "w", "z", "wz"], ["i"], "conv", pads=[1, 1, 1, 1]))
        else:
            signed = kind == "signed"
            tensors["w"] = (
                RNG.integers(-127, 127, (6, 5)).astype(np.int8)
                if signed
                else RNG.integers(0, 255, (6, 5)).astype(np.uint8)
            )
            tensors["wz"] = np.array(0, np.int8) if signed else tensors["wz"]
            nodes.append(node("MatMulInteger", ["q", "w", "z", "wz"], ["i"], "product"))
        nodes += [
            node("Cast", ["i"], ["f"], "float", to=TensorProto.FLOAT),
            node("Mul", ["s", "ws"], ["steps"], "steps"),
            node("Mul", ["f", "steps"], ["y"], "y"),
        ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), shape


@pytest.mark.caffe
@pytest.mark.parametrize("kind", ["conv", "pair", "product", "signed"])
def test_step_sizes_that_are_computed(tmp_path, kind, caffe_process):
    model, shape = dynamic_model(kind)
    data = (RNG.standard_normal(shape) * 3 + 1).astype(np.float32)
    wanted = outputs(model, data)
    graph = graph_of(model).graph
    np.testing.assert_array_equal(OnnxSession(graph).run({"x": data})["y"], wanted)
    nuqconv.save(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    with nuqconv.runtimes.caffe.Net(tmp_path / "a.prototxt", tmp_path / "a.caffemodel", process=caffe_process) as net:
        np.testing.assert_array_equal(net.run({"x": data})["y"], wanted)


def test_several_computed_step_sizes_are_refused():
    model, _ = dynamic_model("pair")
    del model.graph.node[0]
    for name, kind, size in (
        ("q", TensorProto.UINT8, [2, 3, 5, 6]),
        ("s", TensorProto.FLOAT, [3]),
        ("z", TensorProto.UINT8, [3]),
    ):
        model.graph.input.append(helper.make_tensor_value_info(name, kind, size))
    del model.graph.input[0]
    with pytest.raises(UnsupportedError, match="several step sizes"):
        OnnxSession(graph_of(model).graph)
