"""A Caffe layer on its way to the files."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import text_format

from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe.schema import BlobProto, LayerParameter
from nuqconv.frontends.caffe.varint import encode_varints
from nuqconv.ir import Array

__all__ = ["OutputLayer", "blob", "new_layer"]


@dataclass(frozen=True)
class OutputLayer:
    """One layer of a written model.

    Attributes:
        message: LayerParameter without blobs.
        blobs: BlobProto messages.
        text: The layer's entry for the prototxt when it stays as it was read, else None.
        stored: The message to write into the caffemodel instead of message and blobs, for layers that nobody understands.
        unknown: Fields that the message lacks: the messages around each (as in ``Origin.unknown``) and its text.
    """

    message: Any
    blobs: tuple[Any, ...] = ()
    text: str | None = None
    stored: Any = None
    unknown: tuple[tuple[str, str], ...] = ()

    def entry(self) -> str:
        """Returns the layer's entry of the prototxt."""
        if self.text is not None:
            return self.text + "\n"
        body = text_format.MessageToString(self.message, indent=2)
        return f"layer {{\n{_with_unknown(body, self.unknown)}}}\n"

    def record(self) -> Any:
        """Returns the LayerParameter of the caffemodel."""
        if self.stored is not None:
            return self.stored
        record = LayerParameter()
        record.CopyFrom(self.message)
        record.blobs.extend(self.blobs)
        return record


def _with_unknown(body: str, unknown: Sequence[tuple[str, str]]) -> str:
    """Returns a message's text with further fields, each in the message that it belongs to."""
    if not unknown:
        return body
    lines: list[str] = []
    around: list[str] = []
    counts: list[Counter[str]] = [Counter()]
    for line in body.splitlines():
        lines.append(line)
        name = line.strip()
        if name == "}":
            around.pop()
            counts.pop()
        elif name.endswith(" {"):
            name = name[:-2]
            around.append(f"{name}[{counts[-1][name]}]")
            counts[-1][name] += 1
            counts.append(Counter())
            lines += [text for path, text in unknown if path == "/".join(around)]
    lines += [text for path, text in unknown if not path]
    return "\n".join(lines) + "\n"


def new_layer(name: str, layer_type: str, bottoms: Sequence[str], tops: Sequence[str]) -> Any:
    """Returns a new LayerParameter."""
    return LayerParameter(name=name, type=layer_type, bottom=bottoms, top=tops)


def blob(array: Array) -> Any:
    """Returns an array as a BlobProto; float32, int8, int32 and uint64 each in their own field.

    Raises:
        UnsupportedError: Another dtype.
    """
    message = BlobProto()
    message.shape.dim.extend(array.shape)
    kind = np.dtype(array.dtype).name
    if kind == "float32":
        little = array if sys.byteorder == "little" else array.astype("<f4")
        message.data.append(little.tobytes())
    elif kind == "int8":
        message.int8_data = array.tobytes()
    elif kind == "int32":
        message.int32_data.extend(array.ravel().tolist())
    elif kind == "uint64":
        message.uint64_data = encode_varints(array)
    else:
        raise UnsupportedError(f"a Caffe blob cannot hold {kind}")
    return message
