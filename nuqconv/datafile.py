"""Data sets in .npz files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuqconv.errors import FormatError
from nuqconv.ir import Array

__all__ = ["DataFile", "read_data"]

_LABELS = ("label", "labels")


@dataclass(frozen=True)
class DataFile:
    """A data set.

    Attributes:
        inputs: For each input blob float32 (N, ...), ready for the net.
        labels: Class of each sample (N,), or None.
    """

    inputs: Mapping[str, Array]
    labels: Array | None


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
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise FormatError(f"{path}: is no .npz file of plain arrays: {error}") from error
    except TypeError as error:
        raise FormatError(
            f"{path}: is a single array; a .npz file with one array for each input blob is expected"
        ) from error
    problems = [f"array '{name}' for the net's input of that name is missing" for name in names if name not in arrays]
    labels = next((arrays[name] for name in _LABELS if name in arrays), None)
    scale = arrays.get("scale", np.float32(1))
    if np.ndim(scale) != 0:
        problems.append(f"'scale' has shape {np.shape(scale)}, expected one number")
    sizes = {name: len(arrays[name]) for name in names if name in arrays and arrays[name].ndim}
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        problems.append(f"the arrays must have one number of samples, at least 1; found {sizes}")
    if labels is not None and sizes and len(labels) != next(iter(sizes.values())):
        problems.append(f"there are {len(labels)} labels for {next(iter(sizes.values()))} samples")
    problems += [
        f"array '{name}' holds {arrays[name].dtype}, expected numbers"
        for name in sizes
        if arrays[name].dtype.kind not in "fiub"
    ]
    if problems:
        raise FormatError(f"{path}: does not fit the net; it holds {', '.join(arrays) or 'nothing'}", problems)
    factor = np.float32(scale)
    return DataFile({name: arrays[name].astype(np.float32) * factor for name in names}, labels)
