"""The ONNX model as a document: valid, repeatable, well named, and clear about what it cannot hold."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from nuqconv.backends.onnx import MAX_OPSET, MIN_OPSET, batch_problems, newest_opset, rebatch, to_onnx
from nuqconv.backends.onnx.lowering import lowering_for
from nuqconv.backends.onnx.styles import FAKE_QUANT, INTEGER
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.families import operators
from nuqconv.ir.ops import (
    BatchNorm,
    Concat,
    Convolution,
    InnerProduct,
    Opaque,
    Pooling,
    Power,
    ReLU,
    Reshape,
    Scale,
    Softmax,
)
from nuqconv.runtimes.onnxruntime import OnnxSession

from .graphs import everything, single

OPSETS = [13, 14, 15, 16, 17, 18, 19, 20, 21, *range(22, MAX_OPSET + 1)]


def test_every_operator_is_registered():
    known = operators()
    missing = [name for name, kind in known.items() if lowering_for(kind.__new__(kind)) is None]
    assert missing == ["Opaque"]
    # The families that came later have graphs of their own in their tests.
    assert {type(node.op) for node in everything().nodes} < set(known.values())


@pytest.mark.parametrize("integer", [False, True], ids=["fake", "integer"])
@pytest.mark.parametrize("opset", OPSETS)
def test_every_opset_gives_the_same_numbers(opset, integer):
    if opset > newest_opset():
        pytest.skip(f"the installed onnxruntime ends at opset {newest_opset()}")
    graph = everything()
    data = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    expected = OnnxSession(graph, integer=integer).run({"data": data})
    for dynamic in (False, True):
        model = to_onnx(graph, opset=opset, style=INTEGER if integer else FAKE_QUANT, dynamic_batch=dynamic)
        onnx.checker.check_model(model, full_check=True)
        assert [item.version for item in model.opset_import] == [opset]
        found = OnnxSession(model).run({"data": data})
        for name, array in expected.items():
            # Kernels of different opsets sum in different orders, and some values here are small differences of large ones.
            np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6 * np.abs(array).max(), err_msg=name)


def test_fake_quant_and_integers_agree_where_sums_are_small():
    graph = everything()
    data = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    fake, exact = (OnnxSession(graph, integer=integer).run({"data": data}) for integer in (False, True))
    for name in ("dconv", "dup", "dfc", "dave"):
        np.testing.assert_array_equal(fake[name], exact[name])


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize(
    "op",
    [Pooling("AVE", (3, 3), (2, 2), (1, 1)), Pooling("AVE", (4, 2), (3, 1), (1, 0)), Pooling("MAX", (1, 2), (3, 2))],
)
def test_explicit_padding_survives_the_optimizer_at_every_opset(op, opset):
    """Real Caffe judges the default opset; onnxruntime merges Pad into pooling for some others only."""
    graph = single(op, (2, 3, 6, 6))
    data = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    model = to_onnx(graph, opset=opset)
    assert "Pad" in {node.op_type for node in model.graph.node}
    expected, found = (OnnxSession(item).run({"data": data})["out"] for item in (graph, model))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_second_implementation_agrees():
    graph = everything().up_to(["fc", "fct", "part", "gap", "gmp", "dconv", "dfc", "dup"])
    data = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    found = ReferenceEvaluator(to_onnx(graph, opset=19)).run(None, {"data": data})
    expected = OnnxSession(graph).run({"data": data})
    for name, array in zip(graph.outputs, found, strict=True):
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_default_opset_is_the_newest_that_runs():
    assert MIN_OPSET <= newest_opset() <= MAX_OPSET
    (found,) = to_onnx(everything()).opset_import
    assert found.version == newest_opset()


@pytest.mark.parametrize("opset", [0, 12, MAX_OPSET + 1, 1000])
def test_other_opsets_are_refused(opset):
    with pytest.raises(UnsupportedError, match=rf"opset {opset} .* from 13 to"):
        to_onnx(everything(), opset=opset)


@pytest.mark.parametrize("integer", [False, True])
def test_same_graph_same_bytes(integer):
    one, two = (
        to_onnx(everything(), style=INTEGER if integer else FAKE_QUANT).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert one == two


def test_names_and_bytes_are_kept():
    graph = everything()
    model = to_onnx(graph)
    assert (model.producer_name, model.graph.name) == ("nuqconv", "everything")
    assert model.producer_version
    made = {name for node in model.graph.node for name in node.output}
    assert set(graph.producer) <= made
    layers = {node.name: node for node in model.graph.node}
    assert len(layers) == len(model.graph.node)
    for node in graph.nodes:
        assert list(layers[node.name].output) == list(node.outputs)
    tensors = {item.name: item for item in model.graph.initializer}
    for name, array in graph.params.items():
        if name.startswith("bn/"):
            continue
        assert tensors[name].raw_data == array.tobytes()
        assert numpy_helper.to_array(tensors[name]).dtype == array.dtype


def test_helper_names_keep_clear_of_the_graphs():
    """Values and parameters carry exactly the names that helpers would get."""
    names = ("out/Mul", "out/scale", "out/shift", "out/Mul_2", "out/scale_2")
    nodes = [Node(name, ReLU(), ("data",), (name,)) for name in names]
    nodes.append(Node("out", Power(2.0, 3.0, 4.0), ("out/Mul",), ("result",)))
    nodes.append(Node("fc", InnerProduct(2), ("result",), ("fc",), ("data", "out/power")))
    params = {"data": np.ones((2, 2), np.float32), "out/power": np.zeros(2, np.float32)}
    graph = Graph("clash", (Input("data", (1, 2)),), tuple(nodes), params, (*names[1:], "fc")).verify()
    onnx.checker.check_model(to_onnx(graph), full_check=True)
    found = OnnxSession(graph).run({"data": np.array([[1, -1]], np.float32)})
    np.testing.assert_array_equal(found["fc"], [[49 + 16, 49 + 16]])


def test_a_shared_parameter_is_stored_once():
    nodes = (
        Node("a", InnerProduct(3), ("data",), ("a",), ("w", "b")),
        Node("c", InnerProduct(3), ("a",), ("c",), ("w", "b")),
    )
    params = {"w": np.eye(3, dtype=np.float32), "b": np.ones(3, np.float32)}
    model = to_onnx(Graph("shared", (Input("data", (1, 3)),), nodes, params, ("c",)).verify())
    assert sorted(item.name for item in model.graph.initializer) == ["b", "w"]


def test_one_parameter_in_two_layouts():
    nodes = (
        Node("s", Scale(), ("data",), ("s",), ("w",)),
        Node("t", Scale(axis=3), ("s",), ("t",), ("w",)),
    )
    params = {"w": np.array([2, 3], np.float32)}
    graph = Graph("layouts", (Input("data", (1, 2, 1, 2)),), nodes, params, ("t",)).verify()
    found = OnnxSession(graph).run({"data": np.ones((1, 2, 1, 2), np.float32)})
    np.testing.assert_array_equal(found["t"], [[[[4, 6]], [[6, 9]]]])


def test_all_layers_without_a_form_are_listed():
    nodes = (
        Node("norm", Opaque("Normalize", "the layer type is not known"), ("data",), ("norm",)),
        Node("relu", ReLU(), ("norm",), ("relu",)),
        Node("prior", Opaque("PriorBox", "no such thing"), ("relu",), ("prior",)),
    )
    graph = Graph("ssd", (Input("data", (1, 2)),), nodes, {}, ("prior",))
    with pytest.raises(UnsupportedError) as caught:
        to_onnx(graph)
    assert len(caught.value.problems) == 2
    for part in ("norm", "Normalize", "the layer type is not known", "prior", "PriorBox", "no such thing"):
        assert part in str(caught.value)


def test_averages_over_nothing_are_listed():
    nodes = tuple(
        Node(f"pool{number}", Pooling("AVE", (1, 1), (2, 2)), ("data",), (f"pool{number}",)) for number in range(2)
    )
    graph = Graph("pools", (Input("data", (1, 1, 4, 4)),), nodes, {}, ("pool0", "pool1")).verify()
    with pytest.raises(UnsupportedError) as caught:
        to_onnx(graph)
    assert len(caught.value.problems) == 2


def test_maximum_over_nothing_is_the_lowest_float():
    graph = single(Pooling("MAX", (1, 1), (2, 2)), (1, 1, 4, 4))
    found = OnnxSession(graph).run({"data": np.ones((1, 1, 4, 4), np.float32)})["out"]
    assert found[0, 0, 2, 2] == np.finfo(np.float32).min
    assert found[0, 0, 1, 1] == 1


def test_batch_norm_without_channels():
    params = (np.array([3], np.float32), np.array([5], np.float32), np.array([2], np.float32))
    data = np.arange(7, dtype=np.float32)
    found = OnnxSession(single(BatchNorm(0.5), (7,), params)).run({"data": data})["out"]
    np.testing.assert_allclose(found, (data - 1.5) / np.sqrt(3), rtol=1e-6)


@pytest.mark.parametrize("op", [Power(0.0), Power(2.0, 0.0, 3.0)])
def test_constant_power_ignores_nan(op):
    found = OnnxSession(single(op, (2, 2))).run({"data": np.full((2, 2), np.nan, np.float32)})["out"]
    np.testing.assert_array_equal(found, np.full((2, 2), 1 if op.power == 0 else 9))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_open_batch_equals_a_graph_of_that_batch(size):
    graph = everything()
    assert batch_problems(graph) == []
    data = np.random.default_rng(size).standard_normal((size, 3, 9, 9)).astype(np.float32)
    model = to_onnx(graph, dynamic_batch=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    found = OnnxSession(model).run({"data": data})
    expected = OnnxSession(to_onnx(rebatch(graph, size))).run({"data": data})
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("op", "inputs", "reason"),
    [
        (Reshape((2, 12)), 1, "'out'"),
        (Reshape((-1, 4)), 1, "batch as axis 0"),
        (Concat(0), 2, "batch as axis 0"),
    ],
)
def test_fixed_batch_says_why(op, inputs, reason):
    names = tuple(f"data{number}" for number in range(inputs))
    graph = Graph(
        "fixed", tuple(Input(name, (2, 12)) for name in names), (Node("out", op, names, ("out",)),), {}, ("out",)
    ).verify()
    (problem,) = batch_problems(graph)
    assert reason in problem
    with pytest.raises(ModelError, match="fixed batch size"):
        to_onnx(graph, dynamic_batch=True)
    session = OnnxSession(graph)
    assert session.batch_size == 2
    data = {name: np.zeros((3, 12), np.float32) for name in names}
    with pytest.raises(ModelError, match="the batch size is fixed"):
        session.run(data)


def test_inputs_of_different_batch_are_fixed():
    nodes = (Node("a", ReLU(), ("x",), ("a",)), Node("b", ReLU(), ("y",), ("b",)))
    graph = Graph("two", (Input("x", (2, 3)), Input("y", (5, 3))), nodes, {}, ("a", "b")).verify()
    assert "'x' 2" in batch_problems(graph)[0]


def test_rebatch_refuses_what_is_no_size():
    with pytest.raises(ModelError, match="batch size 0"):
        rebatch(everything(), 0)


def test_softmax_of_batch_axis_follows_an_open_batch():
    graph = single(Softmax(0), (2, 3))
    found = OnnxSession(graph).run({"data": np.zeros((4, 3), np.float32)})["out"]
    np.testing.assert_array_equal(found, np.full((4, 3), 0.25))


def test_unaligned_and_foreign_byte_order_parameters():
    weight = np.arange(12, dtype=np.float32).reshape(2, 6)
    unaligned = np.frombuffer(b"x" + weight.tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 6)
    foreign = weight.astype(">f4")
    for stored in (unaligned, foreign, np.asfortranarray(weight)):
        graph = single(InnerProduct(2, bias_term=False), (1, 6), (stored,))
        found = OnnxSession(graph).run({"data": np.ones((1, 6), np.float32)})["out"]
        np.testing.assert_array_equal(found, [[15, 51]])


def test_one_dimensional_convolution():
    weight = np.ones((1, 1, 3), np.float32)
    graph = single(Convolution(1, (3,), (2,), (1,), (1,), bias_term=False), (1, 1, 6), (weight,))
    found = OnnxSession(graph).run({"data": np.arange(6, dtype=np.float32).reshape(1, 1, 6)})["out"]
    np.testing.assert_array_equal(found, [[[1, 6, 12]]])
