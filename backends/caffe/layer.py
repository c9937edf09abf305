"""A Caffe layer on its way to the files."""

from __future__ import annotations

import sys
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
    """

    message: Any
    blobs: tuple[Any, ...] = ()
    text: str | None = None
    stored: Any = None

    def entry(self) -> str:
        """Returns the layer's entry of the prototxt."""
        if self.text is not None:
            return self.text + "\n"
        return f"layer {{\n{text_format.MessageToString(self.message, indent=2)}}}\n"

    def record(self) -> Any:
        """Returns the LayerParameter of the caffemodel."""
        if self.stored is not None:
            return self.stored
        record = LayerParameter()
        record.CopyFrom(self.message)
        record.blobs.extend(self.blobs)
        return record


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
