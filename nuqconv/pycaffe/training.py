"""What belongs to training, which is left to real Caffe: each name is there, and says so."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from nuqconv.errors import NetError, UnsupportedError

__all__ = [
    "NCCL",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "NesterovSolver",
    "RMSPropSolver",
    "SGDSolver",
    "get_solver",
]


def _refuse(name: str) -> NoReturn:
    raise UnsupportedError(
        f"caffe.{name}: training is left to real Caffe; nuqconv.pycaffe runs forward passes. Run the script with an interpreter that has Caffe "
        "(nuqconv doctor shows where one is, make caffe gets one)"
    )


class _Solver:
    """A solver of real Caffe."""

    def __init__(self, solver_file: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        del args, kwargs
        if not os.path.isfile(solver_file):  # noqa: PTH113 - as pycaffe checks it
            raise NetError(f"Could not open file {os.fspath(solver_file)}")
        _refuse(type(self).__name__)


class SGDSolver(_Solver):
    """Refused."""


class NesterovSolver(_Solver):
    """Refused."""


class AdaGradSolver(_Solver):
    """Refused."""


class RMSPropSolver(_Solver):
    """Refused."""


class AdaDeltaSolver(_Solver):
    """Refused."""


class AdamSolver(_Solver):
    """Refused."""


def get_solver(solver_file: str | os.PathLike[str]) -> NoReturn:
    """Refused.

    Raises:
        NetError: There is no such file.
        UnsupportedError: Else.
    """
    if not os.path.isfile(solver_file):  # noqa: PTH113
        raise NetError(f"Could not open file {os.fspath(solver_file)}")
    _refuse("get_solver")


class NCCL:
    """Refused."""

    def __init__(self, *args: Any) -> None:
        del args
        _refuse("NCCL")
