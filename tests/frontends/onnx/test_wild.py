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
    table = {"t": np.ones((1, 3, 6, 6), np.float32), "s": np.int64([3, 36])}
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Add", ["r", "t"], ["a"]),
        helper.make_node("Reshape", ["a", "s"], ["y"]),
    ]
    written(tmp_path / "a.onnx", nodes, [1, 3, 6, 6], table)
    with pytest.raises(ModelError) as caught:
        nuqconv.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", dynamic_batch=True)
    told = str(caught.value.problems)
    assert "with a batch of 2 instead of 1" in told
    assert "9999" not in told


CAUSAL = np.triu(np.full((4, 4), -np.inf, np.float32), 1)


@pytest.mark.parametrize(
    ("nodes", "stored"),
    [
        (
            [helper.make_node("Add", ["x", "m"], ["a"]), helper.make_node("Softmax", ["a"], ["y"], axis=-1)],
            {"m": CAUSAL},
        ),
        (
            [
                helper.make_node("Add", ["x", "m"], ["a"]),
                helper.make_node("Reshape", ["a", "s"], ["b"]),
                helper.make_node("Softmax", ["b"], ["y"], axis=-1),
            ],
            {"m": CAUSAL[np.newaxis], "s": np.int64([2, 4, 4])},
        ),
        (
            [helper.make_node("Where", ["b", "x", "m"], ["a"]), helper.make_node("Softmax", ["a"], ["y"], axis=-1)],
            {"m": np.float32(-np.inf), "b": CAUSAL == 0},
        ),
    ],
    ids=["add", "reshape", "where"],
)
def test_infinite_masks_before_a_softmax(tmp_path, nodes, stored):
    x, expected = written(tmp_path / "a.onnx", nodes, [2, 4, 4], stored)
    notes: list[str] = []
    graph = nuqconv.load(tmp_path / "a.onnx", notes=notes)
    np.testing.assert_allclose(OnnxSession(graph).run({"x": x})["y"], expected, rtol=1e-6)
    assert any("minus infinity in 'm'" in note for note in notes)
    nuqconv.save(graph, tmp_path / "a.prototxt", tmp_path / "a.caffemodel")


@pytest.mark.parametrize("case", ["seen", "whole row"])
def test_infinities_that_a_softmax_does_not_hide_are_refused(tmp_path, case):
    mask = CAUSAL if case == "seen" else np.full((4, 4), -np.inf, np.float32)
    nodes = [helper.make_node("Add", ["x", "m"], ["a"]), helper.make_node("Softmax", ["a"], ["s"], axis=-1)]
    nodes.append(helper.make_node("Add", ["a" if case == "seen" else "s", "s"], ["y"]))
    written(tmp_path / "a.onnx", nodes, [1, 4, 4], {"m": mask})
    with pytest.raises(UnsupportedError, match="'m' holds numbers that are infinite"):
        OnnxSession(nuqconv.load(tmp_path / "a.onnx"))


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
def test_a_stored_table_of_one_item_leaves_the_batch_open(tmp_path, op):
    table = np.random.default_rng(1).normal(size=(1, 3, 4, 4)).astype(np.float32)
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node(op, ["r", "t"], ["y"])]
    written(tmp_path / "a.onnx", nodes, [1, 3, 4, 4], {"t": table})
    nuqconv.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", dynamic_batch=True)
    x = np.random.default_rng(2).normal(size=(5, 3, 4, 4)).astype(np.float32)
    one = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    expected = np.concatenate([one.run(None, {"x": x[n : n + 1]})[0] for n in range(5)])
    found = onnxruntime.InferenceSession(tmp_path / "b.onnx").run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.caffe
@pytest.mark.parametrize("batch", [1, 3])
def test_a_table_that_is_joined_to_every_item_leaves_the_batch_open(tmp_path, batch, caffe_process):
    """Class tokens and anchor grids; the model itself at one item, or a copy of it for each, is the judge."""
    table = np.random.default_rng(1).normal(size=(1, 2, 4)).astype(np.float32)
    stored = {"t": np.repeat(table, batch, axis=0)}
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Concat", ["t", "r", "t"], ["y"], axis=-2)]
    x, expected = written(tmp_path / "a.onnx", nodes, [batch, 3, 4], stored)
    graph = nuqconv.load(tmp_path / "a.onnx")
    np.testing.assert_array_equal(OnnxSession(graph).run({"x": x})["y"], expected)
    nuqconv.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", dynamic_batch=True)
    five = np.random.default_rng(2).normal(size=(5, 3, 4)).astype(np.float32)
    tables = np.repeat(table, 5, axis=0)
    found = onnxruntime.InferenceSession(tmp_path / "b.onnx").run(None, {"x": five})[0]
    np.testing.assert_array_equal(found, np.concatenate([tables, np.maximum(five, 0), tables], axis=1))
    nuqconv.convert(tmp_path / "a.onnx", tmp_path / "c.prototxt", input_shapes={"x": (batch, 3, 4)})
    with nuqconv.runtimes.caffe.Net(tmp_path / "c.prototxt", tmp_path / "c.caffemodel", process=caffe_process) as net:
        np.testing.assert_array_equal(net.run({"x": x})["y"], expected)


def test_tables_that_differ_from_item_to_item_fix_the_batch(tmp_path):
    table = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Concat", ["r", "t"], ["y"], axis=1)]
    x, expected = written(tmp_path / "a.onnx", nodes, [2, 3, 6, 6], {"t": table})
    np.testing.assert_array_equal(OnnxSession(nuqconv.load(tmp_path / "a.onnx")).run({"x": x})["y"], expected)
    with pytest.raises(ModelError) as caught:
        nuqconv.convert(tmp_path / "a.onnx", tmp_path / "b.onnx", dynamic_batch=True)
    assert "9999" not in str(caught.value.problems)
