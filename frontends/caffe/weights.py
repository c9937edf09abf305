"""Reads a .caffemodel; float32 and int8 blobs are views on the file's bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import unknown_fields
from google.protobuf.message import DecodeError

from nuqconv.errors import FormatError, ModelError
from nuqconv.files.bounded import LARGEST_BLOB, MOST_AXES, MOST_BINARY, read_bounded
from nuqconv.files.sniff import is_hdf5, stranger
from nuqconv.frontends.caffe.checks import MOST_LAYERS, name_problem
from nuqconv.frontends.caffe.hdf5 import read_hdf5
from nuqconv.frontends.caffe.schema import LayerParameter, NetParameter
from nuqconv.frontends.caffe.upgrade import upgrade_v0, upgrade_v1
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
# What the tools of OpenCV and NVIDIA's Caffe put into raw_data, by raw_data_type.
_RAW_DTYPES: Mapping[int, np.dtype[Any]] = {0: np.dtype("<f8"), 1: np.dtype("<f4"), 2: np.dtype("<f2")}


@dataclass(frozen=True)
class Weights:
    """A .caffemodel.

    Attributes:
        path: The file.
        layers: Its layers by name, LayerParameter messages with blobs.
        notes: What was changed on reading, in words.
    """

    path: str
    layers: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def apart(self, name: str) -> Any:
        """Returns a copy of a layer or None; the layer itself would keep the numbers of the whole file in memory."""
        if name not in self.layers:
            return None
        copy = LayerParameter()
        copy.CopyFrom(self.layers[name])
        return copy


def read_weights(path: str | Path) -> Weights:
    """Reads the weights of a network.

    Args:
        path: The .caffemodel file, or Caffe's HDF5 form of it (.caffemodel.h5).

    Returns:
        The layers by name, V1 and V0 layers upgraded as Caffe does and half floats as float32. A name that occurs twice keeps the later
        one, as in Caffe.

    Raises:
        FormatError: The file cannot be read, is empty, truncated or no .caffemodel.
        ModelError: Layers cannot be upgraded, or hold raw numbers of a kind that is not known; all are listed.
    """
    path = str(path)
    try:
        data = read_bounded(path, MOST_BINARY)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise FormatError(f"{path}: is empty; trained weights (.caffemodel) are expected here")
    if is_hdf5(data):
        return Weights(path, read_hdf5(path))
    other = stranger(data)
    if other is not None:
        raise FormatError(f"{path}: {other}")
    net = NetParameter()
    try:
        net.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{path}: is no .caffemodel, or is truncated or damaged ({len(data)} bytes): {error}"
        ) from error
    # A message has bytes of its own.
    del data
    count = max(len(net.layer), len(net.layers))
    if count > MOST_LAYERS:
        raise FormatError(f"{path}: holds {count} layers; at most {MOST_LAYERS} are read")
    notes: list[str] = []
    _check_names(path, net)
    found = _upgraded(path, net, notes) if len(net.layers) else list(net.layer)
    if not found:
        raise FormatError(f"{path}: holds no layer; trained weights (.caffemodel) are expected here")
    _expand(path, found, notes)
    return Weights(path, {layer.name: layer for layer in found}, tuple(notes))


def _check_names(path: str, net: Any) -> None:
    """Refuses names that are no text: protobuf hands them out as bytes, or refuses to copy them."""
    names = [text for layer in net.layer for text in (layer.name, layer.type)]
    for layer in net.layers:
        names += [layer.name, *layer.bottom, *layer.top, *layer.param, layer.layer.name, layer.layer.type]
    for name in dict.fromkeys(names):
        if isinstance(name, bytes):
            raise FormatError(f"{path}: is damaged, or no .caffemodel: the name {name[:40]!r} in it is not UTF-8")
    problems = [problem for name in dict.fromkeys(names) if (problem := name_problem(name, "the name")) is not None]
    if problems:
        raise ModelError(f"{path}: holds names that cannot be used", problems)


def _upgraded(path: str, net: Any, notes: list[str]) -> list[Any]:
    """Returns the V1 or V0 layers of a net as current ones."""
    flat = any(layer.HasField("layer") for layer in net.layers)
    found: list[Any] = []
    problems: list[str] = []
    for layer in net.layers:
        if flat and layer.layer.type == "padding":
            continue
        try:
            found.append((upgrade_v0 if flat else upgrade_v1)(layer).message)
        except ModelError as error:
            problems.append(f"layer '{layer.layer.name}': {error}")
    if problems:
        raise ModelError(f"{path}: cannot be read as layers of the V0 form", problems)
    notes.append(f"{path}: {len(net.layers)} layers of the {'V0' if flat else 'V1'} form are read as current ones")
    if len(net.layer):
        notes.append(f"{path}: {len(net.layer)} layers of the current form beside them are ignored, as in Caffe")
    return found


def _expand(path: str, layers: list[Any], notes: list[str]) -> None:
    """Turns raw numbers (half floats, mostly) into float32 in place."""
    counts: dict[str, int] = {}
    problems: list[str] = []
    for layer in layers:
        for number, blob in enumerate(layer.blobs):
            kind = _raw_type(blob)
            if kind is None:
                continue
            dtype = _RAW_DTYPES.get(kind)
            raw = blob.uint64_data
            if dtype is None or len(raw) % dtype.itemsize:
                problems.append(
                    f"layer '{layer.name}': blob {number} has raw_data_type {kind} and {len(raw)} bytes; "
                    "known types are 0 (double), 1 (float), 2 (half)"
                )
                continue
            blob.ClearField("uint64_data")
            blob.DiscardUnknownFields()
            with np.errstate(over="ignore"):
                blob.data.append(np.frombuffer(raw, dtype).astype("<f4").tobytes())
            counts[dtype.name] = counts.get(dtype.name, 0) + 1
    if problems:
        raise ModelError(f"{path}: holds numbers of an unknown kind", problems)
    notes += [f"{path}: {count} blobs of {name} are read as float32" for name, count in counts.items()]


def blob_array(blob: Any, rank: int | None = None) -> Array:
    """Returns a blob's numbers as a read-only array, without copying float32 and int8.

    Args:
        blob: A BlobProto.
        rank: Number of dimensions that the layer expects; a blob with the legacy num/channels/height/width loses leading ones to fit it.

    Returns:
        float32 (float64 is converted), int8, int32 or uint64.

    Raises:
        ModelError: The number of values differs from the product of the shape, or the shape has too many axes.
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
        # What does not fit becomes infinite, and is refused as such.
        with np.errstate(over="ignore"):
            flat = flat.astype(np.float32)
    shape = blob_shape(blob, rank)
    if len(shape) > MOST_AXES:
        raise ModelError(f"has {len(shape)} axes; Caffe's blobs have at most {MOST_AXES}")
    # numpy multiplies the other sizes even where one is 0.
    beyond = prod(max(dim, 1) for dim in shape) > LARGEST_BLOB
    if beyond or any(dim < 0 for dim in shape) or prod(shape) != flat.size:
        raise ModelError(f"holds {flat.size} numbers, but its shape is {'x'.join(map(str, shape)) or 'a scalar'}")
    array = flat.reshape(shape)
    array.flags.writeable = False
    return array


def blob_shape(blob: Any, rank: int | None = None) -> tuple[int, ...]:
    """Returns a blob's declared shape; a legacy shape is cut to ``rank`` where its leading sizes are 1."""
    legacy = ("num", "channels", "height", "width")
    # As in Caffe, a legacy size goes before the shape, and a blob with neither is a scalar.
    if not any(blob.HasField(name) for name in legacy):
        return tuple(blob.shape.dim)
    shape: tuple[int, ...] = tuple(getattr(blob, name) for name in legacy)
    while rank is not None and len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return shape


def _raw_type(blob: Any) -> int | None:
    unknown: Any = unknown_fields.UnknownFieldSet(blob)
    # raw_data_type is a varint in the field where int8_data would be length-delimited.
    return next((field.data for field in unknown if field.field_number == 10 and field.wire_type == 0), None)
