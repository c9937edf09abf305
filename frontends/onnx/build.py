"""ONNX model -> Graph."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, inliner, numpy_helper

from nuqconv.errors import FormatError, ModelError, UnsupportedError
from nuqconv.frontends.onnx import converters
from nuqconv.frontends.onnx.control import taken_branch
from nuqconv.frontends.onnx.files import read_onnx
from nuqconv.frontends.onnx.folding import fold, folded_shape
from nuqconv.frontends.onnx.functions import body_of
from nuqconv.frontends.onnx.inputs import declared_shapes, graph_inputs
from nuqconv.frontends.onnx.integers import as_quantized
from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.types import element_types
from nuqconv.frontends.options import AS_THEY_ARE, ReadGraph, ReadOptions
from nuqconv.ir import Array, Graph
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Identity
from nuqconv.passes import straighten_layout

__all__ = ["OLDEST_OPSET", "graph_of", "read_onnx_model"]

_LOG = logging.getLogger(__name__)

OLDEST_OPSET = 7


def read_onnx_model(path: str | os.PathLike[str], options: ReadOptions = AS_THEY_ARE) -> ReadGraph:
    """Reads an ONNX model of opset 7 or later.

    What does not depend on the inputs is computed beforehand, shapes among it. All values are float32 in the graph: truth values are 0 and 1, whole
    numbers stay whole (decision D28). A node that has no form in the graph is Opaque, with the reason.

    Args:
        path: The .onnx file; external data lie beside it.
        options: Shapes of inputs, also where they fix another size than the file's.

    Returns:
        The graph and what was noted.

    Raises:
        FormatError: The file cannot be read.
        UnsupportedError: Its opset is older or newer than what is known.
        ModelError: Sizes of inputs are open or do not fit, or the model is wrong in itself; all faults are listed.
    """
    return graph_of(read_onnx(path), str(Path(path)), options)


def graph_of(model: ModelProto, file: str = "model", options: ReadOptions = AS_THEY_ARE) -> ReadGraph:
    """Does what `read_onnx_model` does with a model in memory, whose tensors are in it; see there.

    Args:
        model: The model; it is not changed.
        file: What messages call it.
        options: As there.
    """
    versions = _versions(model, file)
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # the C++ part raises RuntimeError and others
            raise ModelError(f"{file}: its functions cannot be put in place: {error}") from error
    constants: dict[str, Array] = {}
    for tensor in model.graph.initializer:
        try:
            constants[tensor.name] = numpy_helper.to_array(tensor)
        except (TypeError, ValueError, KeyError) as error:
            raise FormatError(f"{file}: tensor '{tensor.name}' cannot be read: {error}") from error
    if model.graph.sparse_initializer:
        raise UnsupportedError(f"{file}: has sparse tensors, which are not read; store them as dense ones")
    notes: list[str] = []
    inputs = graph_inputs(model, file, options.input_shapes, notes)
    reading = Reading(file, constants, {item.name: item.shape for item in inputs}, element_types(model))
    reading.notes = notes
    nodes = _needed(model.graph.node, [item.name for item in model.graph.output])
    reading.reserve([name for node in nodes for name in node.output])
    reading.note_readers(item.name for item in model.graph.output)
    reading.declared = declared_shapes(model)
    reading.softened = _softened(nodes, [item.name for item in model.graph.output])
    _convert_all(reading, nodes, versions)
    outputs = tuple(dict.fromkeys(_output(reading, item, model) for item in model.graph.output))
    used = {name for node in reading.nodes for name in node.params}
    graph = Graph(
        model.graph.name or Path(file).stem,
        tuple(inputs),
        tuple(reading.nodes),
        {name: array for name, array in reading.params.items() if name in used},
        outputs,
    )
    try:
        graph = as_quantized(straighten_layout(graph.verify()), reading.stored).verify()
    except ModelError as error:
        raise ModelError(f"{file}: the model is not valid", error.problems) from error
    for note in notes:
        _LOG.info("%s", note)
    return ReadGraph(graph, tuple(notes))


def _versions(model: ModelProto, file: str) -> dict[str, int]:
    versions = {("" if item.domain == "ai.onnx" else item.domain): item.version for item in model.opset_import}
    if not versions and model.ir_version < 3:
        versions[""] = 1
    newest = onnx.defs.onnx_opset_version()
    version = versions.get("", newest)
    if not OLDEST_OPSET <= version <= newest:
        remedy = "update onnx" if version > newest else "convert it with onnx.version_converter first"
        raise UnsupportedError(f"{file}: is of opset {version}; {OLDEST_OPSET} to {newest} are read; {remedy}")
    return versions


def _needed(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """Leaves out nodes that no output needs."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(_read_by([node]))
    return kept[::-1]


