"""Data sets in .npz files."""

from __future__ import annotations

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nuqconv.errors import FormatError
from nuqconv.ir import Array

__all__ = ["DataFile", "read_arrays", "read_data"]

_LABELS = ("label", "labels")
_NUMBERS = "fiub"

_MAGIC = b"\x93NUMPY"
_HEADERS: Mapping[tuple[int, int], Callable[[IO[bytes]], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_PLAIN = "biufcSUmM"
_MOST_AXES = 32
_LARGEST = 2**63 - 1
_ENCRYPTED = 1
# Images with much background pack to a twentieth or so; DEFLATE goes to a thousandth.
_DENSEST = 100
_ALWAYS_UNPACKED = 16 * 2**20


@dataclass(frozen=True)
class DataFile:
    """A data set.

    Attributes:
        inputs: For each input blob float32 (N, ...), ready for the net.
        labels: Class of each sample (N,), or None.
    """

    inputs: Mapping[str, Array]
    labels: Array | None


def read_arrays(path: str | Path) -> dict[str, Array]:
    """Reads all arrays of a .npz file.

    What an array takes is known from the sizes in the file before memory is taken for it, and objects (pickles) are refused.

    Raises:
        FormatError: The file cannot be read, or is no file of plain arrays.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise FormatError(
                    f"{path}: is a single array; a .npz file with one array for each input blob is expected"
                )
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                _check_members(archive)
                return {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()}
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error) as error:
        raise FormatError(f"{path}: is no .npz file of plain arrays: {error}") from error


def _check_members(archive: zipfile.ZipFile) -> None:
    """Raises ValueError for members that cannot be arrays, or that unpack to far more than they are."""
    names: set[str] = set()
    for info in archive.infolist():
        if not info.filename.endswith(".npy"):
            raise ValueError(f"it holds {info.filename[:80]!r}, which is no array")
        if info.filename in names:
            raise ValueError(f"it holds {info.filename[:80]!r} twice")
        names.add(info.filename)
        if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename[:80]!r} is encrypted or packed in a way that numpy does not use")
    packed, unpacked = (
        sum(getattr(info, name) for info in archive.infolist()) for name in ("compress_size", "file_size")
    )
    if unpacked > _ALWAYS_UNPACKED + _DENSEST * packed:
        raise ValueError(f"its {packed} bytes unpack to {unpacked}, more than {_DENSEST} times as many")


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with archive.open(info) as member:
        shape, dtype, data = _header(member, info)
        count = math.prod(shape)
        if data != count * dtype.itemsize:
            raise ValueError(
                f"array {info.filename[:80]!r} has {data} bytes, but its shape {shape} of {dtype} takes {count * dtype.itemsize}"
            )
    with archive.open(info) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
        # The checksum is looked at where the data end.
        if member.read(1):
            raise ValueError(f"array {info.filename[:80]!r} is followed by other data")
        return array


def _header(member: IO[bytes], info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Returns shape and type of an array, and how many bytes follow its header."""
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise ValueError(f"array {info.filename[:80]!r} is in version {version} of the format")
    try:
        with warnings.catch_warnings():
            # Headers of Python 2 are fine, and what Python thinks of a stranger's text is no matter.
            warnings.simplefilter("ignore")
            shape, _, dtype = _HEADERS[version](member)
    except (TypeError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise ValueError(f"array {info.filename[:80]!r} has a header that cannot be read") from error
    if dtype.kind not in _PLAIN or dtype.itemsize == 0:
        raise ValueError(f"array {info.filename[:80]!r} holds {dtype}; objects and records are not read")
    if len(shape) > _MOST_AXES or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"array {info.filename[:80]!r} has the shape {str(shape)[:80]}")
    # numpy multiplies the other sizes even where one is 0.
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > _LARGEST:
        raise ValueError(f"array {info.filename[:80]!r} of shape {shape} is larger than memory can be")
    return shape, dtype, info.file_size - member.tell()


def read_data(path: str | Path, names: Sequence[str]) -> DataFile:
    """Reads a data set for a net.

    The file is a numpy .npz with one array for each input blob, under the blob's name, and optionally ``label`` (or ``labels``) and a number
    ``scale`` by which the inputs are multiplied after conversion to float32.

    Args:
        path: The file.
        names: The net's input blobs.

    Returns:
        The data.

    Raises:
        FormatError: The file cannot be read, or arrays are missing or do not fit; all faults are listed.
    """
    arrays = read_arrays(path)
    problems = [f"array '{name}' for the net's input of that name is missing" for name in names if name not in arrays]
    labels = next((arrays[name] for name in _LABELS if name in arrays), None)
    scale = arrays.get("scale", np.array(1, np.float32))
    problems += _scale_problems(scale)
    sizes = {name: len(arrays[name]) for name in names if name in arrays and arrays[name].ndim}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        problems.append(f"the arrays must have one number of samples, at least 1; found {sizes}")
    if labels is not None:
        problems += _label_problems(labels, next(iter(sizes.values()), None))
    for name in (name for name in names if name in arrays):
        if arrays[name].dtype.kind not in _NUMBERS:
            problems.append(f"array '{name}' holds {arrays[name].dtype}, expected numbers")
        elif not arrays[name].ndim:
            problems.append(f"array '{name}' is a single number, expected one entry for each sample")
    if problems:
        raise FormatError(f"{path}: does not fit the net; it holds {', '.join(arrays) or 'nothing'}", problems)
    inputs = {name: _scaled(arrays.pop(name), np.float32(scale)) for name in dict.fromkeys(names)}
    problems = [
        f"array '{name}': {bad} of {array.size} numbers are NaN or infinite as float32 after scaling"
        for name, array in inputs.items()
        if (bad := array.size - int(np.count_nonzero(np.isfinite(array))))
    ]
    if problems:
        raise FormatError(f"{path}: holds what is no number", problems)
    return DataFile(inputs, labels)


def _scaled(array: Array, scale: np.float32) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: Array = array.astype(np.float32)
        scaled *= scale
    return scaled


def _scale_problems(scale: Array) -> list[str]:
    if scale.ndim != 0:
        return [f"'scale' has shape {scale.shape}, expected one number"]
    if scale.dtype.kind not in _NUMBERS:
        return [f"'scale' holds {scale.dtype}, expected one number"]
    return [] if np.isfinite(scale) else [f"'scale' is {scale}, expected a finite number"]


def _label_problems(labels: Array, samples: int | None) -> list[str]:
    if labels.dtype.kind not in _NUMBERS or not np.array_equal(labels, np.trunc(labels)):
        return [f"'label' holds {labels.dtype} that are not whole numbers, expected the number of each sample's class"]
    if not labels.ndim:
        return ["'label' is a single number, expected one for each sample"]
    if samples is not None and len(labels) != samples:
        return [f"there are {len(labels)} labels for {samples} samples"]
    return []
