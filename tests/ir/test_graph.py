"""The graph as a value: verification, parts, parameters."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from nuqconv.errors import ModelError
from nuqconv.ir import Graph, Input, Node, Origin, read_only
from nuqconv.ir.ops import Concat, Eltwise, InnerProduct, Opaque, ReLU, Softmax


def inner(name, source, made, params, outputs=2):
    return Node(name, InnerProduct(outputs, bias_term=len(params) > 1), (source,), (made,), params)


def diamond(**changes) -> Graph:
    """data -> a, b -> sum -> prob, with the weights of a and b shared."""
    graph = Graph(
        "diamond",
        (Input("data", (1, 3)), Input("other", (1, 2))),
        (
            inner("a", "data", "a", ("w", "bias")),
            inner("b", "data", "b", ("w",)),
            Node("relu", ReLU(), ("b",), ("b2",)),
            Node("sum", Eltwise(), ("a", "b2", "other"), ("sum",)),
            Node("prob", Softmax(), ("sum",), ("prob",)),
        ),
        {"w": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)},
        ("prob",),
        {"b": "x", "b2": "x"},
    )
    return replace(graph, **changes)


def test_a_right_graph_verifies_to_itself():
    graph = diamond()
    assert graph.verify() is graph
    assert dict(graph.shapes) == {
        "data": (1, 3),
        "other": (1, 2),
        "a": (1, 2),
        "b": (1, 2),
        "b2": (1, 2),
        "sum": (1, 2),
        "prob": (1, 2),
    }


def test_all_faults_of_structure_are_listed_at_once():
    origin = Origin("net.prototxt", 12, "late", "ReLU", "caffe")
    nodes = (
        inner("a", "nowhere", "a", ("w", "gone")),
        Node("a", ReLU(), ("a",), ("data",)),
        Node("late", ReLU(), ("a", "a"), ("l1", "l2"), origin=origin),
        Node("one", Eltwise(), ("a",), ("e",)),
        Node("none", Concat(), (), ("c",)),
    )
    with pytest.raises(ModelError) as found:
        diamond(nodes=nodes, outputs=("c", "missing")).verify()
    assert str(found.value).splitlines()[0] == "network 'diamond' is not valid"
    assert found.value.problems == (
        "layer 'a' (InnerProduct): input 'nowhere' is made by no earlier layer",
        "layer 'a' (InnerProduct): parameter 'gone' is missing",
        "layer 'a' (ReLU): another layer has the same name",
        "layer 'a' (ReLU): output 'data' exists already",
        "net.prototxt:12: layer 'late' (ReLU): has 2 inputs, expected 1",
        "net.prototxt:12: layer 'late' (ReLU): has 2 outputs, expected 1",
        "layer 'one' (Eltwise): has 1 inputs, expected at least 2",
        "layer 'none' (Concat): has 0 inputs, expected at least 1",
        "output 'missing' is made by no layer",
    )


def test_shapes_and_numbers_are_checked_together():
    graph = diamond(
        inputs=(Input("data", (1, 3)), Input("other", (1, 5))),
        params={"w": np.array([[1, np.nan, 0], [np.inf, 0, 0]], np.float32), "bias": np.zeros(7, np.float32)},
    )
    with pytest.raises(ModelError) as found:
        graph.verify()
    bad = "2 of 6 numbers in 'w' are NaN or infinite"
    assert found.value.problems == (
        "layer 'a' (InnerProduct): parameters have shapes 2x3, 7, expected 2x3, 2",
        f"layer 'a' (InnerProduct): {bad}",
        f"layer 'b' (InnerProduct): {bad}",
    )
    with pytest.raises(ModelError, match=r"^network 'diamond' does not fit together\n  - layer 'a'") as found:
        assert graph.shapes
    assert len(found.value.problems) == 1


def test_a_wrong_shape_is_no_reason_to_doubt_what_follows():
    """Only the layer at fault is named, not everything behind it."""
    graph = diamond(params={"w": np.ones((2, 4), np.float32), "bias": np.zeros(2, np.float32)})
    with pytest.raises(ModelError) as found:
        graph.verify()
    assert [problem.split(":")[0] for problem in found.value.problems] == [
        "layer 'a' (InnerProduct)",
        "layer 'b' (InnerProduct)",
    ]


def test_integer_parameters_have_no_nan():
    graph = diamond(params={"w": np.ones((2, 3), np.int8), "bias": np.zeros(2, np.int32)})
    assert graph.verify() is graph


def test_nothing_is_known_behind_an_opaque_layer():
    nodes = (
        Node("odd", Opaque("Odd", "the layer type is not known"), ("data",), ("o1", "o2")),
        Node("relu", ReLU(), ("o1",), ("r",)),
        Node("sum", Eltwise(), ("r", "other"), ("s",)),
        Node("known", ReLU(), ("other",), ("k",)),
    )
    graph = diamond(nodes=nodes, params={}, outputs=("s", "o2", "k")).verify()
    assert [graph.shapes[name] for name in ("o1", "o2", "r", "s", "k")] == [None, None, None, None, (1, 2)]


def test_lookups():
    graph = diamond()
    assert graph.node["relu"].op == ReLU()
    assert graph.producer["b2"].name == "relu"
    assert "data" not in graph.producer
    assert {name: [node.name for node in nodes] for name, nodes in graph.consumers.items()} == {
        "data": ["a", "b"],
        "other": ["sum"],
        "a": ["sum"],
        "b": ["relu"],
        "b2": ["sum"],
        "sum": ["prob"],
        "prob": [],
    }
    assert [node.name for node in graph.users("w")] == ["a", "b"]
    assert [node.name for node in graph.users("bias")] == ["a"]
    assert graph.users("nothing") == ()


def test_a_layer_that_reads_a_value_twice_is_one_consumer():
    graph = diamond(nodes=(Node("twice", Eltwise(), ("data", "data"), ("d",)),), params={}, outputs=("d",))
    assert [node.name for node in graph.consumers["data"]] == ["twice"]
    assert graph.verify().shapes["d"] == (1, 3)


def test_storage_names():
    graph = diamond()
    assert [graph.storage_name(name) for name in ("b", "b2", "sum")] == ["x", "x", "sum"]
    with pytest.raises(TypeError):
        graph.storage["b"] = "y"


def test_parameters_cannot_be_written():
    source = np.ones((2, 3), np.float32)
    graph = diamond(params={"w": source, "bias": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="read-only"):
        graph.params["w"][0, 0] = 5
    with pytest.raises(TypeError):
        graph.params["w"] = source
    with pytest.raises(TypeError):
        del graph.params["w"]
    # The bytes are the file's own: nothing is copied, and the caller's array stays as it was.
    assert np.shares_memory(graph.params["w"], source)
    assert source.flags.writeable
    with pytest.raises(FrozenInstanceError):
        graph.name = "other"


def test_read_only_gives_a_view():
    source = np.arange(4)
    view = read_only(source)
    assert np.shares_memory(view, source)
    assert (view.flags.writeable, source.flags.writeable) == (False, True)


def test_with_nodes_drops_parameters_that_nobody_uses():
    graph = diamond()
    without_bias = graph.with_nodes(node for node in graph.nodes if node.name != "a")
    assert list(without_bias.params) == ["w"]
    assert [node.name for node in without_bias.nodes] == ["b", "relu", "sum", "prob"]
    assert list(graph.params) == ["w", "bias"]


def test_with_nodes_and_other_parameters():
    graph = diamond()
    other = {"w": np.zeros((2, 3), np.float32), "unused": np.zeros(9, np.float32)}
    changed = graph.with_nodes(graph.nodes[1:2], other)
    assert list(changed.params) == ["w"]
    np.testing.assert_array_equal(changed.params["w"], np.zeros((2, 3)))
    assert (changed.name, changed.inputs, changed.outputs) == (graph.name, graph.inputs, graph.outputs)
    assert dict(changed.storage) == dict(graph.storage)


def test_up_to_keeps_what_is_needed():
    graph = diamond()
    part = graph.up_to(["b2"]).verify()
    assert [node.name for node in part.nodes] == ["b", "relu"]
    assert [item.name for item in part.inputs] == ["data"]
    assert list(part.params) == ["w"]
    assert part.outputs == ("b2",)
    assert part.shapes["b2"] == (1, 2)


def test_up_to_several_values_in_the_order_asked():
    part = diamond().up_to(["sum", "a", "other"]).verify()
    assert [node.name for node in part.nodes] == ["a", "b", "relu", "sum"]
    assert [item.name for item in part.inputs] == ["data", "other"]
    assert part.outputs == ("sum", "a", "other")


def test_up_to_an_input_has_no_layers():
    part = diamond().up_to(["other"]).verify()
    assert (part.nodes, part.inputs, dict(part.params)) == ((), (Input("other", (1, 2)),), {})


def test_up_to_values_that_are_not_there():
    with pytest.raises(ModelError) as found:
        diamond().up_to(["sum", "x", "y"])
    assert str(found.value) == "network 'diamond' has no value 'x', 'y'"


@pytest.mark.parametrize("take", [pickle.dumps, copy.deepcopy])
def test_graphs_are_not_pickled(take):
    with pytest.raises(TypeError, match="is not pickled; pass the model files instead"):
        take(diamond())


def test_origins_take_no_part_in_comparing_nodes():
    node = inner("a", "data", "a", ("w",))
    placed = replace(node, origin=Origin("net.prototxt", 3, "a", "InnerProduct", "caffe"))
    assert placed == node
    assert placed.place == "net.prototxt:3: layer 'a' (InnerProduct)"
    assert node.place == "layer 'a' (InnerProduct)"
    assert str(replace(placed.origin, line=None)) == "net.prototxt: layer 'a' (InnerProduct)"
