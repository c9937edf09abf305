"""What a net runs in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nuqconv.errors import ConfigError
from nuqconv.frontends.caffe.weights import Weights
from nuqconv.pycaffe.blob import Blob, BlobVec
from nuqconv.pycaffe.definition import Definition
from nuqconv.pycaffe.memory import Floats

__all__ = ["BACKEND_VARIABLE", "Backend", "backend_name", "make_backend"]

BACKEND_VARIABLE = "NUQCONV_PYCAFFE"
"""Environment variable that chooses where nets run: ``onnxruntime`` (the default) or ``caffe``."""

_NAMES = ("onnxruntime", "caffe")


class Backend(Protocol):
    """A net that can run."""

    @property
    def blobs(self) -> Mapping[str, Blob]:
        """Its blobs by name, in the order in which they are made."""

    @property
    def params(self) -> Sequence[BlobVec]:
        """The parameters of each layer."""

    @property
    def public_layers(self) -> list[Any]:
        """What ``Net.layers`` shows."""

    def forward(self, first: int, last: int, wanted: Sequence[Blob]) -> float:
        """Runs layers and returns the loss."""

    def backward(self, first: int, last: int) -> None:
        """Runs layers backwards, from ``first`` down to ``last``."""

    def refuse_backward(self) -> None:
        """Raises UnsupportedError unless there is a backward pass."""

    def reshape(self) -> None:
        """Lets all layers follow their bottoms."""

    def copy_from(self, weights: Weights) -> None:
        """Loads weights."""

    def share_with(self, other: Any) -> None:
        """Takes over the parameters of another net."""

    def set_input_arrays(self, data: Floats, labels: Floats) -> None:
        """Hands arrays to a MemoryData layer."""


def backend_name() -> str:
    """Returns where nets run.

    Raises:
        ConfigError: The environment variable has another value than the known ones.
    """
    name = os.environ.get(BACKEND_VARIABLE) or _NAMES[0]
    if name not in _NAMES:
        raise ConfigError(f"{BACKEND_VARIABLE} is '{name}', expected {' or '.join(_NAMES)}")
    return name


def make_backend(definition: Definition, weights: Weights | None) -> Backend:
    """Returns a net in what the environment variable names."""
    if backend_name() == "caffe":
        from nuqconv.pycaffe.child import ChildBackend  # noqa: PLC0415 - starts a process

        return ChildBackend(definition, weights)
    from nuqconv.pycaffe.engine import Engine  # noqa: PLC0415 - onnxruntime takes a while to import

    return Engine(definition, weights)
