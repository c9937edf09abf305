"""The weights of layers as the constant tensors of a graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe.layers import CannotReadError, Reading
from nuqconv.frontends.caffe.weights import Weights, blob_array, blob_shape
from nuqconv.ir import Array

__all__ = ["Parameters"]

_SHARED = "param:"


class Parameters:
    """Takes the blobs of one layer after the other.

    Attributes:
        arrays: The tensors by name: ``layer/number``, or ``param:name`` for those that layers share.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.arrays: dict[str, Array] = {}

    def take(self, message: Any, reading: Reading, problems: list[str]) -> tuple[str, ...]:
        """Takes a layer's blobs.

        Args:
            message: The LayerParameter of the net.
            reading: What its reader has made of it.
            problems: Takes what does not fit.

        Returns:
            The names of its tensors.
        """
        ranks = reading.param_ranks
        stored = self._weights.layers.get(message.name)
        found = len(stored.blobs) if stored is not None else 0
        if not ranks and not found:
            return ()
        path = self._weights.path
        if stored is None or found != len(ranks):
            missing = "has no entry" if stored is None else f"has {found} blobs"
            problems.append(f"needs {len(ranks)} blobs, {path} {missing} for it")
            return ()
        names = []
        for number, (blob, rank) in enumerate(zip(stored.blobs, ranks, strict=True)):
            name = self._name(message, number)
            try:
                array = blob_array(blob, rank)
                array = reading.convert(array) if reading.convert else array
            except (ModelError, CannotReadError) as error:
                problems.append(f"blob {number} of shape {_shown(blob_shape(blob, rank))} {error} ({path})")
                continue
            if name in self.arrays and not name.startswith(_SHARED):
                problems.append(f"blob {number} would be called '{name}', as that of another layer is; rename one")
                continue
            if name in self.arrays and self.arrays[name].shape != array.shape:
                problems.append(f"blob {number} is shared as '{name}', but the shapes differ")
                continue
            # Caffe copies layer by layer into shared memory: the last one stays.
            self.arrays[name] = array
            names.append(name)
        return tuple(names)

    @staticmethod
    def _name(message: Any, number: int) -> str:
        shared: Iterable[Any] = message.param
        specs = list(shared)
        if number < len(specs) and specs[number].name:
            return f"{_SHARED}{specs[number].name}"
        return f"{message.name}/{number}"


def _shown(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) <= 32 else f"({', '.join(map(str, shape[:8]))}, ...)"
