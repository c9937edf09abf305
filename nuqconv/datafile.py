"""Data sets in .npz files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuqconv.errors import FormatError
from nuqconv.ir import Array

__all__ = ["DataFile", "read_arrays", "read_data"]

_LABELS = ("label", "labels")
_NUMBERS = "fiub"


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

    Raises:
        FormatError: The file cannot be read, or is no such file.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise FormatError(f"{path}: is a single array; a .npz file with one array for each input blob is expected")
        with file:
            return {name: np.asarray(file[name]) for name in file.files}
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FormatError(f"{path}: is no .npz file of plain arrays: {error}") from error


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
    if scale.ndim != 0:
        problems.append(f"'scale' has shape {scale.shape}, expected one number")
    elif scale.dtype.kind not in _NUMBERS:
        problems.append(f"'scale' holds {scale.dtype}, expected one number")
    sizes = {name: len(arrays[name]) for name in names if name in arrays and arrays[name].ndim}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        problems.append(f"the arrays must have one number of samples, at least 1; found {sizes}")
    if labels is not None and not labels.ndim:
        problems.append("'label' is a single number, expected one for each sample")
    elif labels is not None and sizes and len(labels) != next(iter(sizes.values())):
        problems.append(f"there are {len(labels)} labels for {next(iter(sizes.values()))} samples")
    for name in (name for name in names if name in arrays):
        if arrays[name].dtype.kind not in _NUMBERS:
            problems.append(f"array '{name}' holds {arrays[name].dtype}, expected numbers")
        elif not arrays[name].ndim:
            problems.append(f"array '{name}' is a single number, expected one entry for each sample")
    if problems:
        raise FormatError(f"{path}: does not fit the net; it holds {', '.join(arrays) or 'nothing'}", problems)
    factor = np.float32(scale)
    return DataFile({name: arrays[name].astype(np.float32) * factor for name in names}, labels)
