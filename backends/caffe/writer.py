"""Graph -> .prototxt and .caffemodel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from nuqconv.backends.caffe.emit import Style, emit
from nuqconv.backends.caffe.layer import OutputLayer
from nuqconv.errors import OutputError
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.ir import Graph
from nuqconv.staging import move_into_place, staging_folder

__all__ = ["definition_text", "save_caffe", "weights_bytes", "write_caffe"]

_LIMIT = 2**31 - 1


def save_caffe(graph: Graph, model_file: str | Path, weights_file: str | Path, style: Style = Style.FAKE_QUANT) -> None:
    """Writes a graph as a Caffe model whose two files appear together or not at all; see `write_caffe`."""
    model, weights = Path(model_file), Path(weights_file)
    with staging_folder(model) as folder:
        staged = (folder / "model.prototxt", folder / "model.caffemodel")
        write_caffe(graph, *staged, style)
        move_into_place({model: staged[0], weights: staged[1]})


def write_caffe(
    graph: Graph, model_file: str | Path, weights_file: str | Path, style: Style = Style.FAKE_QUANT
) -> None:
    """Writes a graph as a Caffe model, file by file: into a folder that is not finished yet.

    Args:
        graph: A float or quantized graph.
        model_file: The .prototxt to write.
        weights_file: The .caffemodel to write.
        style: What quantized layers become.

    Raises:
        UnsupportedError: A node has no Caffe form.
        OutputError: A file cannot be written, or the weights exceed protobuf's 2 GiB.
    """
    layers = emit(graph, style)
    data = weights_bytes(graph.name, layers)
    try:
        Path(model_file).write_text(definition_text(graph.name, layers), encoding="utf-8", newline="\n")
        Path(weights_file).write_bytes(data)
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be written: {error.strerror}") from error


def definition_text(name: str, layers: list[OutputLayer]) -> str:
    """Returns the text of the .prototxt."""
    header = text_format.MessageToString(NetParameter(name=name))
    return header + "".join(layer.entry() for layer in layers)


def weights_bytes(name: str, layers: list[OutputLayer]) -> bytes:
    """Returns the bytes of the .caffemodel.

    Raises:
        OutputError: They exceed protobuf's 2 GiB.
    """
    net: Any = NetParameter(name=name)
    for layer in layers:
        net.layer.append(layer.record())
    if net.ByteSize() > _LIMIT:
        raise OutputError(f"network '{name}': its weights exceed the 2 GiB that a .caffemodel can hold")
    return bytes(net.SerializeToString(deterministic=True))
