"""The base of layers that a script defines."""

from __future__ import annotations

from typing import Any

from nuqconv.pycaffe.blob import BlobVec

__all__ = ["Layer"]


class Layer:
    """A layer of type Python: derive from it and give ``setup``, ``reshape`` and ``forward`` (and ``backward``, which only real Caffe calls).

    Args:
        param: The LayerParameter.

    Attributes:
        blobs: Its parameters; ``setup`` may add some with ``add_blob``.
        param_str: The text that the .prototxt gives it, there from ``setup`` on.
        phase: 0 for TRAIN and 1 for TEST, there from ``setup`` on.
        type: ``"Python"``.
    """

    type = "Python"

    def __init__(self, param: Any = None) -> None:
        del param
        self.blobs = BlobVec()
        self.param_str = ""
        self.phase = 1

    def setup(self, bottom: BlobVec, top: BlobVec) -> None:
        """Called once, before the first `reshape`."""

    def reshape(self, bottom: BlobVec, top: BlobVec) -> None:
        """Called before every `forward`: gives the tops their shapes."""

    def forward(self, bottom: BlobVec, top: BlobVec) -> None:
        """Called in a forward pass: fills the tops."""

    def backward(self, top: BlobVec, propagate_down: Any, bottom: BlobVec) -> None:
        """Called in a backward pass, which only real Caffe has."""
