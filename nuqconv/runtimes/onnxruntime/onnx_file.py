"""An ONNX model, whoever made it, in onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from nuqconv.backends.onnx.lower import PRODUCER
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.onnx import fed_inputs, read_onnx
from nuqconv.ir import Array
from nuqconv.runtimes.loaded import Side
from nuqconv.runtimes.onnxruntime.session import OnnxSession, SessionMaker

__all__ = ["OnnxSide"]


class OnnxSide(Side):
    """An ONNX model in onnxruntime.

    Args:
        model: The model or its file.
        label: What it is; by default the file's path.
        blobs: Name of a value in the model -> blob that it is; others keep their names.
        input_blobs: The same for inputs.
        create: Makes sessions, as in `OnnxSession`.
    """

    keeps_states = True

    def __init__(
        self,
        model: ModelProto | str | os.PathLike[str],
        label: str | None = None,
        blobs: Mapping[str, str] | None = None,
        input_blobs: Mapping[str, str] | None = None,
        *,
        create: SessionMaker | None = None,
    ) -> None:
        self._create = create
        self.model = model if isinstance(model, ModelProto) else read_onnx(model)
        if label is None:
            label = f"ONNX model '{self.model.graph.name}'" if isinstance(model, ModelProto) else str(Path(model))
        self.label = f"onnxruntime: {label}"
        self.own = self.model.producer_name == PRODUCER
        constants = {item.name: item for item in self.model.graph.initializer}
        self._constants = constants
        self._makers = {name: node for node in self.model.graph.node for name in node.output if name}
        renamed = blobs or {}
        self._values = {renamed.get(name, name): name for name in self._makers}
        # Of an input that in-place layers write, the last value behind the input is what its blob holds in the end.
        for blob in [item.name for item in fed_inputs(self.model) if item.name not in self._makers]:
            last = [name for name in self._makers if name.startswith(f"{blob}@")]
            if last and blob not in self._values:
                self._values[blob] = last[-1]
        self.names = tuple(self._values)
        self.outputs = tuple(renamed.get(item.name, item.name) for item in self.model.graph.output)
        self._last: tuple[tuple[str, ...], bool, OnnxSession] | None = None
        self._inputs: dict[str, str] = {}
        self._types: dict[str, np.dtype[Any]] = {}
        self.inputs = {}
        for item in fed_inputs(self.model):
            blob = (input_blobs or {}).get(item.name, item.name.removesuffix("@input"))
            self._inputs[blob] = item.name
            try:
                self._types[item.name] = helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
            except (KeyError, ValueError) as error:
                raise UnsupportedError(
                    f"{self.label}: input '{item.name}' is no tensor of a known type; only tensors can be compared"
                ) from error
            dims = item.type.tensor_type.shape.dim
            # Some exporters write -1 for an open size.
            self.inputs[blob] = tuple(d.dim_value if d.dim_value > 0 else None for d in dims)

    def run(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Runs the model with these values as its outputs; inputs may have other sizes than the file says, if its layers allow it."""
        fits = all(
            len(self.inputs[blob]) == array.ndim
            and all(size in (None, found) for size, found in zip(self.inputs[blob], array.shape, strict=True))
            for blob, array in inputs.items()
        )
        session = self._session(tuple(self._values[name] for name in names), fits=fits)
        feeds = {self._inputs[blob]: array for blob, array in inputs.items() if self._inputs[blob] in session.inputs}
        typed = {name: np.asarray(array, self._types[name]) for name, array in feeds.items()}
        found = session.run(typed)
        return {name: found[self._values[name]] for name in names}

    def bottoms(self, name: str) -> tuple[str, ...] | None:
        """The values that the node of a value reads, also inside its branches and bodies; inputs by their blobs' names."""
        node = self._makers.get(self._values.get(name, name))
        if node is None:
            return None
        return tuple(dict.fromkeys(self._blobs.get(value, value) for value in _read(node) if self._is_computed(value)))

    @cached_property
    def _blobs(self) -> dict[str, str]:
        return {value: blob for blobs in (self._values, self._inputs) for blob, value in blobs.items()}

    def alone(self, name: str, given: Mapping[str, Array]) -> Array | None:
        """Runs the nodes between the given values and the one that is wanted as a model of their own."""
        known = {self._values.get(item, self._inputs.get(item, item)): array for item, array in given.items()}
        feeds = {item: np.asarray(array, self._types.get(item, array.dtype)) for item, array in known.items()}
        value = self._values[name]
        waiting, needed = [value], set[str]()
        while waiting:
            item = waiting.pop()
            if item not in feeds and item not in needed and self._is_computed(item):
                if item not in self._makers:
                    return None
                needed.add(item)
                waiting.extend(_read(self._makers[item]))
        nodes = [node for node in self.model.graph.node if needed.intersection(node.output)]
        used = {item for node in nodes for item in _read(node)}
        part = ModelProto(ir_version=self.model.ir_version)
        part.opset_import.extend(self.model.opset_import)
        part.functions.extend(self.model.functions)
        part.graph.name = f"{self.model.graph.name}: {name}"
        part.graph.node.extend(nodes)
        part.graph.initializer.extend(item for key, item in self._constants.items() if key in used)
        feeds = {item: array for item, array in feeds.items() if item in used}
        part.graph.input.extend(
            helper.make_tensor_value_info(item, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for item, array in feeds.items()
        )
        part.graph.output.add(name=value)
        return OnnxSession(part, create=self._create).run(feeds)[value]

    def sizes(self, inputs: Mapping[str, Array]) -> dict[str, int]:
        """Lets onnxruntime say the shapes of all values, which takes no memory for them."""
        probe = ModelProto()
        probe.CopyFrom(self.model)
        wanted = {blob: f"{value}/shape of it" for blob, value in self._values.items()}
        for blob, shape in wanted.items():
            probe.graph.node.add(op_type="Shape", input=[self._values[blob]], output=[shape])
        del probe.graph.output[:]
        probe.graph.output.extend(
            helper.make_tensor_value_info(shape, TensorProto.INT64, None) for shape in wanted.values()
        )
        try:
            blobs = {value: blob for blob, value in self._inputs.items()}
            side = OnnxSide(probe, self.label, input_blobs=blobs, create=self._create)
            found = side.run(inputs, list(wanted.values()))
        except (ModelError, UnsupportedError):
            # A value need not be a tensor.
            return {}
        return {blob: 4 * int(np.prod(found[shape])) for blob, shape in wanted.items()}

    def _is_computed(self, value: str) -> bool:
        return bool(value) and value not in self._constants

    def _session(self, outputs: tuple[str, ...], *, fits: bool) -> OnnxSession:
        """Returns the session for outputs; the last one stays."""
        if self._last is None or self._last[:2] != (outputs, fits):
            model = self.model if fits else _with_open_sizes(self.model)
            self._last = (outputs, fits, OnnxSession(model, outputs=outputs, create=self._create))
        return self._last[2]

    def layer(self, name: str) -> tuple[str, str]:
        """Name and operator of the node."""
        node = self._makers.get(self._values.get(name, ""))
        return (name, "") if node is None else (node.name or name, node.op_type)

    def parameters(self, layer: str) -> tuple[Array, ...] | None:
        """The tensors that this package names after a layer; None where there are none."""
        found: list[Array] = []
        while f"{layer}/{len(found)}" in self._constants:
            found.append(numpy_helper.to_array(self._constants[f"{layer}/{len(found)}"]))
        return tuple(found) or None


def _read(node: NodeProto) -> list[str]:
    """Returns the values that a node reads, those of branches and bodies that stand outside of them among them."""
    found = [value for value in node.input if value]
    for attribute in node.attribute:
        graphs: list[GraphProto] = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
        for graph in graphs:
            inner = {item.name for item in graph.input} | {item.name for item in graph.initializer}
            for part in graph.node:
                found += [value for value in _read(part) if value not in inner]
                inner.update(part.output)
            found += [item.name for item in graph.output if item.name not in inner]
    return found


def _with_open_sizes(model: ModelProto) -> ModelProto:
    """Returns a copy whose inputs and values have no fixed sizes."""
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for item in copy.graph.input:
        for number, dim in enumerate(item.type.tensor_type.shape.dim):
            dim.dim_param = f"{item.name}/{number}"
    for item in copy.graph.output:
        item.type.tensor_type.ClearField("shape")
    return copy
