"""ONNX files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError
from onnx import ModelProto

from nuqconv.backends.onnx import size
from nuqconv.backends.onnx.lower import lower_graph
from nuqconv.backends.onnx.style import Style
from nuqconv.backends.onnx.styles import FAKE_QUANT
from nuqconv.errors import ModelError, OutputError, UnsupportedError
from nuqconv.files.staging import move_into_place, staging_folder
from nuqconv.ir import Graph
from nuqconv.ir.names import fresh_name

__all__ = ["serialize", "write_onnx"]


def write_onnx(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    opset: int | None = None,
    style: Style = FAKE_QUANT,
    dynamic_batch: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a graph to an .onnx file, checked by ONNX's own checker first.

    The file appears whole or not at all; what stood there before stays if anything fails.

    Args:
        graph: The graph, float or quantized.
        path: The file; its folder is made if need be.
        opset: See `to_onnx`.
        style: See `to_onnx`.
        dynamic_batch: See `to_onnx`.
        metadata: Properties to note in the model.

    Raises:
        UnsupportedError: The graph has no form in ONNX, or takes more than the 2 GB that one ONNX file can hold.
        ModelError: The graph is wrong.
        OutputError: The file cannot be written.
    """
    target = Path(path)
    if not graph.outputs:
        ends = [node.place for node in graph.nodes if not node.outputs]
        raise UnsupportedError(
            f"network '{graph.name}' has no outputs, which an ONNX model needs: all that it computes is read by a layer; choose blobs with "
            "outputs= (--output)",
            ends,
        )
    graph = _with_fed_names(graph)
    model = lower_graph(graph, opset=opset, style=style, dynamic_batch=dynamic_batch)
    if metadata:
        onnx.helper.set_model_props(model.skeleton, dict(metadata))
    if model.size() > size.MAX_BYTES:
        raise size.too_large(f"network '{graph.name}'")
    try:
        onnx.checker.check_model(model.for_checker().SerializeToString(), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"network '{graph.name}': its ONNX form is not valid: {error}") from error
    with staging_folder(target) as folder:
        staged = folder / "model.onnx"
        try:
            with staged.open("wb") as file:
                file.writelines(model.chunks())
        except OSError as error:
            raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
        move_into_place({target: staged})


def _with_fed_names(graph: Graph) -> Graph:
    """Returns a graph whose inputs have the names that users feed: those of their blobs.

    Of a blob that in-place layers write the last state has its name, and that is the input's in a file, which has one value of each name.
    """
    taken = set(graph.names)
    names: dict[str, str] = {}
    for item in graph.inputs:
        blob = graph.storage_name(item.name)
        if blob == item.name:
            continue
        names[item.name] = blob
        if blob in graph.producer:
            names[blob] = fresh_name(f"{blob}@{graph.producer[blob].name}", taken)
    return graph.with_names(names) if names else graph


def serialize(model: ModelProto, subject: str) -> bytes:
    """Returns a model's bytes, the same for the same model.

    Args:
        model: The model.
        subject: What it is, for the message.

    Raises:
        UnsupportedError: It takes more than the 2 GB that one ONNX file can hold.
    """
    try:
        content: bytes = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise size.too_large(subject) from error
    if len(content) > size.MAX_BYTES:
        raise size.too_large(subject)
    return content
