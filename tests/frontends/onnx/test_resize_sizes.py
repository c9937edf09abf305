"""Sizes and factors of Resize as onnxruntime has them: one factor for all axes, and sizes by factors in float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import nuqconv
from nuqconv.runtimes.onnxruntime import OnnxSession


def made(path, shape, *, scales=None, sizes=None, **attributes):
    """Writes a model of one Resize, and returns an input and what onnxruntime makes of it."""
    inputs, stored = ["x", "", ""], [numpy_helper.from_array(np.float32(scales or []), "s")]
    if scales:
        inputs[2] = "s"
    else:
        inputs.append("z")
        stored = [numpy_helper.from_array(np.int64(sizes), "z")]
    node = helper.make_node("Resize", inputs, ["y"], **attributes)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        [node], "net", [given], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))], stored
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return x, onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def check(tmp_path, caffe_process, x, expected):
    graph = nuqconv.load(tmp_path / "a.onnx")
    assert graph.shapes[graph.outputs[0]] == expected.shape
    np.testing.assert_allclose(OnnxSession(graph).run({"x": x})["y"], expected, atol=2e-5)
    nuqconv.save(graph, tmp_path / "b.onnx")
    nuqconv.save(graph, tmp_path / "b.prototxt", tmp_path / "b.caffemodel")
    np.testing.assert_allclose(OnnxSession(tmp_path / "b.onnx").run({"x": x})["y"], expected, atol=2e-5)
    again = nuqconv.load(tmp_path / "b.onnx")
    np.testing.assert_allclose(OnnxSession(again).run({"x": x})["y"], expected, atol=2e-5)
    with nuqconv.runtimes.caffe.Net(tmp_path / "b.prototxt", tmp_path / "b.caffemodel", process=caffe_process) as net:
        np.testing.assert_allclose(net.forward(x=x)["y"], expected, atol=2e-5)


@pytest.mark.caffe
@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    ("size", "wanted"), [((5, 7), (8, 9)), ((5, 7), (3, 6)), ((6, 9), (13, 14)), ((9, 10), (6, 7))]
)
def test_the_aspect_ratio_is_kept(tmp_path, caffe_process, policy, mode, size, wanted):
    x, expected = made(
        tmp_path / "a.onnx", [1, 2, *size], sizes=wanted, axes=[2, 3], mode=mode, keep_aspect_ratio_policy=policy
    )
    check(tmp_path, caffe_process, x, expected)


@pytest.mark.caffe
@pytest.mark.parametrize(("size", "wanted"), [(30, 50), (49, 50), (41, 29), (47, 61), (22, 90)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_sizes_by_factors(tmp_path, caffe_process, size, wanted, mode):
    x, expected = made(tmp_path / "a.onnx", [1, 1, size, 3], scales=[1, 1, wanted / size, 1], mode=mode)
    check(tmp_path, caffe_process, x, expected)
