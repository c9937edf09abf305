"""Real Caffe in a child process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nuqconv.errors import CaffeProcessError
from nuqconv.runtimes.caffe.locate import require_caffe
from nuqconv.runtimes.child import DEFAULT_TIMEOUT, ChildKind, ChildProcess

__all__ = ["CAFFE", "CaffeProcess", "CaffeVersions"]

_SERVER = Path(__file__).resolve().with_name("worker.py")

CAFFE = ChildKind(
    name="the Caffe process",
    runtime="real Caffe",
    error=CaffeProcessError,
    dtypes=frozenset({"<f4"}),
    imports="Caffe and numpy",
    remedy="name one that can in NUQCONV_CAFFE_PYTHON",
)


class CaffeVersions(NamedTuple):
    """What runs in the child."""

    python: str
    numpy: str
    caffe: str
    caffe_file: str
    layer_types: tuple[str, ...]


class CaffeProcess(ChildProcess):
    """A child process that runs real Caffe; several nets can live in one. See `ChildProcess`.

    Args:
        python: Interpreter that has Caffe; by default what ``require_caffe`` finds.
        timeout: Seconds that one request may take; the child is killed after that.
        env: Environment variables to set or replace for the child.
    """

    kind = CAFFE

    def __init__(
        self,
        python: str | os.PathLike[str] | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        env: Mapping[str, str] | None = None,
    ) -> None:
        found = os.fspath(python) if python is not None else require_caffe().python
        super().__init__(found, _SERVER, timeout=timeout, env=env)
        fields = dict(self.request("hello").fields)
        layer_types = tuple(fields.pop("layer_types"))
        self.versions = CaffeVersions(
            **{key: fields[key] for key in CaffeVersions._fields[:-1]}, layer_types=layer_types
        )
