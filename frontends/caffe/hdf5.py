"""Reads Caffe's HDF5 form of weights (.caffemodel.h5): a group ``data``, in it one for each layer, and in that blobs by their number."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from nuqconv.errors import FormatError, UnsupportedError
from nuqconv.files.bounded import MOST_AXES, MOST_BINARY
from nuqconv.frontends.caffe.checks import MOST_LAYERS, name_problem
from nuqconv.frontends.caffe.schema import LayerParameter

__all__ = ["read_hdf5"]


def read_hdf5(path: str) -> dict[str, Any]:
    """Returns the layers of a file by name, LayerParameter messages with float32 blobs.

    A parameter that layers share is in the file once. A blob that is not in it is an empty message, and a layer without blobs is left out.

    Args:
        path: The file.

    Raises:
        UnsupportedError: h5py is not installed.
        FormatError: The file is damaged, or holds no weights; all faults are listed.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise UnsupportedError(
            f"{path}: is an HDF5 file; reading it needs h5py (pip install 'nuqconv[data]')"
        ) from error
    problems: list[str] = []
    found: dict[str, Any] = {}
    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise FormatError(f"{path}: has no group 'data', so it holds no weights of Caffe")
            for name, blobs in _layers(h5py, data, ""):
                if len(found) == MOST_LAYERS:
                    raise FormatError(f"{path}: holds more than {MOST_LAYERS} layers")
                problem = name_problem(name, "the name") or _problem(blobs)
                if problem is not None:
                    problems.append(f"layer '{name}': {problem}")
                    continue
                found[name] = _layer(name, blobs)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise FormatError(f"{path}: is damaged, or no HDF5 file: {error}") from error
    if problems:
        raise FormatError(f"{path}: holds what is no blob of Caffe", problems)
    if not found:
        raise FormatError(f"{path}: holds no layer; trained weights (.caffemodel.h5) are expected here")
    return found


def _layers(h5py: Any, group: Any, name: str) -> Any:
    """Yields the name of each layer with its blobs by number; a name with slashes is a group in a group."""
    blobs = {key: item for key in group if isinstance(item := group.get(key), h5py.Dataset)}
    if blobs:
        yield name, blobs
    for key in group:
        item = group.get(key)
        if isinstance(item, h5py.Group):
            yield from _layers(h5py, item, f"{name}/{key}" if name else key)


def _problem(blobs: dict[str, Any]) -> str | None:
    for key, item in blobs.items():
        if not key.isdecimal() or int(key) >= MOST_AXES:
            return f"'{key[:40]}' is no number of a blob"
        if item.dtype.kind != "f" or item.ndim > MOST_AXES:
            return f"blob {key} is {item.dtype} of {item.ndim} axes; expected floats"
        if item.size * 4 > MOST_BINARY:
            return f"blob {key} has {item.size} numbers, more than a blob of Caffe holds"
    return None


def _layer(name: str, blobs: dict[str, Any]) -> Any:
    layer = LayerParameter(name=name)
    for number in range(max(map(int, blobs)) + 1):
        blob = layer.blobs.add()
        if str(number) in blobs:
            array = np.asarray(blobs[str(number)][()], "<f4")
            blob.shape.dim.extend(array.shape)
            blob.data.append(array.tobytes())
    return layer
