"""Runs graphs and ONNX models in onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, ValueInfoProto
from onnxruntime.capi import onnxruntime_pybind11_state as state

from nuqconv.backends.onnx import styles
from nuqconv.backends.onnx.batch import batch_problems
from nuqconv.backends.onnx.export import serialize
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.backends.onnx.opset import ORT_ERRORS, quiet_options
from nuqconv.backends.onnx.stream import LoweredModel
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.onnx.files import read_onnx
from nuqconv.ir import Array, Graph
from nuqconv.runtimes.onnxruntime.providers import CPU, check_used

__all__ = ["INEXACT_OPTIMIZERS", "OnnxSession", "SessionMaker", "session_maker"]

# These multiply or add constants into weights and biases beforehand. That rounds differently: a quantized layer's integer weights would
# become floats, and its sums would no longer be exact.
INEXACT_OPTIMIZERS = (
    "ConvAddFusion",
    "ConvBNFusion",
    "ConvMulFusion",
    "MatMulAddFusion",
    "MatMulIntegerToFloatFusion",
    "MatMulScaleFusion",
    "MatMul_BatchNormalization_Fusion",
)

_LARGE = 1 << 28
"""Bytes of weights from which on memory counts more than the last bit of speed."""

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


SessionMaker = Callable[[bytes, "int | None", str], Any]


class OnnxSession:
    """A network ready to run, on the CPU unless ``create`` says otherwise.

    A graph's batch size is left open where all layers allow it, so that any number of images runs in one call; otherwise the session
    takes the graph's own batch size, and an input of another size is refused with the layers that fix it. (`rebatch` gives a graph of
    another fixed size.) Weights are never multiplied out beforehand, so a quantized graph's integer sums are exact.

    Args:
        model: A graph, an ONNX model, or the path of an .onnx file.
        outputs: The values to compute; by default the network's outputs. A graph is cut behind them first, so layers that have no form
            in ONNX do not matter there. Of an ONNX model any value by name.
        threads: Number of threads, or None for onnxruntime's choice.
        integer: Whether a quantized graph computes on integers; only for graphs.
        create: Makes the session of a serialized model, a number of threads and a name for messages: `OnnxProcess.session` makes one in a child
            process. By default it lives here.

    Attributes:
        inputs: Shape of each input that is needed; None stands for an open size.
        outputs: Names of the outputs.

    Raises:
        ModelError: The model is wrong, or a value in ``outputs`` does not exist.
        UnsupportedError: Layers have no form in ONNX, or onnxruntime cannot run the model.
        FormatError: The file cannot be read.
    """

    def __init__(
        self,
        model: Graph | ModelProto | str | os.PathLike[str],
        *,
        outputs: Sequence[str] | None = None,
        threads: int | None = None,
        integer: bool = False,
        create: SessionMaker | None = None,
    ) -> None:
        self._fixed: Sequence[str] = ()
        self._not_needed: frozenset[str] = frozenset()
        if isinstance(model, Graph):
            self._subject = f"network '{model.name}'"
            content: ModelProto | LoweredModel = self._from_graph(model, outputs, integer=integer)
        else:
            if integer:
                raise ValueError("integer=True goes with a Graph only; an ONNX model says itself how it computes")
            self._subject = (
                str(Path(model)) if not isinstance(model, ModelProto) else f"ONNX model '{model.graph.name}'"
            )
            proto = model if isinstance(model, ModelProto) else read_onnx(model)
            content = _with_outputs(proto, outputs, self._subject)
        self._session = self._made(content, create or _HERE, threads)
        self.inputs: Mapping[str, tuple[int | None, ...]] = {
            item.name: tuple(dim if isinstance(dim, int) and dim >= 0 else None for dim in item.shape)
            for item in self._session.get_inputs()
        }
        self.outputs: tuple[str, ...] = tuple(item.name for item in self._session.get_outputs())
        self._dtypes = {item.name: item.type for item in self._session.get_inputs()}

    def _made(self, content: ModelProto | LoweredModel, create: SessionMaker, threads: int | None) -> Any:
        if isinstance(content, ModelProto):
            return create(serialize(content, self._subject), threads, self._subject)
        if isinstance(create, _Here):
            return create.sharing(content, threads, self._subject)
        return create(b"".join(content.chunks()), threads, self._subject)

    @property
    def batch_size(self) -> int | None:
        """The one batch size that runs, or None when it is open (or there is no input)."""
        return next((shape[0] for shape in self.inputs.values() if shape), None)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the network once.

        Args:
            inputs: An array for each input, in the network's dtype (float32 for graphs). Inputs that the asked outputs do not need may be left out.
            outputs: Names of the outputs wanted, by default all; only those given to the constructor exist.

        Returns:
            New arrays by name, in the order of ``outputs``.

        Raises:
            ModelError: Inputs or outputs do not fit the network (all faults are listed), or onnxruntime fails.
        """
        wanted = self._wanted(inputs, outputs)
        return self._run(wanted, {name: inputs[name] for name in self.inputs})

    def _run(self, wanted: list[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
        try:
            results = self._session.run(wanted, {name: np.ascontiguousarray(array) for name, array in feeds.items()})
        except ORT_ERRORS as error:
            raise ModelError(f"{self._subject}: onnxruntime failed: {error}") from error
        return dict(zip(wanted, results, strict=True))

    def _from_graph(self, graph: Graph, outputs: Sequence[str] | None, *, integer: bool) -> LoweredModel:
        part = self._cut(graph, outputs)
        self._fixed = batch_problems(part)
        return lower_graph(part, style=styles.INTEGER if integer else styles.FAKE_QUANT, dynamic_batch=not self._fixed)

    def _cut(self, graph: Graph, outputs: Sequence[str] | None) -> Graph:
        """Returns the part of a graph that makes the outputs, and notes which inputs it does not need."""
        if outputs is None:
            return graph
        part = graph.up_to(tuple(dict.fromkeys(outputs)))
        kept = {item.name for item in part.inputs}
        self._not_needed = frozenset(item.name for item in graph.inputs if item.name not in kept)
        return part

    def _wanted(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> list[str]:
        """Returns the outputs that a run computes, after a check of all that it is given."""
        wanted = list(dict.fromkeys(self.outputs if outputs is None else outputs))
        problems = [
            f"output '{name}': the session computes only {', '.join(self.outputs)}; name it when making the session"
            for name in wanted
            if name not in self.outputs
        ]
        problems += self._input_problems(inputs)
        if problems:
            raise ModelError(f"{self._subject} cannot run", problems)
        return wanted

    def _input_problems(self, inputs: Mapping[str, Array]) -> list[str]:
        problems = []
        for name, shape in self.inputs.items():
            if name not in inputs:
                problems.append(f"input '{name}' {_text(shape)} is missing")
                continue
            array, dtype = np.asarray(inputs[name]), _DTYPES.get(self._dtypes[name])
            if dtype is not None and array.dtype != dtype:
                wanted = np.dtype(dtype)
                problems.append(
                    f"input '{name}' is {array.dtype}, expected {wanted}; convert it with .astype('{wanted}')"
                )
            if not _fits(array.shape, shape):
                problems.append(f"input '{name}' has shape {_text(array.shape)}, expected {_text(shape)}")
                if array.shape[1:] == shape[1:]:
                    problems += [f"the batch size is fixed: {reason}" for reason in self._fixed]
        unknown = [name for name in inputs if name not in self.inputs and name not in self._not_needed]
        if unknown:
            known = ", ".join(self.inputs) or "no inputs"
            problems.append(f"{', '.join(map(repr, unknown))}: no such input; the network has {known}")
        return problems or self._symbol_problems(inputs)

    def _symbol_problems(self, inputs: Mapping[str, Array]) -> list[str]:
        """An open size that several inputs share must be the same in all of them."""
        sizes: dict[str, dict[str, int]] = {}
        for item in (item for item in self._session.get_inputs() if item.name in self.inputs):
            for size, dim in zip(np.shape(inputs[item.name]), item.shape, strict=True):
                if isinstance(dim, str):
                    sizes.setdefault(dim, {})[item.name] = size
        return [
            f"the inputs differ in size {symbol}: " + ", ".join(f"'{name}' {size}" for name, size in found.items())
            for symbol, found in sizes.items()
            if len(set(found.values())) > 1
        ]


def session_maker(providers: Sequence[str], threads: int | None = None) -> SessionMaker:
    """Returns what makes sessions in this process that compute on execution providers, the first that can run an operator.

    Args:
        providers: onnxruntime's own names of them.
        threads: Number of threads of a session that is asked for without one; None for onnxruntime's choice.
    """
    return _Here(tuple(providers), threads)


class _Session(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session with the tensors that it does not own."""

    tensors: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Here:
    """Makes sessions in this process."""

    providers: tuple[str, ...] = (CPU,)
    threads: int | None = None

    def __call__(self, model: bytes, threads: int | None, subject: str) -> _Session:
        """Makes a session of a model's bytes."""
        return self._create(model, threads, subject, {})

    def sharing(self, model: LoweredModel, threads: int | None, subject: str) -> _Session:
        """Makes a session that reads large weights where the graph has them, instead of holding copies; other devices have memory of their own."""
        if self.providers != (CPU,):
            return self(b"".join(model.chunks()), threads, subject)
        skeleton, tensors = model.shared()
        return self._create(serialize(skeleton, subject), threads, subject, tensors)

    def _create(self, model: bytes, threads: int | None, subject: str, tensors: Mapping[str, Array]) -> _Session:
        options = quiet_options()
        # Threads that wait in a loop take the cores from others where the machine is busy.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        count = self.threads if threads is None else threads
        if count is not None:
            options.intra_op_num_threads = count
        values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in tensors.items()}
        if values:
            # The first is where optimizers find the numbers, the second what spares the copy.
            options.add_external_initializers(list(values), list(values.values()))
            for name, value in values.items():
                options.add_initializer(name, value)
        if sum(array.nbytes for array in tensors.values()) > _LARGE:
            # Weights of matrix products that are laid out beforehand are there twice.
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            session = _Session(
                model, options, providers=list(self.providers), disabled_optimizers=list(INEXACT_OPTIMIZERS)
            )
        except state.NotImplemented as error:
            raise UnsupportedError(f"{subject}: the installed onnxruntime cannot run it: {error}") from error
        except ORT_ERRORS as error:
            raise ModelError(f"{subject}: onnxruntime refuses it: {error}") from error
        session.tensors = tuple(values.values())
        check_used(self.providers, session.get_providers(), subject)
        return session


_HERE = _Here()


def _with_outputs(model: ModelProto, outputs: Sequence[str] | None, subject: str) -> ModelProto:
    """Returns the model, or a copy whose outputs are ``outputs``."""
    if outputs is None:
        return model
    present = {item.name: item for item in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    made = {name for node in model.graph.node for name in node.output if name} | set(present)
    missing = [name for name in outputs if name not in made]
    if missing:
        raise ModelError(f"{subject} has no value {', '.join(map(repr, missing))}")
    chosen: list[Any] = [present.get(name) or ValueInfoProto(name=name) for name in dict.fromkeys(outputs)]
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(chosen)
    return copy


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        size == dim or (dim is None and size > 0) for size, dim in zip(shape, wanted, strict=True)
    )


def _text(shape: Sequence[int | None]) -> str:
    return "x".join("N" if dim is None else str(dim) for dim in shape) or "scalar"
