"""Sizes and factors of Resize as onnxruntime has them: one factor for all axes, and sizes by factors in float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import nuqconv
from nuqconv.runtimes.onnxruntime import OnnxSession


def made(path, shape, *, scales=None, sizes=None, declared=None, **attributes):
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
        [node],
        "net",
        [given],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, declared or [None] * len(shape))],
        stored,
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


@pytest.mark.caffe
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("declared", "count"), [([1, 1, 50, 3], 50), ([1, 1, 49, 3], 49), ([1, 1, 48, 3], 50), (None, 50)]
)
def test_the_declared_size_decides_where_rounding_does(tmp_path, caffe_process, mode, declared, count):
    """30 by 50/30: 49 by ONNX's rule, which its reference implementation follows, 50 in onnxruntime; of both the rows are the same."""
    x, fifty = made(tmp_path / "a.onnx", [1, 1, 30, 3], scales=[1, 1, 50 / 30, 1], declared=declared, mode=mode)
    assert fifty.shape[2] == 50
    by_the_rule = ReferenceEvaluator(onnx.load(tmp_path / "a.onnx")).run(None, {"x": x})[0]
    assert by_the_rule.shape[2] == 49
    np.testing.assert_allclose(by_the_rule, fifty[:, :, :49], atol=1e-5)
    check(tmp_path, caffe_process, x, fifty if count == 50 else by_the_rule)
    notes: list[str] = []
    nuqconv.load(tmp_path / "a.onnx", notes=notes)
    (note,) = (note for note in notes if "factor" in note)
    assert (
        f"{count} are taken, {'as the file declares' if declared and declared[2] != 48 else 'as in onnxruntime'}"
        in note
    )


@pytest.mark.parametrize(
    "asked", [{"scales": [1, 1, 2, 1.5]}, {"sizes": (1, 2, 7, 9)}, {"sizes": (7, 9), "axes": [2, 3]}]
)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_the_batch_stays_open(tmp_path, asked, mode):
    """Sizes name the batch of the file too; another batch is the same for each item, which onnxruntime shows item by item."""
    made(tmp_path / "a.onnx", [1, 2, 5, 6], mode=mode, **asked)
    nuqconv.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", dynamic_batch=True)
    x = np.random.default_rng(3).normal(size=(4, 2, 5, 6)).astype(np.float32)
    one = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    expected = np.concatenate([one.run(None, {"x": x[n : n + 1]})[0] for n in range(4)])
    np.testing.assert_allclose(
        onnxruntime.InferenceSession(tmp_path / "b.onnx").run(None, {"x": x})[0], expected, atol=1e-6
    )
    np.testing.assert_allclose(OnnxSession(nuqconv.load(tmp_path / "a.onnx")).run({"x": x})["y"], expected, atol=1e-6)
