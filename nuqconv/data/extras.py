"""The packages of the extra ``nuqconv[data]``, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from nuqconv.errors import RuntimeMissingError

__all__ = ["h5py", "lmdb", "pillow"]


def pillow() -> Any:
    """Returns ``PIL.Image``."""
    return _imported("PIL.Image", "Pillow", "pictures are read with")


def lmdb() -> Any:
    """Returns the module ``lmdb``."""
    return _imported("lmdb", "lmdb", "an LMDB is read with")


def h5py() -> Any:
    """Returns the module ``h5py``."""
    return _imported("h5py", "h5py", "HDF5 files are read with")


def _imported(module: str, package: str, use: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RuntimeMissingError(f"{use} {package}, which is not here: pip install 'nuqconv[data]'") from error
