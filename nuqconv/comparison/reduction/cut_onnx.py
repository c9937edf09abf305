"""Parts of an ONNX model, whose nodes stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import EncodeError
from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto, helper, shape_inference

from nuqconv.comparison.reduction.cut import Cuttable, Step, Written
from nuqconv.formats import ONNX
from nuqconv.frontends.onnx import fed_inputs
from nuqconv.ir import Array
from nuqconv.ir.ops import Shape

__all__ = ["CuttableOnnx"]

_INPUT = "@input"


class CuttableOnnx(Cuttable):
    """An ONNX model, cut between its nodes.

    Args:
        model: The model, with its tensors.
    """

    names_values = False

    def __init__(self, model: ModelProto) -> None:
        self.model = model = _with_states_named(model)
        self._constants = {item.name for item in model.graph.initializer}
        self._constants.update(item.values.name for item in model.graph.sparse_initializer)
        self.inputs = tuple(item.name for item in fed_inputs(model))
        self.steps = tuple(self._step(node, number) for number, node in enumerate(model.graph.node))
        moving = set(self.inputs)
        for step in self.steps:
            if moving.intersection(step.reads):
                moving.update(step.makes)
        # What is computed from constants alone goes with those who read it.
        self.feedable = frozenset(moving)
        self._types = {item.name: item.type for item in _with_types(model)}

    def _step(self, node: NodeProto, number: int) -> Step:
        reads = dict.fromkeys(name for name in _reads(node) if name and name not in self._constants)
        name = node.name or next((name for name in node.output if name), f"node {number}")
        return Step(name, node.op_type, tuple(reads), tuple(name for name in node.output if name))

    def key(self, value: str) -> str:
        """The name without what tells an input from later states of its blob."""
        return value.removesuffix(_INPUT)

    def shape(self, value: str) -> Shape | None:
        """What the model says, or ONNX's shape inference."""
        if value not in self._types or not self._types[value].tensor_type.HasField("shape"):
            return None
        dims = self._types[value].tensor_type.shape.dim
        return tuple(dim.dim_value for dim in dims) if all(dim.dim_value > 0 for dim in dims) else None

    def write(
        self, steps: Sequence[int], fed: Mapping[str, Array], folder: Path, stem: str, names: Mapping[str, str]
    ) -> Written:
        """Writes them as an .onnx file."""
        source = self.model.graph
        nodes = [source.node[number] for number in steps]
        graph = GraphProto(name=source.name, node=nodes)
        used = {name for node in nodes for name in _reads(node)}
        graph.initializer.extend(item for item in source.initializer if item.name in used)
        graph.sparse_initializer.extend(item for item in source.sparse_initializer if item.values.name in used)
        graph.input.extend(self._input(name, array) for name, array in fed.items())
        model = ModelProto()
        model.CopyFrom(_without_graph(self.model))
        model.graph.CopyFrom(graph)
        known = {item.name: item.type for item in _with_types(model)}
        for name in self.ends(steps):
            kind = known.get(name) or (_without_sizes(self._types[name]) if name in self._types else None)
            model.graph.output.append(ValueInfoProto(name=name, type=kind))
        _rename(model.graph, names)
        paths = (folder / f"{stem}{ONNX.kinds[0].suffixes[0]}",)
        onnx.save(model, paths[0])
        return Written(paths, names, {name: self.key(names.get(name, name)) for name in fed})

    def _input(self, name: str, array: Array) -> ValueInfoProto:
        known = self._types.get(name)
        kind = 0 if known is None else known.tensor_type.elem_type
        return helper.make_tensor_value_info(name, kind or helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _with_states_named(model: ModelProto) -> ModelProto:
    """Names the states of an input that layers in place write as a graph does: first ``blob@input``, and the last one by the blob."""
    made = [name for node in model.graph.node for name in node.output if name]
    names: dict[str, str] = {}
    for item in fed_inputs(model):
        states = [name for name in made if name.startswith(f"{item.name}@")]
        if states and item.name not in made:
            names.update({item.name: f"{item.name}{_INPUT}", states[-1]: item.name})
    if not names:
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    _rename(copy.graph, names)
    return copy


def _reads(node: NodeProto) -> Iterator[str]:
    """Yields what a node reads, its branches and bodies included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            own = {*(item.name for item in graph.input), *(item.name for item in graph.initializer)}
            own.update(name for inner in graph.node for name in inner.output)
            yield from (name for inner in graph.node for name in _reads(inner) if name not in own)
            # A branch can hand on a value from outside as it is.
            yield from (item.name for item in graph.output if item.name not in own)


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Gives values other names, in branches and bodies too."""
    for node in graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _rename(inner, names)
    items: list[Any] = [*graph.input, *graph.output, *graph.value_info]
    for item in items:
        item.name = names.get(item.name, item.name)


def _without_graph(model: ModelProto) -> ModelProto:
    copy = ModelProto(ir_version=model.ir_version, producer_name="nuqconv reduce")
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    return copy


def _with_types(model: ModelProto) -> Iterator[ValueInfoProto]:
    """Yields all values whose type is known."""
    try:
        found = shape_inference.infer_shapes(model)
    except (shape_inference.InferenceError, EncodeError, ValueError):
        # More than protobuf's 2 GiB, or a fault that is perhaps what is looked for: what the model itself says has to do.
        found = model
    yield from (*found.graph.input, *found.graph.value_info, *found.graph.output)


def _without_sizes(kind: TypeProto) -> TypeProto:
    """The sizes are those of the whole model's inputs, which parts need not have."""
    copy = TypeProto()
    copy.tensor_type.elem_type = kind.tensor_type.elem_type
    return copy
