"""ONNX: one .onnx file, with tensors beside it if it says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from nuqconv.backends.onnx import batch_problems, newest_opset, styles, write_onnx
from nuqconv.backends.onnx.lower import PRODUCER, lower_graph
from nuqconv.errors import UnsupportedError
from nuqconv.files.sniff import is_text, top_fields
from nuqconv.formats.base import FileKind, Format
from nuqconv.formats.form import Form, WriteGraph, WriteOptions, is_quantized
from nuqconv.formats.source import ModelFiles
from nuqconv.frontends.onnx import fed_inputs, read_onnx
from nuqconv.frontends.onnx.build import graph_of
from nuqconv.frontends.options import AS_THEY_ARE, ReadGraph, ReadOptions
from nuqconv.ir import Graph

__all__ = ["FAKE_QUANT", "FLOAT", "INTEGER", "MODEL", "NUQ", "ONNX", "QDQ"]

_VARINT, _LENGTH = 0, 2
_GRAPH = 7
_WIRES = {1: _VARINT, 2: _LENGTH, 3: _LENGTH, 4: _LENGTH, 5: _VARINT, 6: _LENGTH, _GRAPH: _LENGTH, 8: _LENGTH}
"""Fields of a ModelProto up to its graph, which are written first; a NetParameter of Caffe has a text as 1 and a number as 7."""


def _is_model(path: Path) -> bool:
    # A text can begin like the field of a message: a colon is the graph's.
    if is_text(path):
        return False
    for number, wire in top_fields(path):
        if _WIRES.get(number) != wire:
            return False
        if number == _GRAPH:
            return True
    return False


MODEL = FileKind("ONNX model", (".onnx",), _is_model)


@dataclass(frozen=True)
class OnnxForm(Form):
    """A form of ONNX models.

    Attributes:
        style: What quantized layers become.
    """

    style: styles.Style = styles.FAKE_QUANT

    def writer(self, options: WriteOptions | None = None) -> WriteGraph:
        """Returns what writes graphs."""
        chosen = options or WriteOptions()

        def write(graph: Graph, paths: Sequence[Path]) -> None:
            self.save(graph, paths, chosen)

        return write

    def save(self, graph: Graph, paths: Sequence[Path], options: WriteOptions | None = None) -> None:
        """Writes a graph to a file that appears whole or not at all."""
        self.check(graph)
        chosen = options or WriteOptions()
        (path,) = paths
        open_batch = not batch_problems(graph) if chosen.dynamic_batch is None else chosen.dynamic_batch
        write_onnx(
            graph, path, opset=chosen.opset, style=self.style, dynamic_batch=open_batch, metadata=chosen.metadata
        )


FLOAT = OnnxForm("float", quantized=False)
FAKE_QUANT = OnnxForm("fake_quant", {"fake_quant_onnx": "_fake_quant_model.onnx"})
INTEGER = OnnxForm("integer", style=styles.INTEGER)
QDQ = OnnxForm("qdq", {"qdq_onnx": "_qdq_model.onnx"}, style=styles.QDQ)
NUQ = OnnxForm("nuq", {"nuq_onnx": "_nuq_model.onnx"}, style=styles.PACKED)


class _OnnxFile(ModelFiles):
    """An .onnx file."""

    _message: ModelProto | None = None
    _inputs: Mapping[str, tuple[int | None, ...]] | None = None

    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Returns the inputs that are fed; they are kept when the numbers of the file are not."""
        with self._lock:
            if self._inputs is None:
                self._message = self._message or read_onnx(self.model)
                self._inputs = {
                    item.name: tuple(
                        size.dim_value if size.dim_value > 0 else None for size in item.type.tensor_type.shape.dim
                    )
                    for item in fed_inputs(self._message)
                }
            return dict(self._inputs)

    def _read(self, options: ReadOptions) -> ReadGraph:
        # The message would keep the numbers of the whole file in memory once more.
        message, self._message = self._message, None
        return graph_of(read_onnx(self.model) if message is None else message, str(self.model), options)

    def forget(self) -> None:
        """Gives up what was read, the message too."""
        with self._lock:
            self._message = None
            super().forget()


class _Onnx(Format):
    """ONNX."""

    name = "onnx"
    kinds = (MODEL,)
    forms = (FLOAT, FAKE_QUANT, INTEGER, QDQ, NUQ)
    trial = FAKE_QUANT
    open_sizes = True
    runs_in_caffe = False

    def open(self, paths: tuple[Path, ...], options: ReadOptions = AS_THEY_ARE) -> ModelFiles:
        """Returns the file of a model, not read yet."""
        return _OnnxFile(self, paths, options)

    def form(self, graph: Graph, *, integer: bool = False) -> Form:
        """Returns the form whose numbers are those of the graph."""
        if integer:
            return INTEGER
        return FAKE_QUANT if is_quantized(graph) else FLOAT

    def problems(self, graph: Graph) -> tuple[str, ...]:
        """Returns a line for each layer that has no form in ONNX."""
        try:
            lower_graph(graph)
        except UnsupportedError as error:
            return tuple(error.problems)
        return ()

    def foreign(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """Returns the file, unless it names nuqconv as its producer."""
        (path,) = paths
        if not path.exists():
            return ()
        try:
            producer = onnx.load(path, load_external_data=False).producer_name
        except DecodeError:
            return (path,)
        return () if producer == PRODUCER else (path,)

    def chosen(self, options: WriteOptions, target: Path, *, integer: bool = False) -> WriteOptions:
        """Takes the newest opset where none was chosen."""
        del target, integer
        return options if options.opset is not None else replace(options, opset=newest_opset())


ONNX = _Onnx()
