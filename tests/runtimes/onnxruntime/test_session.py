"""Sessions: what they take, what they refuse and how they say it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nuqconv.backends.onnx import size, to_onnx, write_onnx
from nuqconv.errors import FormatError, ModelError, NuqconvError, OutputError, UnsupportedError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Eltwise, Opaque, ReLU
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.backends.onnx.graphs import everything


def data(size=2):
    return np.random.default_rng(0).standard_normal((size, 3, 9, 9)).astype(np.float32)


def two_branches():
    nodes = (
        Node("a", ReLU(), ("x",), ("a",)),
        Node("b", ReLU(), ("y",), ("b",)),
        Node("sum", Eltwise(), ("a", "b"), ("sum",)),
        Node("odd", Opaque("Strange", "nobody knows it"), ("sum",), ("odd",)),
    )
    return Graph("branches", (Input("x", (2, 3)), Input("y", (2, 3))), nodes, {}, ("odd",))


def test_layers_behind_the_outputs_do_not_matter():
    session = OnnxSession(two_branches(), outputs=["sum"])
    found = session.run({"x": np.ones((4, 3), np.float32), "y": np.full((4, 3), 2, np.float32)})
    np.testing.assert_array_equal(found["sum"], np.full((4, 3), 3))
    with pytest.raises(UnsupportedError, match="'odd'"):
        OnnxSession(two_branches())


def test_inputs_that_are_not_needed_may_be_given_or_left_out():
    session = OnnxSession(two_branches(), outputs=["a"])
    ones = np.ones((2, 3), np.float32)
    assert session.inputs == {"x": (None, 3)}
    np.testing.assert_array_equal(session.run({"x": ones})["a"], ones)
    np.testing.assert_array_equal(session.run({"x": ones, "y": ones})["a"], ones)


def test_an_input_may_be_an_output():
    ones = np.ones((2, 3), np.float32)
    found = OnnxSession(two_branches(), outputs=["x", "a", "x"]).run({"x": -ones})
    assert list(found) == ["x", "a"]
    np.testing.assert_array_equal(found["x"], -ones)
    only = OnnxSession(two_branches(), outputs=["y"]).run({"y": ones})
    np.testing.assert_array_equal(only["y"], ones)


def test_wanted_outputs_and_their_order():
    session = OnnxSession(everything(), outputs=["fc", "conv", "relu"])
    assert session.outputs == ("fc", "conv", "relu")
    assert list(session.run({"data": data()}, ["relu", "fc"])) == ["relu", "fc"]


def test_results_are_new_and_writable():
    session = OnnxSession(everything(), outputs=["relu", "data"])
    given = data()
    one = session.run({"data": given})
    one["relu"][...] = 7
    one["data"][...] = 7
    np.testing.assert_array_equal(given, data())
    assert not (session.run({"data": given})["relu"] == 7).all()


def test_threads_do_not_change_names_or_shapes():
    found = OnnxSession(everything(), threads=1).run({"data": data()})
    other = OnnxSession(everything(), threads=2).run({"data": data()})
    for name, array in found.items():
        np.testing.assert_allclose(other[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'data' Nx3x9x9 is missing"),
        ({"data": np.zeros((2, 3, 9, 9))}, r"is float64, expected float32; convert it with \.astype"),
        ({"data": np.zeros((2, 3, 9, 8), np.float32)}, "has shape 2x3x9x8, expected Nx3x9x9"),
        ({"data": np.zeros((3, 9, 9), np.float32)}, "has shape 3x9x9, expected Nx3x9x9"),
        ({"data": np.zeros((0, 3, 9, 9), np.float32)}, "has shape 0x3x9x9"),
        (
            {"data": np.zeros((2, 3, 9, 9), np.float32), "dta": np.zeros(1)},
            "'dta': no such input; the network has data",
        ),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(ModelError, match=message):
        OnnxSession(everything()).run(inputs)


def test_all_faults_are_listed():
    with pytest.raises(ModelError) as caught:
        OnnxSession(everything()).run({"data": np.zeros((2, 3, 9, 8)), "z": np.zeros(1)}, ["nothing"])
    assert len(caught.value.problems) == 4


def test_batch_sizes_that_differ():
    session = OnnxSession(two_branches(), outputs=["sum"])
    with pytest.raises(ModelError, match="differ in size N: 'x' 4, 'y' 5"):
        session.run({"x": np.ones((4, 3), np.float32), "y": np.ones((5, 3), np.float32)})


def test_an_unknown_output_of_a_graph():
    with pytest.raises(ModelError, match="no value 'nothing'"):
        OnnxSession(everything(), outputs=["nothing"])


def test_models_and_files(tmp_path):
    graph = everything()
    expected = OnnxSession(graph).run({"data": data()})
    path = tmp_path / "new folder" / "model.onnx"
    write_onnx(graph, path)
    for model in (to_onnx(graph), path, str(path)):
        found = OnnxSession(model).run({"data": data()})
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


def test_inner_values_of_a_model():
    model = to_onnx(everything())
    before = model.SerializeToString(deterministic=True)
    session = OnnxSession(model, outputs=["relu", "power/Mul"])
    assert session.outputs == ("relu", "power/Mul")
    found = session.run({"data": data()})
    np.testing.assert_array_equal(
        found["relu"], OnnxSession(everything(), outputs=["relu"]).run({"data": data()})["relu"]
    )
    assert model.SerializeToString(deterministic=True) == before
    with pytest.raises(ModelError, match="no value 'nothing'"):
        OnnxSession(model, outputs=["nothing"])


def test_integers_go_with_graphs_only():
    with pytest.raises(ValueError, match="Graph only"):
        OnnxSession(to_onnx(everything()), integer=True)


def test_other_dtypes_of_foreign_models():
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["A", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["A", 2])
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    session = OnnxSession(model)
    np.testing.assert_array_equal(session.run({"x": np.array([[1, 2]])})["y"], [[1, 2]])
    with pytest.raises(ModelError, match="is float32, expected int64"):
        session.run({"x": np.ones((1, 2), np.float32)})


def broken(nodes, version=13):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", version)])
    model.ir_version = 8
    return model


@pytest.mark.parametrize(
    "model",
    [
        broken([helper.make_node("NoSuchOperator", ["x"], ["y"])]),
        broken([helper.make_node("Relu", ["z"], ["y"])]),
        broken([helper.make_node("Relu", ["x"], ["y"])], 9999),
    ],
)
def test_what_onnxruntime_refuses_is_an_error_of_ours(model):
    with pytest.raises(NuqconvError, match="ONNX model 'g'"):
        OnnxSession(model)


def test_a_failure_while_running():
    node = helper.make_node("Gather", ["x", "i"], ["y"])
    model = broken([node])
    model.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, [1]))
    with pytest.raises(ModelError, match="onnxruntime failed"):
        OnnxSession(model).run({"x": np.ones(1, np.float32), "i": np.array([5])})


def test_files_that_are_no_models(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        OnnxSession(tmp_path / "nothing.onnx")
    for content in (b"", b"no model at all", to_onnx(everything()).SerializeToString()[:1000]):
        path = tmp_path / "bad.onnx"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=r"bad\.onnx"):
            OnnxSession(path)


def test_a_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    params = sum(array.nbytes for array in everything().params.values())
    for limit in (1000, params):
        monkeypatch.setattr(size, "MAX_BYTES", limit)
        with pytest.raises(UnsupportedError, match=rf"exceeds the {limit} bytes.*quantize it, or split"):
            write_onnx(everything(), path)
    monkeypatch.undo()
    with pytest.raises(UnsupportedError):
        write_onnx(two_branches(), path)
    assert path.read_bytes() == b"before"
    write_onnx(everything(), path, opset=17, dynamic_batch=True)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(OutputError, match=r"model\.onnx"):
        write_onnx(everything(), tmp_path / "model.onnx")


def test_writing_twice_gives_the_same_file(tmp_path):
    for name in ("one", "two"):
        write_onnx(everything(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
