"""What a search is a search of: hashes of the model, the configuration, the data and the evaluator, for its journal.

A metric stays valid as long as all of these stay. The demand on the metric is no part of it, nor how the search goes about its work.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np

from nuqconv.errors import ConfigError
from nuqconv.ir import Array
from nuqconv.search.metrics import Boxes

__all__ = ["batches_digest", "contents_digest", "evaluator_identity", "states_data_version"]

_DEPTH = 6

# Journals hold hashes of these names: a class that has moved keeps the one that it had, or its searches would be others.
_NAMES_IN_JOURNALS = (
    ("nuqconv.evaluators.ready_made", "nuqconv.evaluators"),
    ("nuqconv.runtimes.caffe", "nuqconv.backends.caffe.runtime"),
    ("nuqconv.runtimes.onnxruntime.session", "nuqconv.backends.onnx.runtime"),
    ("nuqconv.runtimes.onnxruntime", "nuqconv.backends.onnx"),
)


def batches_digest(batches: Iterable[Mapping[str, Array]]) -> str:
    """Returns the SHA-256 of batches of arrays: names, types, shapes and values."""
    found = hashlib.sha256()
    for batch in batches:
        _feed(found, {name: np.asarray(array) for name, array in batch.items()}, _DEPTH)
    return found.hexdigest()


def contents_digest(value: object) -> str:
    """Returns the SHA-256 of a value: plain values, arrays, mappings, sequences and functions; what is none of these counts by its type."""
    found = hashlib.sha256()
    _feed(found, value, _DEPTH)
    return found.hexdigest()


def states_data_version(evaluator: object) -> bool:
    """Says whether an evaluator names the version of its data.

    Raises:
        ConfigError: Its ``data_version`` is neither a text nor None.
    """
    version = getattr(evaluator, "data_version", None)
    if version is not None and not isinstance(version, str):
        raise ConfigError(
            f"{type(evaluator).__name__}.data_version is {version!r:.60}; it must be a text that changes with the data, or None"
        )
    return version is not None


def evaluator_identity(evaluator: object) -> dict[str, str]:
    """Returns what tells an evaluator and its data from another.

    An evaluator with a ``data_version`` is known by its class and that text. Of any other the source of the class and what its
    attributes hold are hashed, as far as plain values, arrays and functions go; data that it loads by itself are not seen.

    Args:
        evaluator: The user's evaluator.

    Returns:
        Texts by name: ``evaluator``, and ``data version`` or ``evaluator contents``.

    Raises:
        ConfigError: Its ``data_version`` is neither a text nor None.
    """
    kind = type(evaluator)
    name = getattr(evaluator, "known_as", None) or _name_in_journals(kind)
    if states_data_version(evaluator):
        return {"evaluator": name, "data version": str(getattr(evaluator, "data_version"))}  # noqa: B009
    found = hashlib.sha256()
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in ("builtins", "nuqconv"):
            found.update(_source(base).encode())
    _feed(found, getattr(evaluator, "__dict__", {}), _DEPTH)
    return {"evaluator": name, "evaluator contents": found.hexdigest()}


def _name_in_journals(kind: type) -> str:
    module = kind.__module__
    for now, before in _NAMES_IN_JOURNALS:
        if module == now or module.startswith(f"{now}."):
            module = before + module.removeprefix(now)
            break
    return f"{module}.{kind.__qualname__}"


def _source(item: Any) -> str:
    try:
        return inspect.getsource(item)
    except (OSError, TypeError):
        return str(getattr(item, "__qualname__", ""))


def _feed(found: Any, value: object, depth: int) -> None:
    """Add a value to a hash, each kind with a mark of its own; what is no plain value counts by its type only."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        found.update(f"{type(value).__name__} {value!r};".encode("utf-8", "surrogatepass"))
    elif isinstance(value, PathLike):
        found.update(f"path {fspath(value)!r};".encode("utf-8", "surrogatepass"))
    elif isinstance(value, (np.ndarray, np.generic)):
        array = np.ascontiguousarray(value)
        found.update(f"array {array.dtype.str} {array.shape};".encode())
        if array.dtype.kind != "O":
            found.update(array.tobytes())
    elif isinstance(value, Boxes):
        _feed(found, vars(value), depth)
    elif depth and isinstance(value, Mapping):
        found.update(f"mapping {len(value)};".encode())
        for key, item in value.items():
            _feed(found, key, depth - 1)
            _feed(found, item, depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        found.update(f"list {len(value)};".encode())
        for item in value:
            _feed(found, item, depth - 1)
    elif depth and isinstance(value, types.MethodType):
        _feed(found, value.__func__, depth - 1)
        _feed(found, getattr(value.__self__, "__dict__", None), depth - 1)
    elif depth and isinstance(value, types.FunctionType):
        found.update(f"function {value.__qualname__};".encode())
        _feed_code(found, value.__code__, depth - 1)
        _feed(found, value.__defaults__, depth - 1)
        _feed(found, value.__kwdefaults__, depth - 1)
        _feed(found, [_cell(cell) for cell in value.__closure__ or ()], depth - 1)
    else:
        found.update(f"{_name_in_journals(type(value))};".encode())


def _feed_code(found: Any, code: types.CodeType, depth: int) -> None:
    found.update(code.co_code)
    _feed(found, code.co_names, depth)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if depth:
                _feed_code(found, constant, depth - 1)
        else:
            _feed(found, constant, depth)


def _cell(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:
        return None
