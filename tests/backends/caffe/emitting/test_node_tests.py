"""ONNX's own tests of operators in real Caffe: file -> graph -> Caffe model -> the outputs that onnx stores."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from build_caffe_table import NODE_TESTS
from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import NuqconvError, UnsupportedError
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.caffe import Net
from tests.frontends.onnx.node_tests import NodeTest, node_tests

pytestmark = pytest.mark.caffe

# Of sizes that are no whole multiples onnx and onnxruntime have different opinions; the graph has onnxruntime's.
# Remainders by infinity are no numbers in stock layers.
DIFFER = {
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
    "test_mod_float_edge_cases_fmod_0_float16",
    "test_mod_float_edge_cases_fmod_0_float32",
    "test_mod_float_edge_cases_fmod_0_float64",
    # -2.5 is 127.5 steps below zero: stock layers divide by a product with the reciprocal, which rounds to the other side.
    "test_dynamicquantizelinear",
}
# Other operators, which have tests of their own, and other types, which all are float32 in the graph.
SKIPPED = re.compile(r"_expanded|float16|_u?int(8|16|32|64)|float64|cast")
FEWEST = 600


def graphs(test: NodeTest):
    """Yields graphs of a test: with all inputs open, and with all but the first known."""
    names = [item.name for item in test.model.graph.input]
    given = dict(zip(names, test.inputs, strict=False))
    if any(array is None or array.dtype.kind not in "fbiu" for array in given.values()):
        return
    for constant in ((), names[1:]) if names[1:] else ((),):
        model = ModelProto()
        model.CopyFrom(test.model)
        model.graph.initializer.extend(numpy_helper.from_array(given[name], name) for name in constant)
        try:
            graph = graph_of(model, test.name).graph
        except NuqconvError:
            continue
        fed = {item.name: np.asarray(given[item.name]).astype(np.float32, order="C") for item in graph.inputs}
        if fed and all(array.ndim and array.size for array in fed.values()):
            yield graph, fed


def outcome(judge, test: NodeTest, graph, feeds) -> str:
    """Returns ``same``, ``refused`` or ``differs``."""
    if any(isinstance(node.op, Opaque) for node in graph.nodes):
        return "not read"
    try:
        write_caffe(graph, judge.model, judge.weights)
    except UnsupportedError:
        return "refused"
    with Net(judge.model, judge.weights, process=judge.process) as net:
        found = net.run({name: feeds[name] for name in net.inputs}, list(graph.outputs))
    for item, wanted in zip(test.model.graph.output, test.outputs, strict=True):
        array = found[item.name if item.name in found else f"{item.name}/output"]
        same = array.shape == wanted.shape and np.allclose(
            array, wanted.astype(np.float64), rtol=1e-3, atol=1e-5, equal_nan=True
        )
        if not same:
            return "differs"
    return "same"


@pytest.mark.slow
def test_outcomes(judge):
    counts: Counter[str] = Counter()
    differ, passed, refused = set(), set(), set()
    for test in node_tests():
        if SKIPPED.search(test.name):
            continue
        for graph, feeds in graphs(test):
            found = outcome(judge, test, graph, feeds)
            counts[found] += 1
            if found == "differs":
                differ.add(test.name)
            elif found == "same":
                passed |= test.operators
            elif found == "refused":
                refused |= test.operators
    assert differ <= DIFFER
    if onnx.__version__.startswith("1.23."):
        assert {name: counts[name] for name in NODE_TESTS} == NODE_TESTS
    assert counts["same"] >= FEWEST, counts
    # What no test of an operator gets through is what the table says is refused.
    assert refused - passed <= {"Acos", "Asin", "Atan", "Cos", "GridSample", "IsInf", "IsNaN", "Pow", "Sin", "Tan"}, (
        counts,
        refused - passed,
    )
