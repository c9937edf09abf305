"""The weights of a net in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nuqconv.errors import FormatError, NetError, OutputError, RuntimeMissingError
from nuqconv.files.staging import move_into_place, staging_folder
from nuqconv.frontends.caffe.schema import LayerParameter, NetParameter
from nuqconv.frontends.caffe.weights import Weights
from nuqconv.pycaffe.blob import Blob, BlobVec
from nuqconv.pycaffe.definition import PHASES, Definition

__all__ = ["read_hdf5", "write_hdf5", "write_weights"]


def _blob_into(message: Any, blob: Blob) -> None:
    message.shape.dim.extend(blob.shape)
    message.data.append(blob.memory.look()[: blob.count].astype("<f4", copy=False).tobytes())


def write_weights(path: str, definition: Definition, params: Sequence[BlobVec]) -> None:
    """Writes layers with their blobs, as Caffe's own ``Net.save`` does.

    Raises:
        OutputError: The file cannot be written.
    """
    net = NetParameter(name=definition.name)
    for layer, blobs in zip(definition.layers, params, strict=True):
        message = net.layer.add()
        message.CopyFrom(layer.message)
        if not message.HasField("phase"):
            message.phase = PHASES.index(definition.phase)
        message.ClearField("blobs")
        for blob in blobs:
            _blob_into(message.blobs.add(), blob)
    target = Path(path)
    if not target.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no folder {target.parent}")
    with staging_folder(target) as folder:
        staged = folder / "net.caffemodel"
        staged.write_bytes(net.SerializeToString(deterministic=True))
        move_into_place({target: staged})


def _h5py() -> Any:
    try:
        import h5py  # noqa: PLC0415 - optional
    except ImportError as error:
        raise RuntimeMissingError("weights in HDF5 need h5py: pip install 'nuqconv[data]'") from error
    return h5py


def write_hdf5(path: str, names: Sequence[str], params: Sequence[BlobVec], *, write_diff: bool) -> None:
    """Writes the weights to groups ``data`` and, if asked for, the gradients to ``diff``."""
    h5py = _h5py()
    target = Path(path)
    with staging_folder(target) as folder:
        staged = folder / "net.h5"
        with h5py.File(staged, "w") as file:
            for part in ("data", "diff")[: 1 + write_diff]:
                group = file.create_group(part)
                for name, blobs in zip(names, params, strict=True):
                    layer = group.create_group(name)
                    for number, blob in enumerate(blobs):
                        layer.create_dataset(str(number), data=getattr(blob, part))
        move_into_place({target: staged})


def read_hdf5(path: str) -> Weights:
    """Reads the weights of an HDF5 file.

    Raises:
        NetError: There is no such file.
        FormatError: It holds no net of Caffe's.
    """
    h5py = _h5py()
    if not Path(path).is_file():
        raise NetError(f"Could not open file {path}")
    layers: dict[str, Any] = {}
    try:
        with h5py.File(path, "r") as file:
            for name, group in _groups(file["data"], h5py):
                message = layers[name] = LayerParameter(name=name)
                for number in range(len(group)):
                    array = np.asarray(group[str(number)], "<f4")
                    blob = message.blobs.add()
                    blob.shape.dim.extend(array.shape)
                    blob.data.append(array.tobytes())
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FormatError(f"{path}: holds no weights of Caffe's form: {error}") from error
    return Weights(path, layers)


def _groups(group: Any, h5py: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Returns the layers by name; a ``/`` in a name has become a group inside a group."""
    found: list[tuple[str, Any]] = []
    for name, item in group.items():
        if not isinstance(item, h5py.Group):
            continue
        if all(isinstance(part, h5py.Dataset) for part in item.values()):
            found.append((prefix + name, item))
        else:
            found += _groups(item, h5py, f"{prefix}{name}/")
    return found
