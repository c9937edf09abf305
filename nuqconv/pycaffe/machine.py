"""The functions of pycaffe that concern the machine: modes, devices, logging, time."""

from __future__ import annotations

import logging
import time

from nuqconv.frontends.caffe.layers.registry import LAYER_TYPES
from nuqconv.pycaffe.fillers import Random

__all__ = [
    "Timer",
    "has_nccl",
    "init_log",
    "layer_type_list",
    "log",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]

_LOG = logging.getLogger(__name__)

_HOSTED = (
    "Accuracy",
    "DummyData",
    "EuclideanLoss",
    "Input",
    "MemoryData",
    "Python",
    "SigmoidCrossEntropyLoss",
    "SoftmaxWithLoss",
)


def set_mode_cpu() -> None:
    """Does nothing: nets run on the CPU."""


def set_mode_gpu() -> None:
    """Notes in the log that nets run on the CPU all the same."""
    _LOG.info("set_mode_gpu: nets of nuqconv.pycaffe run on the CPU; the numbers are the same")


def set_device(device: int) -> None:
    """Does nothing: there is only the CPU."""
    del device


def set_random_seed(seed: int) -> None:
    """Begins the random numbers of fillers again; they are not those of real Caffe."""
    Random.seed(seed)


def layer_type_list() -> list[str]:
    """Returns the layer types that can run."""
    return sorted({*tuple(LAYER_TYPES), *_HOSTED})


def init_log(level: int = 0) -> None:
    """Does nothing: messages go to Python's own log."""
    del level


def log(message: str) -> None:
    """Writes a line to the log."""
    _LOG.info("%s", message)


def has_nccl() -> bool:
    """Returns False."""
    return False


def solver_count() -> int:
    """Returns 1, as in a process that trains alone."""
    return 1


def solver_rank() -> int:
    """Returns 0, as in a process that trains alone."""
    return 0


def set_solver_count(count: int) -> None:
    """Does nothing: there are no solvers."""
    del count


def set_solver_rank(rank: int) -> None:
    """Does nothing: there are no solvers."""
    del rank


def set_multiprocess(multiprocess: bool) -> None:
    """Does nothing: there are no solvers."""
    del multiprocess


class Timer:
    """Measures time.

    Attributes:
        ms: Milliseconds between `start` and `stop`, or until now while it runs.
    """

    def __init__(self) -> None:
        self._begin = 0.0
        self._end: float | None = 0.0

    def start(self) -> None:
        """Starts."""
        self._begin, self._end = time.perf_counter(), None

    def stop(self) -> None:
        """Stops."""
        self._end = time.perf_counter()

    @property
    def ms(self) -> float:
        """Milliseconds."""
        end = time.perf_counter() if self._end is None else self._end
        return (end - self._begin) * 1000
