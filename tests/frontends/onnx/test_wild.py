"""Small habits of exporters, with values from onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import nuqconv
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.runtimes.onnxruntime import OnnxSession


def written(path, nodes, shape, stored=(), outputs=("y",)):
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT if name == "y" else 7, None) for name in outputs]
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(stored).items()]
    graph = helper.make_graph(nodes, "net", [given], made, arrays)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return x, onnxruntime.InferenceSession(path).run(["y"], {"x": x})[0]


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        (-10, -20, -1),
        (-7, -20, -1),
        (-8, -8, -1),
        (-9, 3, 1),
        (10, -20, -2),
        (3, -100, -1),
        (-1, -(2**62), -3),
        (2, 99, 3),
    ],
)
def test_slices_that_begin_or_end_beside_the_axis(tmp_path, start, end, step):
    stored = {name: np.int64([value]) for name, value in (("s", start), ("e", end), ("a", 2), ("p", step))}
    node = helper.make_node("Slice", ["x", "s", "e", "a", "p"], ["y"])
    x, expected = written(tmp_path / "a.onnx", [node], [2, 3, 6, 2], stored)
    np.testing.assert_array_equal(OnnxSession(nuqconv.load(tmp_path / "a.onnx")).run({"x": x})["y"], expected)


def test_places_of_maxima_that_nothing_reads(tmp_path):
    pool = helper.make_node("MaxPool", ["x"], ["p", "places"], kernel_shape=[2, 2], strides=[2, 2])
    x, expected = written(tmp_path / "a.onnx", [pool, helper.make_node("Relu", ["p"], ["y"])], [2, 3, 6, 6])
    np.testing.assert_array_equal(OnnxSession(nuqconv.load(tmp_path / "a.onnx")).run({"x": x})["y"], expected)


@pytest.mark.parametrize("given", [True, False], ids=["output", "read"])
def test_places_of_maxima_that_are_read_are_refused(tmp_path, given):
    pool = helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2], strides=[2, 2])
    more = [] if given else [helper.make_node("Cast", ["places"], ["z"], to=7)]
    written(tmp_path / "a.onnx", [pool, *more], [2, 3, 6, 6], outputs=["y", "places" if given else "z"])
    with pytest.raises(UnsupportedError, match="places of the maxima"):
        OnnxSession(nuqconv.load(tmp_path / "a.onnx"))


def test_what_fixes_the_batch_is_said_in_sizes_that_users_have(tmp_path):
    table = {"t": np.ones((1, 3, 6, 6), np.float32)}
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Concat", ["r", "t"], ["y"], axis=1)]
    written(tmp_path / "a.onnx", nodes, [1, 3, 6, 6], table)
    with pytest.raises(ModelError) as caught:
        nuqconv.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", dynamic_batch=True)
    told = str(caught.value.problems)
    assert "with a batch of 2 instead of 1" in told
    assert "9999" not in told
