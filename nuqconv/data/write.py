"""Data sets written as .npz, a batch at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nuqconv.data.base import DataSet
from nuqconv.errors import ConfigError
from nuqconv.ir import Array

__all__ = ["write_npz"]

_BATCH = 32
# A date of its own would make other bytes of the same data.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_npz(data: DataSet, path: Path) -> bool:
    """Writes the prepared samples, as commands take them: an array for each input, and ``label`` where labels are whole numbers.

    Args:
        data: The set.
        path: A file that does not exist yet.

    Returns:
        Whether the labels are in it; False where they are truths of another kind, or there are none.

    Raises:
        ConfigError: Samples differ in size.
        FormatError: Samples cannot be read.
    """
    labels: list[Array] = []
    plain = data.has_labels()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, (name, shape) in enumerate(data.shapes().items()):
            info = zipfile.ZipInfo(f"{name}.npy", _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (len(data), *shape)}
                np.lib.format.write_array_header_1_0(member, header)
                for array, found in _columns(data, name):
                    if array.shape[1:] != shape:
                        raise ConfigError(
                            f"{data.describe()}: samples differ in size, and one array takes one size; resize them"
                        )
                    member.write(np.ascontiguousarray(array, "<f4").tobytes())
                    plain = plain and isinstance(found, np.ndarray)
                    if number == 0 and plain:
                        labels.append(np.asarray(found))
        if plain:
            info = zipfile.ZipInfo("label.npy", _DATE)
            with archive.open(info, "w") as member:
                np.lib.format.write_array(member, np.concatenate(labels), allow_pickle=False)
    return plain


def _columns(data: DataSet, name: str) -> Iterator[tuple[Array, object]]:
    for batch in data.batches(_BATCH):
        yield batch.inputs[name], batch.labels