def _read_by(nodes: Iterable[NodeProto]) -> set[str]:
    """Returns what nodes read, and what the graphs in them read or give."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                found.update(_read_by(graph.node), (item.name for item in graph.output))
    return found


# What hands masked scores on to a Softmax.
_ON_THE_WAY = frozenset(("Add", "Dropout", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Where"))


def _softened(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> frozenset[str]:
    """Returns the values of which nothing but a Softmax sees the numbers."""
    found: set[str] = set()
    seen = set(outputs)
    for node in reversed(nodes):
        soft = node.op_type == "Softmax" or (node.op_type in _ON_THE_WAY and set(node.output) <= found - seen)
        (found if soft else seen).update(_read_by([node]))
    return frozenset(found - seen)


def _views(nodes: Sequence[NodeProto], versions: Mapping[str, int]) -> list[NodeView]:
    counts = Counter(node.name for node in nodes)
    views: list[NodeView] = []
    taken: set[str] = set()
    for node in nodes:
        first = next((name for name in node.output if name), node.op_type)
        name = node.name if node.name and counts[node.name] == 1 else f"{node.op_type}:{first}"
        domain = "" if node.domain == "ai.onnx" else node.domain
        views.append(NodeView(node, fresh_name(name, taken), versions.get(domain, 1)))
    return views


def _convert_all(reading: Reading, nodes: Sequence[NodeProto], versions: Mapping[str, int]) -> None:
    reading.note_readers(_read_by(nodes))
    for view in _views(nodes, versions):
        try:
            branch = taken_branch(view, reading.constants)
        except (AttributeError, TypeError, ValueError):
            # An If without its branches, or with other numbers of outputs than they have.
            branch = None
        if branch is not None:
            _convert_all(reading, branch, versions)
            continue
        body = None if converters.converter_for(view.op_type) else _body(reading, view)
        if body is None:
            _convert(reading, view)
        else:
            inner, opsets = body
            reading.reserve([name for item in inner for name in item.output])
            _convert_all(reading, _needed(inner, view.outputs), opsets)


def _body(reading: Reading, node: NodeView) -> tuple[list[NodeProto], dict[str, int]] | None:
    """What ONNX defines an operator by, unless all its inputs are known, or a shape is not."""
    if all(name in reading.constants for name in node.inputs if name):
        return None
    try:
        return body_of(reading, node)
    except (CannotConvertError, IndexError, KeyError, TypeError, ValueError, RuntimeError):
        # A shape that is not known, or a node that breaks its operator's own rules.
        return None


def _convert(reading: Reading, node: NodeView) -> None:
    mark = reading.mark()
    try:
        constant = folded_shape(node, reading.shapes)
        if constant is not None:
            reading.constants[node.outputs[0]] = constant
            return
        # A DequantizeLinear of constants is noted by its converter; the reference implementation does not know it in all opsets.
        folded = None
        if node.op_type != "DequantizeLinear" or node.get("block_size", 0):
            folded = fold(node, reading.constants)
        if folded is not None:
            reading.constants.update(folded)
            return
        convert = converters.converter_for(node.op_type)
        if convert is None:
            reading.add_opaque(node, "the operator is not known")
        else:
            convert(reading, node)
    except CannotConvertError as error:
        reading.back_to(mark)
        reading.add_opaque(node, str(error))
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        # A node that breaks its operator's own rules; which one, a checker knows.
        reading.back_to(mark)
        reading.add_opaque(node, f"its attributes and inputs do not go together ({type(error).__name__}: {error})")


def _output(reading: Reading, item: ValueInfoProto, model: ModelProto) -> str:
    """An output that is a constant or an input gets a node."""
    name = item.name
    if name in reading.constants and name not in reading.shapes:
        try:
            return reading.parameter(name, reading.constants[name])
        except CannotConvertError as error:
            raise ModelError(f"{reading.file}: output '{name}': {error}") from error
    if name not in reading.shapes:
        raise ModelError(f"{reading.file}: output '{name}' is made by no node")
    if any(name == given.name for given in model.graph.input):
        proto = onnx.helper.make_node("Identity", [name], [f"{name}/output"])
        view = NodeView(proto, f"{name}/output", 13)
        reading.notes.append(f"{reading.file}: input '{name}' is an output too, which is called '{name}/output' here")
        return reading.add(view, Identity(), (name,))
    return name
