"""Operators that ONNX itself defines by simpler ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, defs, helper, inliner

from nuqconv.frontends.onnx.reading import NodeView, Reading
from nuqconv.frontends.onnx.types import element_types

__all__ = ["body_of", "has_body"]


def has_body(op_type: str, version: int) -> bool:
    """Returns whether ONNX has a definition by simpler operators for one of its own operators in an opset."""
    return bool(_versions(_schema(op_type, version)))


def body_of(reading: Reading, node: NodeView) -> tuple[list[NodeProto], dict[str, int]] | None:
    """Returns the nodes that ONNX defines an operator by, and the version of the opset that they are of.

    Their inputs and outputs are those of the node; all other names begin with the node's name. The types of their values are made known.

    Args:
        reading: The graph as far as it is built, which knows types and shapes.
        node: The node.

    Returns:
        The nodes and opset versions by domain; None if ONNX has no such definition, or none for these inputs.
    """
    schema = None if "." in node.op_type else _schema(node.op_type, node.version)
    versions = [version for version in _versions(schema) if version <= node.version]
    if schema is None or not versions:
        return None
    if not schema.min_input <= len(node.inputs) <= schema.max_input or len(node.outputs) > schema.max_output:
        return None
    shapes = [reading.shape(node, index) if name else () for index, name in enumerate(node.inputs)]
    types = [reading.type_of(node, index) or TensorProto.FLOAT if name else 0 for index, name in enumerate(node.inputs)]
    function = onnx.FunctionProto()
    if schema.has_context_dependent_function:
        given = [
            helper.make_tensor_type_proto(kind, shape).SerializeToString() if kind else TypeProto().SerializeToString()
            for kind, shape in zip(types, shapes, strict=True)
        ]
        text = schema.get_context_dependent_function_with_opset_version(
            versions[-1], node.proto.SerializeToString(), given
        )
    else:
        text = schema.get_function_with_opset_version(versions[-1])
    if not text:
        return None
    function.ParseFromString(text)
    function.domain, function.name = "nuqconv.body", schema.name
    _set_defaults(function, schema)
    return _in_place(reading, node, function, list(zip(node.inputs, types, shapes, strict=True)))


def _schema(op_type: str, version: int) -> Any:
    try:
        return defs.get_schema(op_type, version)
    except defs.SchemaError:
        return None


def _versions(schema: Any) -> list[int]:
    if schema is None:
        return []
    return sorted({*schema.function_opset_versions, *schema.context_dependent_function_opset_versions})


def _set_defaults(function: onnx.FunctionProto, schema: Any) -> None:
    """Attributes that the node leaves out have the operator's defaults."""
    named = {item.name for item in function.attribute_proto}
    names = {*function.attribute, *schema.attributes} - named
    del function.attribute[:]
    for name in sorted(names):
        default = schema.attributes[name].default_value if name in schema.attributes else None
        if default is not None and default.type:
            function.attribute_proto.append(default)
        else:
            function.attribute.append(name)


def _in_place(
    reading: Reading, node: NodeView, function: onnx.FunctionProto, given: Sequence[tuple[str, int, Sequence[int]]]
) -> tuple[list[NodeProto], dict[str, int]]:
    """Puts the function in the place of a call that stands alone in a model."""
    call = NodeProto()
    call.CopyFrom(node.proto)
    call.domain, call.op_type = function.domain, function.name
    inputs = {name: helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in given if name}
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
    graph = helper.make_graph([call], "one", list(inputs.values()), outputs)
    opsets = [*function.opset_import, helper.make_opsetid(function.domain, 1)]
    model = inliner.inline_local_functions(helper.make_model(graph, opset_imports=opsets, functions=[function]))
    _rename(model.graph, node.name, {"": "", **{name: name for name in (*node.inputs, *node.outputs)}})
    reading.learn_types(element_types(model))
    return list(model.graph.node), {item.domain: item.version for item in function.opset_import}


def _rename(graph: GraphProto, prefix: str, kept: Mapping[str, str]) -> None:
    """Puts a prefix in front of all names but some."""
    for tensor in graph.initializer:
        tensor.name = kept.get(tensor.name, f"{prefix}/{tensor.name}")
    for value in [*graph.value_info, *graph.input, *graph.output]:
        value.name = kept.get(value.name, f"{prefix}/{value.name}")
    for node in graph.node:
        node.name = f"{prefix}/{node.name}" if node.name else ""
        node.input[:] = [kept.get(name, f"{prefix}/{name}") for name in node.input]
        node.output[:] = [kept.get(name, f"{prefix}/{name}") for name in node.output]
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _rename(inner, prefix, kept)
