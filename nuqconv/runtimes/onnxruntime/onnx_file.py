"""An ONNX model, whoever made it, in onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from nuqconv.errors import UnsupportedError
from nuqconv.frontends.onnx import fed_inputs, read_onnx
from nuqconv.ir import Array
from nuqconv.runtimes.loaded import Side
from nuqconv.runtimes.onnxruntime.session import OnnxSession

__all__ = ["OnnxSide"]


class OnnxSide(Side):
    """An ONNX model in onnxruntime.

    Args:
        model: The model or its file.
        label: What it is; by default the file's path.
        blobs: Name of a value in the model -> blob that it is; others keep their names.
        input_blobs: The same for inputs.
    """

    keeps_states = True

    def __init__(
        self,
        model: ModelProto | str | os.PathLike[str],
        label: str | None = None,
        blobs: Mapping[str, str] | None = None,
        input_blobs: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model if isinstance(model, ModelProto) else read_onnx(model)
        if label is None:
            label = f"ONNX model '{self.model.graph.name}'" if isinstance(model, ModelProto) else str(Path(model))
        self.label = f"onnxruntime: {label}"
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

    def _session(self, outputs: tuple[str, ...], *, fits: bool) -> OnnxSession:
        """Returns the session for outputs; the last one stays."""
        if self._last is None or self._last[:2] != (outputs, fits):
            model = self.model if fits else _with_open_sizes(self.model)
            self._last = (outputs, fits, OnnxSession(model, outputs=outputs))
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
