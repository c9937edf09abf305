"""Data sets in .npz files."""

from __future__ import annotations

import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nuqconv.errors import FormatError
from nuqconv.ir import Array

__all__ = [
    "LABELS",
    "NUMBERS",
    "SCALE",
    "ArrayHeader",
    "DataFile",
    "check_npy",
    "data_problems",
    "read_arrays",
    "read_data",
    "read_headers",
    "read_inputs",
    "read_rows",
]

LABELS = ("label", "labels")
"""Arrays that hold the classes."""
SCALE = "scale"
"""The array, of one number, by which the inputs are multiplied."""
NUMBERS = "fiub"
"""Kinds of types that are numbers."""

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


@dataclass(frozen=True)
class ArrayHeader:
    """What a file says of an array before its numbers.

    Attributes:
        shape: Its sizes.
        dtype: Its type.
        by_columns: Whether the first axis runs fastest (Fortran's order), so that samples do not lie one behind the other.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool


def read_arrays(path: str | os.PathLike[str], names: Sequence[str] | None = None) -> dict[str, Array]:
    """Reads arrays of a .npz file.

    What an array takes is known from the sizes in the file before memory is taken for it, and objects (pickles) are refused.

    Args:
        path: The file.
        names: Those that are wanted; all by default.

    Raises:
        FormatError: The file cannot be read, or is no file of plain arrays.
    """
    with _opened(path) as archive:
        wanted = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        return {name: _array(archive, info) for name, info in wanted.items() if names is None or name in names}


def read_headers(path: str | os.PathLike[str]) -> dict[str, ArrayHeader]:
    """Reads what a .npz file says of its arrays, and none of their numbers.

    Raises:
        FormatError: As in `read_arrays`.
    """
    found = {}
    with _opened(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                found[info.filename.removesuffix(".npy")] = _header(member, info)
    return found


def read_rows(path: str | os.PathLike[str], names: Sequence[str], count: int, limit: int) -> Iterator[dict[str, Array]]:
    """Yields the first entries of some arrays of a .npz file, and keeps no more than it yields.

    Args:
        path: The file.
        names: The arrays; each has at least one axis, and all of them the same number of entries.
        count: Entries at once.
        limit: Most entries.

    Raises:
        FormatError: As in `read_arrays`.
    """
    with _opened(path) as archive, ExitStack() as stack:
        members, headers, whole = {}, {}, {}
        for name in names:
            info = archive.getinfo(f"{name}.npy")
            members[name] = stack.enter_context(archive.open(info))
            headers[name] = _header(members[name], info)
            if headers[name].by_columns:
                whole[name] = _array(archive, info)
        for start in range(0, limit, count):
            size = min(count, limit - start)
            yield {
                name: whole[name][start : start + size] if name in whole else _rows(members[name], headers[name], size)
                for name in names
            }


def check_npy(path: str | os.PathLike[str]) -> ArrayHeader:
    """Returns what a .npy file says of its array, after a check that the file holds it.

    Raises:
        FormatError: The file cannot be read, or is no file of a plain array.
    """
    try:
        with Path(path).open("rb") as file:
            info = zipfile.ZipInfo(Path(path).name)
            info.file_size = os.fstat(file.fileno()).st_size
            return _header(file, info)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, struct.error) as error:
        raise FormatError(f"{path}: is no .npy file of a plain array: {error}") from error


def _rows(member: IO[bytes], header: ArrayHeader, count: int) -> Array:
    shape = (count, *header.shape[1:])
    size = math.prod(shape) * header.dtype.itemsize
    data = member.read(size)
    if len(data) != size:
        raise EOFError(f"an array ends after {len(data)} of {size} bytes")
    return np.frombuffer(data, header.dtype).reshape(shape)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Opens a .npz; what reading it raises in the block becomes FormatError."""
    try:
        with Path(path).open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise FormatError(
                    f"{path}: is a single array; a .npz file with one array for each input blob is expected"
                )
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                _check_members(archive)
                yield archive
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
        _header(member, info)
    with archive.open(info) as member:
        array: Array = np.lib.format.read_array(member, allow_pickle=False)
        # The checksum is looked at where the data end.
        if member.read(1):
            raise ValueError(f"array {info.filename[:80]!r} is followed by other data")
        return array


