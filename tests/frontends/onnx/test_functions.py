"""Operators that are read by ONNX's own definition of them, against the reference implementation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from nuqconv.frontends.onnx.build import graph_of
from nuqconv.frontends.onnx.functions import has_body
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.onnxruntime import OnnxSession


def need(opset):
    """Skips a test of what the installed onnx does not have yet."""
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"onnx {onnx.__version__} has no opset {opset}")


def model_of(nodes, shapes, outputs, opset, **constants):
    need(opset)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    given = [helper.make_tensor(name, TensorProto.FLOAT, item.shape, item.ravel()) for name, item in constants.items()]
    made = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(nodes, "one", inputs, made, given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def compare(model):
    graph = graph_of(model).graph
    rng = np.random.default_rng(5)
    feeds = {item.name: rng.standard_normal(item.shape).astype(np.float32) for item in graph.inputs}
    wanted = ReferenceEvaluator(model).run(None, feeds)
    for name, array in zip(graph.outputs, wanted, strict=True):
        np.testing.assert_allclose(OnnxSession(graph, threads=1).run(feeds)[name], array, rtol=1e-5, atol=1e-6)
    return graph


def test_two_nodes_whose_definitions_have_the_same_names():
    scale = np.linspace(0.5, 2, 6, dtype=np.float32)
    nodes = [
        helper.make_node("RMSNormalization", ["x", "scale"], ["a"]),
        helper.make_node("RMSNormalization", ["a", "scale"], ["y"], epsilon=0.25),
    ]
    graph = compare(model_of(nodes, {"x": (2, 3, 6)}, ["y"], 23, scale=scale))
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)


def test_attention_between_other_layers():
    nodes = [
        helper.make_node("Relu", ["q"], ["r"]),
        helper.make_node("Attention", ["r", "k", "v"], ["a"], q_num_heads=2, kv_num_heads=2),
        helper.make_node("Sigmoid", ["a"], ["y"]),
    ]
    graph = compare(model_of(nodes, {"q": (2, 3, 8), "k": (2, 5, 8), "v": (2, 5, 8)}, ["y"], 24))
    read = {name for node in graph.nodes for name in node.inputs}
    assert all(any(name in read or name in graph.outputs for name in node.outputs) for node in graph.nodes)


def test_an_operator_without_a_converter_and_without_a_definition_is_opaque():
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    graph = graph_of(model_of(nodes, {"x": (3, 3)}, ["y"], 22)).graph
    assert isinstance(graph.nodes[0].op, Opaque)


@pytest.mark.parametrize(
    ("op_type", "opset", "wanted"), [("SwiGLU", 28, True), ("Attention", 22, False), ("Det", 22, False)]
)
def test_what_has_a_definition(op_type, opset, wanted):
    need(opset)
    assert has_body(op_type, opset) is wanted
