"""ONNX files as messages."""

from __future__ import annotations

import os
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto, ValueInfoProto

from nuqconv.errors import FormatError
from nuqconv.files.bounded import MOST_BINARY, read_bounded
from nuqconv.files.sniff import stranger
from nuqconv.frontends.onnx.external import load_tensors

__all__ = ["fed_inputs", "read_onnx"]


def read_onnx(path: str | os.PathLike[str]) -> ModelProto:
    """Reads an .onnx file with its external data, which must lie beside it.

    Raises:
        FormatError: There is no such file, or it is no ONNX model, or its tensors are not what they are declared to be or lie where they
            may not; see `load_tensors`.
    """
    source = Path(path)
    model = ModelProto()
    try:
        data = read_bounded(source, MOST_BINARY)
        other = stranger(data)
        if other is not None:
            raise FormatError(f"{source}: {other}")
        model.ParseFromString(data)
        # A message has bytes of its own.
        del data
    except OSError as error:
        raise FormatError(f"{source}: cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise FormatError(f"{source}: is no ONNX model, or cut off: {error}") from error
    if not model.graph.output:
        raise FormatError(f"{source}: is no ONNX model: it has no outputs")
    load_tensors(model, source)
    return model


def fed_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Returns the inputs that a user feeds; an initializer that is an input too is none of them."""
    constants = {item.name for item in model.graph.initializer}
    return [item for item in model.graph.input if item.name not in constants]
