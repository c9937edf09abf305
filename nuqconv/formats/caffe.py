"""Caffe: a .prototxt with its .caffemodel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nuqconv.backends.caffe import CaffeWriter, Style, emit, save_caffe
from nuqconv.backends.caffe.signature import unsigned
from nuqconv.errors import ConfigError, OutputError, UnsupportedError
from nuqconv.files.sniff import beginning, top_fields
from nuqconv.formats.base import FileKind, Format
from nuqconv.formats.form import Form, WriteGraph, WriteOptions, is_quantized
from nuqconv.formats.source import ModelFiles
from nuqconv.frontends.caffe.build import read_model
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.frontends.options import AS_THEY_ARE, ReadGraph, ReadOptions
from nuqconv.ir import Graph

__all__ = ["CAFFE", "DEFINITION", "DEPLOY", "FAKE_QUANT", "FLOAT", "WEIGHTS"]

_LAYERS, _OLD_LAYERS, _NAME = 100, 2, 1
_LENGTH = 2

# The first field of a network definition, behind blanks and comments; a field of a fork's own may stand first, then the name has to tell.
_FIRST_FIELD = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?:\s|#[^\n]*\n)*(?:%s)\s*[:{<]"
    % b"|".join(map(str.encode, NetParameter.DESCRIPTOR.fields_by_name))
)


def _is_definition(path: Path) -> bool:
    return _FIRST_FIELD.match(beginning(path)) is not None


def _is_weights(path: Path) -> bool:
    """Whether a file is a NetParameter: an ONNX model has no layers, and a number where this has its name."""
    layers = False
    for number, wire in top_fields(path):
        if number in (_LAYERS, _OLD_LAYERS, _NAME) and wire != _LENGTH:
            return False
        if number == _LAYERS:
            return True
        if number not in _NUMBERS:
            return False
        layers = layers or number == _OLD_LAYERS
    return layers


_NUMBERS = frozenset(NetParameter.DESCRIPTOR.fields_by_number)

DEFINITION = FileKind("network definition (.prototxt)", (".prototxt", ".prototxt.txt", ".pbtxt"), _is_definition)
WEIGHTS = FileKind("trained weights (.caffemodel)", (".caffemodel", ".caffemodel.h5"), _is_weights)


@dataclass(frozen=True)
class CaffeForm(Form):
    """A form of Caffe models.

    Attributes:
        style: What quantized layers become.
    """

    style: Style = Style.FAKE_QUANT

    def writer(self, options: WriteOptions | None = None) -> WriteGraph:
        """Returns what writes one graph after another, and makes again only those layers that differ from the last graph's."""
        del options
        keeping = CaffeWriter()

        def write(graph: Graph, paths: Sequence[Path]) -> None:
            model, weights = paths
            keeping.write(graph, model, weights, self.style)

        return write

    def save(self, graph: Graph, paths: Sequence[Path], options: WriteOptions | None = None) -> None:
        """Writes a graph to files that appear together or not at all."""
        self.check(graph)
        model, weights = paths
        if weights.name.lower().endswith(".h5"):
            raise OutputError(
                f"{weights}: weights are written as .caffemodel only; Caffe's HDF5 form is read, not written"
            )
        save_caffe(graph, model, weights, self.style, signed=options is not None and options.signed)


FLOAT = CaffeForm("float", quantized=False)
FAKE_QUANT = CaffeForm(
    "fake_quant",
    {"fake_quant_model": "_fake_quant_model.prototxt", "fake_quant_weights": "_fake_quant_weights.caffemodel"},
)
DEPLOY = CaffeForm(
    "deploy",
    {"deploy_model": "_deploy_model.prototxt", "deploy_weights": "_deploy_weights.caffemodel"},
    needs_ranges=True,
    levels=(16, 32),
    style=Style.DEPLOY,
)


class _CaffeFiles(ModelFiles):
    """A .prototxt and its .caffemodel."""

    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Returns the blobs of the inputs."""
        graph = self.read().graph
        return {graph.storage_name(item.name): tuple(item.shape) for item in graph.inputs}

    def _read(self, options: ReadOptions) -> ReadGraph:
        return read_model(self.model, self.weights, options)


class _Caffe(Format):
    """Caffe."""

    name = "caffe"
    kinds = (DEFINITION, WEIGHTS)
    forms = (FLOAT, FAKE_QUANT, DEPLOY)
    trial = FAKE_QUANT
    open_sizes = False
    runs_in_caffe = True
    incomplete = "a .prototxt needs its .caffemodel; only an .onnx model stands alone"

    def open(self, paths: tuple[Path, ...], options: ReadOptions = AS_THEY_ARE) -> ModelFiles:
        """Returns the files of a model, not read yet."""
        return _CaffeFiles(self, paths, options)

    def form(self, graph: Graph, *, integer: bool = False) -> Form:
        """Returns the deploy form for quantized graphs: its weights stay integers, and it can be read again."""
        del integer
        return DEPLOY if is_quantized(graph) else FLOAT

    def problems(self, graph: Graph) -> tuple[str, ...]:
        """Returns a line for each layer that stock Caffe cannot express."""
        try:
            emit(graph)
        except UnsupportedError as error:
            return tuple(error.problems)
        return ()

    def foreign(self, paths: Sequence[Path]) -> tuple[Path, ...]:
        """Returns the files that the signature in the .prototxt does not speak of, or not as they are now."""
        model, weights = paths
        return unsigned(model, weights)

    def chosen(self, options: WriteOptions, target: Path, *, integer: bool = False) -> WriteOptions:
        """Refuses what only ONNX has."""
        if options.opset is not None or options.dynamic_batch or integer:
            raise ConfigError(f"{target}: opset, dynamic batch and integer arithmetic belong to .onnx")
        return options


CAFFE = _Caffe()
