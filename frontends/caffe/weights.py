"""Reads a .caffemodel; blobs are views on the file's bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import unknown_fields
from google.protobuf.message import DecodeError

from nuqconv.errors import FormatError, ModelError, UnsupportedError
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.frontends.caffe.varint import decode_varints
from nuqconv.ir import Array

__all__ = ["Weights", "blob_array", "read_weights"]

# A blob's stored arrays in the order in which a reader looks for the first that is not empty.
_STORES = ("double_data", "int8_data", "int32_data", "uint64_data", "data")
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "double_data": np.dtype("<f8"),
    "int8_data": np.dtype("i1"),
    "data": np.dtype("<f4"),
}


@dataclass(frozen=True)
class Weights:
    """A .caffemodel: its path and its layers (LayerParameter messages with blobs) by name."""

    path: str
    layers: Mapping[str, Any]


def read_weights(path: str | Path) -> Weights:
    """Reads the weights of a network.

    Args:
        path: The .caffemodel file.

    Returns:
        The layers by name. A name that occurs twice keeps the later one, as in Caffe.

    Raises:
        FormatError: The file cannot be read, is empty, truncated or no .caffemodel.
        UnsupportedError: The file is of the old V1 generation or holds half floats.
    """
    path = str(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise FormatError(f"{path}: is empty; trained weights (.caffemodel) are expected here")
    net = NetParameter()
    try:
        net.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(
            f"{path}: is no .caffemodel, or is truncated or damaged ({len(data)} bytes): {error}"
        ) from error
    if len(net.layers):
        raise UnsupportedError(
            f"{path}: holds {len(net.layers)} layers of the old V1 form; convert it with Caffe's upgrade_net_proto_binary first"
        )
    if not len(net.layer):
        raise FormatError(f"{path}: holds no layer; trained weights (.caffemodel) are expected here")
    layers = {layer.name: layer for layer in net.layer}
    half = [layer.name for layer in net.layer for blob in layer.blobs if _is_half(blob)]
    if half:
        raise UnsupportedError(
            f"{path}: layers {', '.join(dict.fromkeys(half))} hold half floats (written by OpenCV's tools), which are not supported yet"
        )
    return Weights(path, layers)


def blob_array(blob: Any, rank: int | None = None) -> Array:
    """Returns a blob's numbers as a read-only array, without copying float32 and int8.

    Args:
        blob: A BlobProto.
        rank: Number of dimensions that the layer expects; a blob with the legacy num/channels/height/width loses leading ones to fit it.

    Returns:
        float32 (float64 is converted), int8, int32 or uint64.

    Raises:
        ModelError: The number of values differs from the product of the shape.
    """
    store = next((name for name in _STORES if len(getattr(blob, name))), "data")
    stored = getattr(blob, store)
    flat: Array
    if store == "int32_data":
        flat = np.array(stored, dtype=np.int32)
    elif store == "uint64_data":
        flat = decode_varints(stored)
    else:
        raw = stored if store == "int8_data" else stored[0] if len(stored) == 1 else b"".join(stored)
        if len(raw) % _DTYPES[store].itemsize:
            raise ModelError(f"holds {len(raw)} bytes, no multiple of {_DTYPES[store].itemsize}")
        flat = np.frombuffer(raw, dtype=_DTYPES[store])
    if store == "double_data":
        flat = flat.astype(np.float32)
    shape = blob_shape(blob, rank)
    if any(dim < 0 for dim in shape) or prod(shape) != flat.size:
        raise ModelError(f"holds {flat.size} numbers, but its shape is {'x'.join(map(str, shape)) or 'a scalar'}")
    array = flat.reshape(shape)
    array.flags.writeable = False
    return array


def blob_shape(blob: Any, rank: int | None = None) -> tuple[int, ...]:
    """Returns a blob's declared shape; a legacy shape is cut to ``rank`` where its leading sizes are 1."""
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    shape: tuple[int, ...] = (blob.num, blob.channels, blob.height, blob.width)
    while rank is not None and len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def _is_half(blob: Any) -> bool:
    unknown: Any = unknown_fields.UnknownFieldSet(blob)
    # OpenCV marks such blobs with a varint in the field where int8_data would be length-delimited.
    return any(field.field_number == 10 and field.wire_type == 0 for field in unknown)
