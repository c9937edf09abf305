"""Tensors of ONNX files: declared shapes held against real bytes, and data in other files taken only from beside the model."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

from nuqconv.errors import FormatError

__all__ = ["load_tensors"]

# Bits of an element by type; onnx itself tells other sizes in older versions, where it holds some types as larger ones.
_BITS = {
    **dict.fromkeys(("COMPLEX128",), 128),
    **dict.fromkeys(("COMPLEX64", "DOUBLE", "INT64", "UINT64"), 64),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("BFLOAT16", "FLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("BOOL", "INT8", "UINT8", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"), 8),
    **dict.fromkeys(("FLOAT6E2M3", "FLOAT6E3M2"), 6),
    **dict.fromkeys(("FLOAT4E2M1", "INT4", "UINT4"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
}
# The fields of typed data, and how many of their entries one element takes.
_FIELDS = {
    "FLOAT": ("float_data", 1),
    "COMPLEX64": ("float_data", 2),
    "DOUBLE": ("double_data", 1),
    "COMPLEX128": ("double_data", 2),
    "INT64": ("int64_data", 1),
    "UINT32": ("uint64_data", 1),
    "UINT64": ("uint64_data", 1),
    "STRING": ("string_data", 1),
}
_NAMES: Mapping[int, str] = {number: str(name) for name, number in TensorProto.DataType.items()}
_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
# Tensors may be tied to the same bytes; a model whose tensors take far more than there is would fill the memory from a small file.
_TIMES_READ = 4


def load_tensors(model: ModelProto, source: Path) -> None:
    """Checks every tensor of a model and takes what lies in other files into it.

    External data must be a regular file in the model's folder or below, reached without a symbolic link.

    Args:
        model: The model as it was parsed; it is changed.
        source: Its file.

    Raises:
        FormatError: A text is no UTF-8, a tensor's numbers do not fit its type and shape, or its data are not where they may be; all
            faults are listed.
    """
    problems: list[str] = []
    tensors = list(_tensors(model, problems))
    files = _Files(source.absolute().parent)
    for tensor in tensors:
        try:
            needed = _bytes_needed(tensor)
            if tensor.data_location == TensorProto.EXTERNAL:
                tensor.raw_data = files.read(tensor, needed)
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
            else:
                _check_stored(tensor, needed)
        except FormatError as error:
            problems.append(f"tensor '{tensor.name}': {error}")
    if problems:
        raise FormatError(f"{source}: is a damaged ONNX model", problems)


def _tensors(message: Any, problems: list[str]) -> Iterator[Any]:
    """Yields all tensors below a message, and notes texts that are none."""
    if isinstance(message, TensorProto):
        # Its data would be copied to be listed.
        name: Any = message.name
        if isinstance(name, bytes):
            problems.append(f"the tensor's name {name[:40]!r} is not UTF-8")
        else:
            yield message
        return
    for field, value in message.ListFields():
        if field.cpp_type == field.CPPTYPE_STRING and field.type == field.TYPE_STRING:
            wrong = [item for item in ([value] if isinstance(value, str | bytes) else value) if isinstance(item, bytes)]
            if wrong:
                problems.append(f"{field.full_name}: {wrong[0][:40]!r} is not UTF-8")
        elif field.cpp_type == field.CPPTYPE_MESSAGE:
            for item in [value] if isinstance(value, Message) else value:
                yield from _tensors(item, problems)


def _type_name(tensor: Any) -> str:
    name = _NAMES.get(tensor.data_type)
    if name is None or (name not in _BITS and name != "STRING"):
        raise FormatError(f"has the unknown data type {tensor.data_type}")
    return name


def _count(tensor: Any) -> int:
    if any(dim < 0 for dim in tensor.dims):
        raise FormatError(f"has the shape {list(tensor.dims)[:8]}; no size may be negative")
    if len(tensor.dims) > 64:
        raise FormatError(f"has {len(tensor.dims)} axes; at most 64 are read")
    return prod(tensor.dims)


def _bytes_needed(tensor: Any) -> int | None:
    """Returns how many raw bytes the elements take; None for texts, which have no raw form."""
    name, count = _type_name(tensor), _count(tensor)
    if name == "STRING":
        return None
    return -(-count * _BITS[name] // 8)


def _check_stored(tensor: Any, needed: int | None) -> None:
    name, count = _type_name(tensor), _count(tensor)
    if tensor.HasField("raw_data"):
        found = len(tensor.raw_data)
        if found != needed:
            raise FormatError(f"holds {found} bytes, but its shape {list(tensor.dims)} of {name} takes {needed}")
        return
    field, entries = _FIELDS.get(name, ("int32_data", 1))
    # Where whole elements fit into a byte, typed data are packed too.
    packed = max(8 // _BITS.get(name, 8), 1)
    expected = -(-count * entries // packed)
    found = len(getattr(tensor, field))
    if found != expected:
        raise FormatError(
            f"holds {found} numbers in {field}, but its shape {list(tensor.dims)} of {name} takes {expected}"
        )


class _Files:
    """The files beside a model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: dict[str, int] = {}

    def read(self, tensor: Any, needed: int | None) -> bytes:
        """Returns the external data of a tensor.

        Raises:
            FormatError: They are not where they may be, or not as many as declared.
        """
        if needed is None:
            raise FormatError("holds texts, which cannot lie in another file")
        said = _said(tensor)
        location = said["location"]
        path = self._path(location)
        offset = _number(said, "offset") or 0
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            raise FormatError(f"its data file '{location}' cannot be read: {error.strerror or error}") from error
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            raise FormatError(f"its data file '{location}' is no regular file")
        with os.fdopen(descriptor, "rb") as file:
            length = _number(said, "length")
            length = state.st_size - offset if length is None else length
            if length != needed:
                raise FormatError(
                    f"has {length} bytes in '{location}', but its shape {list(tensor.dims)} takes {needed}"
                )
            if offset + length > state.st_size:
                raise FormatError(
                    f"its data file '{location}' has {state.st_size} bytes, and {length} from {offset} on are needed"
                )
            taken = self._taken[location] = self._taken.get(location, 0) + length
            if taken > _TIMES_READ * state.st_size:
                raise FormatError(
                    f"with it, tensors take {taken} bytes of '{location}', which has {state.st_size}; the file is damaged"
                )
            file.seek(offset)
            return file.read(length)

    def _path(self, location: str) -> Path:
        parts = PurePosixPath(location).parts
        unsafe = PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or ".." in parts
        if not parts or unsafe or "\\" in location or "\0" in location:
            raise FormatError(
                f"its data file '{location}' is not below the model's folder; put the file beside the model and name it relatively"
            )
        path = self._folder
        for part in parts:
            path = path / part
            if os.path.islink(path):  # noqa: PTH114 - pathlib's raises where a name is too long
                raise FormatError(
                    f"its data file '{location}' is reached by the symbolic link {path}; put the file itself there"
                )
        return path


def _said(tensor: Any) -> dict[str, str]:
    """Returns the entries of ``external_data``."""
    said: dict[str, str] = {}
    for entry in tensor.external_data:
        if isinstance(entry.key, bytes) or isinstance(entry.value, bytes):
            raise FormatError("the place of its data is not UTF-8")
        if entry.key in said or entry.key not in _KEYS:
            raise FormatError(
                f"the place of its data has {'twice ' if entry.key in said else 'the unknown '}'{entry.key}'"
            )
        said[entry.key] = entry.value
    if "location" not in said:
        raise FormatError("lies in another file, but does not say in which")
    return said


def _number(said: dict[str, str], key: str) -> int | None:
    text = said.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise FormatError(f"the {key} of its data is '{text[:40]}', expected a number that is not negative")
    return int(text)
