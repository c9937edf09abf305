"""Every operator stands in one family, and its readers and writers stand in the family of the same name."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import build_layer_table
from nuqconv.backends.caffe.emitting import EMITTERS, REFUSALS
from nuqconv.backends.onnx.lowering import lowering_for
from nuqconv.errors import NuqconvError
from nuqconv.frontends.caffe.layers.registry import LAYER_TYPES
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.frontends.onnx.registry import claimed, converter_for
from nuqconv.ir.families import FAMILIES, operators
from nuqconv.ir.ops import Op
from tests.frontends.onnx.node_tests import NodeTest, node_tests

TREES = {
    "nuqconv.ir.ops": {"base", "weighted"},
    "nuqconv.frontends.caffe.layers": {"registry"},
    "nuqconv.frontends.onnx.converters": set(),
    "nuqconv.backends.onnx.lowering": {"registry", "parts"},
    "nuqconv.backends.caffe.emitting": {"registry", "parts"},
}
"""The folders, and what else is in them."""


def family(thing: object) -> str:
    return str(thing.__module__).rpartition(".")[2]


@pytest.mark.parametrize("package", TREES)
def test_folders_hold_families_only(package):
    modules = {item.name for item in iter_modules(import_module(package).__path__)}
    assert modules - TREES[package] <= set(FAMILIES)
    if package == "nuqconv.ir.ops":
        assert modules - TREES[package] == set(FAMILIES)


def test_the_operator_set_exports_all_operators():
    package = import_module("nuqconv.ir.ops")
    assert {name: getattr(package, name) for name in operators()} == dict(operators())


@pytest.mark.parametrize("name", operators())
def test_writers_stand_in_the_family_of_the_operator(name):
    kind = operators()[name]
    lowering = lowering_for(kind.__new__(kind))
    assert lowering is None or family(lowering) == family(kind)
    if kind in EMITTERS:
        assert family(EMITTERS[kind].write) == family(kind)
    if kind in REFUSALS:
        text = Path(import_module(f"nuqconv.backends.caffe.emitting.{family(kind)}").__file__).read_text()
        assert re.search(rf"^refuses\({name},", text, re.MULTILINE)


@pytest.mark.parametrize("module", sorted(set(FAMILIES) - {"custom"}))
def test_readers_of_caffe_make_operators_of_their_family(module):
    try:
        found = import_module(f"nuqconv.frontends.caffe.layers.{module}")
    except ModuleNotFoundError:
        pytest.fail(f"Caffe has no layers of the family {module}")
    made = {
        item for item in vars(found).values() if isinstance(item, type) and issubclass(item, Op) and not item.abstract
    }
    assert made
    assert {family(item) for item in made} == {module}


@pytest.mark.parametrize("layer_type", sorted(LAYER_TYPES))
def test_a_type_is_read_as_what_its_entry_says(layer_type):
    made = {type(op) for op in build_layer_table.operators(layer_type)}
    assert made
    assert made <= set(LAYER_TYPES[layer_type].ops)


@pytest.fixture(scope="module")
def made_by() -> dict[str, set[str]]:
    """The families of the operators that ONNX's own test of one operator becomes, by operator of ONNX."""
    found: dict[str, set[str]] = {}
    for test in node_tests():
        if len(test.model.graph.node) != 1:
            continue
        first, *others = [item.name for item in test.model.graph.input] or [""]
        # Weights, indices and the like must be known beforehand; with operators of two values the second may be open.
        for known in ([first, *others][1:], []):
            try:
                graph = graph_of(_with_constants(test, known), test.name).graph
            except NuqconvError:
                continue
            made = {family(type(node.op)) for node in graph.nodes}
            found.setdefault(test.model.graph.node[0].op_type, set()).update(made - {"custom"})
    # ONNX's own tests have slopes that differ from element to element only.
    found["PRelu"].update(family(type(node.op)) for node in graph_of(_prelu(), "prelu").graph.nodes)
    return found


def _prelu() -> ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 2, 2]) for name in "xy"]
    slope = numpy_helper.from_array(np.full((3, 1, 1), 0.5, np.float32), "slope")
    graph = helper.make_graph([helper.make_node("PRelu", ["x", "slope"], ["y"])], "g", values[:1], values[1:], [slope])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])


def _with_constants(test: NodeTest, names: list[str]) -> ModelProto:
    model = ModelProto()
    model.CopyFrom(test.model)
    given = dict(zip((item.name for item in test.model.graph.input), test.inputs, strict=False))
    model.graph.initializer.extend(
        numpy_helper.from_array(given[name], name) for name in names if given.get(name) is not None
    )
    return model


def test_converters_stand_in_the_family_of_an_operator_that_they_make(made_by):
    wrong = {}
    for op_type in claimed():
        home = _home(converter_for(op_type))
        # Quantized operators are computed on whole numbers by operators of other families.
        if home != "quantization" and op_type in made_by and home not in made_by[op_type]:
            wrong[op_type] = (home, made_by[op_type])
    assert not wrong
    assert len(made_by.keys() & set(claimed())) > 100


def _home(converter) -> str:
    """The module of a converter, or of the functions that one of `converts_to` calls."""
    makers = [cell.cell_contents for cell in converter.__closure__ or () if isinstance(cell.cell_contents, dict)]
    homes = {family(make) for item in makers for make in item.values()}
    return homes.pop() if homes else family(converter)
