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

__all__ = ["definition_text", "weights_bytes", "write_caffe"]

_LIMIT = 2**31 - 1


def write_caffe(
    graph: Graph,
    model_file: str | Path,
    weights_file: str | Path,
    style: Style = Style.FAKE_QUANT,
    extra: list[OutputLayer] | None = None,
) -> None:
    """Writes a graph as a Caffe model.

    Args:
        graph: A float or quantized graph.
        model_file: The .prototxt to write.
        weights_file: The .caffemodel to write.
        style: What quantized layers become.
        extra: Layers to add at the end.

    Raises:
        UnsupportedError: A node has no Caffe form.
        OutputError: A file cannot be written, or the weights exceed protobuf's 2 GiB.
    """
    layers = [*emit(graph, style), *(extra or [])]
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