def _header(member: IO[bytes], info: zipfile.ZipInfo) -> ArrayHeader:
    """Reads the header of an array; as many bytes as its shape takes follow, or ValueError is raised."""
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise ValueError(f"array {info.filename[:80]!r} is in version {version} of the format")
    try:
        with warnings.catch_warnings():
            # Headers of Python 2 are fine, and what Python thinks of a stranger's text is no matter.
            warnings.simplefilter("ignore")
            shape, by_columns, dtype = _HEADERS[version](member)
    except (TypeError, SyntaxError, tokenize.TokenError, MemoryError, RecursionError) as error:
        raise ValueError(f"array {info.filename[:80]!r} has a header that cannot be read") from error
    if dtype.kind not in _PLAIN or dtype.itemsize == 0:
        raise ValueError(f"array {info.filename[:80]!r} holds {dtype}; objects and records are not read")
    if len(shape) > _MOST_AXES or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"array {info.filename[:80]!r} has the shape {str(shape)[:80]}")
    # numpy multiplies the other sizes even where one is 0.
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > _LARGEST:
        raise ValueError(f"array {info.filename[:80]!r} of shape {shape} is larger than memory can be")
    data, taken = info.file_size - member.tell(), math.prod(shape) * dtype.itemsize
    if data != taken:
        raise ValueError(
            f"array {info.filename[:80]!r} has {data} bytes, but its shape {shape} of {dtype} takes {taken}"
        )
    return ArrayHeader(shape, dtype, by_columns)


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
    problems = data_problems(
        names, {name: ArrayHeader(array.shape, array.dtype, by_columns=False) for name, array in arrays.items()}, arrays
    )
    if problems:
        raise FormatError(f"{path}: does not fit the net; it holds {', '.join(arrays) or 'nothing'}", problems)
    labels = next((arrays[name] for name in LABELS if name in arrays), None)
    scale = arrays.get(SCALE, np.array(1, np.float32))
    inputs = {name: _scaled(arrays.pop(name), np.float32(scale)) for name in dict.fromkeys(names)}
    problems = [
        f"array '{name}': {bad} of {array.size} numbers are NaN or infinite as float32 after scaling"
        for name, array in inputs.items()
        if (bad := array.size - int(np.count_nonzero(np.isfinite(array))))
    ]
    if problems:
        raise FormatError(f"{path}: holds what is no number", problems)
    return DataFile(inputs, labels)


def read_inputs(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, Array]:
    """Reads arrays to run a net on once: those of a data set (`read_data`), or arrays without one number of samples.

    Args:
        path: A .npz.
        names: The net's input blobs.

    Returns:
        All arrays of the file as float32, multiplied by its ``scale``; without ``scale`` and the labels, where these are no inputs.

    Raises:
        FormatError: The file cannot be read, or an array holds no numbers.
    """
    arrays = read_arrays(path)
    scale = arrays.get(SCALE, np.array(1, np.float32)) if SCALE not in names else np.array(1, np.float32)
    inputs = {name: array for name, array in arrays.items() if name in names or name not in (*LABELS, SCALE)}
    problems = [
        *_scale_problems(scale),
        *(
            f"array '{name}' holds {array.dtype}, expected numbers"
            for name, array in inputs.items()
            if array.dtype.kind not in NUMBERS
        ),
    ]
    if problems:
        raise FormatError(f"{path}: does not fit the net", problems)
    return {name: _scaled(array, np.float32(scale)) for name, array in inputs.items()}


def data_problems(names: Sequence[str], headers: Mapping[str, ArrayHeader], small: Mapping[str, Array]) -> list[str]:
    """Returns what is wrong with the arrays of a data set.

    Args:
        names: The net's input blobs.
        headers: All arrays.
        small: Labels and scale, where they are.
    """
    problems = [f"array '{name}' for the net's input of that name is missing" for name in names if name not in headers]
    known = list(dict.fromkeys((*names, LABELS[0], SCALE)))
    problems += [
        f"'{name}' is not used; known are {', '.join(known)}" for name in headers if name not in (*known, *LABELS)
    ]
    if all(name in headers for name in LABELS):
        problems.append(f"there are '{LABELS[0]}' and '{LABELS[1]}'; give one of them")
    problems += _scale_problems(small.get(SCALE, np.array(1, np.float32)))
    sizes = {name: headers[name].shape[0] for name in names if name in headers and headers[name].shape}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        problems.append(f"the arrays must have one number of samples, at least 1; found {sizes}")
    labels = next((small[name] for name in LABELS if name in small), None)
    if labels is not None:
        problems += _label_problems(labels, next(iter(sizes.values()), None))
    for name in (name for name in names if name in headers):
        if headers[name].dtype.kind not in NUMBERS:
            problems.append(f"array '{name}' holds {headers[name].dtype}, expected numbers")
        elif not headers[name].shape:
            problems.append(f"array '{name}' is a single number, expected one entry for each sample")
    return problems


def _scaled(array: Array, scale: np.float32) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: Array = array.astype(np.float32)
        scaled *= scale
    return scaled


def _scale_problems(scale: Array) -> list[str]:
    if scale.ndim != 0:
        return [f"'scale' has shape {scale.shape}, expected one number"]
    if scale.dtype.kind not in NUMBERS:
        return [f"'scale' holds {scale.dtype}, expected one number"]
    return [] if np.isfinite(scale) else [f"'scale' is {scale}, expected a finite number"]


def _label_problems(labels: Array, samples: int | None) -> list[str]:
    if labels.dtype.kind not in NUMBERS or not np.array_equal(labels, np.trunc(labels)):
        return [f"'label' holds {labels.dtype} that are not whole numbers, expected the number of each sample's class"]
    if not labels.ndim:
        return ["'label' is a single number, expected one for each sample"]
    if samples is not None and len(labels) != samples:
        return [f"there are {len(labels)} labels for {samples} samples"]
    return []
