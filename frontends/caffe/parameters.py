"""The weights of layers as the constant tensors of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe.layers import CannotReadError, Reading
from nuqconv.frontends.caffe.weights import Weights, blob_array, blob_shape
from nuqconv.ir import Array

__all__ = ["Parameters"]


class Parameters:
    """Takes the blobs of one layer after the other.

    Args:
        weights: The stored layers.
        layers: The LayerParameters of the net, for blobs that one layer stores and another shares by name.

    Attributes:
        arrays: The tensors by name: ``layer/number``, or ``param:name`` for those that layers share.
    """

    def __init__(self, weights: Weights, layers: Iterable[Any] = ()) -> None:
        self._weights = weights
        self._owned = _stored_once(weights, layers)
        self.arrays: dict[str, Array] = {}
        self._shared: set[str] = set()

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
        stored = self.stored(message)
        if not ranks and not stored:
            return ()
        path = self._weights.path
        if len(stored) != len(ranks):
            known = message.name in self._weights.layers or stored
            missing = f"has {len(stored)} blobs" if known else "has no entry"
            problems.append(f"needs {len(ranks)} blobs, {path} {missing} for it")
            return ()
        names = []
        for number, (blob, rank) in enumerate(zip(stored, ranks, strict=True)):
            name, shared = self._name(message, number)
            try:
                array = blob_array(blob, rank)
                array = reading.convert(array) if reading.convert else array
            except (ModelError, CannotReadError) as error:
                problems.append(f"blob {number} of shape {_shown(blob_shape(blob, rank))} {error} ({path})")
                continue
            if name in self.arrays and not (shared and name in self._shared):
                problems.append(f"blob {number} would be called '{name}', as that of another layer is; rename one")
                continue
            if name in self.arrays and self.arrays[name].shape != array.shape:
                problems.append(f"blob {number} is shared as '{name}', but the shapes differ")
                continue
            # Caffe copies layer by layer into shared memory: the last one stays.
            self.arrays[name] = array
            if shared:
                self._shared.add(name)
            names.append(name)
        return tuple(names)

    def stored(self, message: Any) -> Sequence[Any]:
        """Returns a layer's blobs, those that only another layer stores among them.

        Args:
            message: The LayerParameter of the net.
        """
        entry = self._weights.layers.get(message.name)
        if entry is not None:
            # A blob that is not in the file may be in it for another layer.
            specs = [*message.param, *[None] * len(entry.blobs)]
            return tuple(
                self._owned.get(spec.name, blob) if spec is not None and not blob.ByteSize() else blob
                for spec, blob in zip(specs, entry.blobs, strict=False)
            )
        shared = [self._owned.get(item.name) for item in message.param if item.name]
        # A blob of the layer's own is stored nowhere.
        whole = len(shared) == len(message.param)
        return tuple(blob for blob in shared if blob is not None) if whole else ()

    @staticmethod
    def _name(message: Any, number: int) -> tuple[str, bool]:
        """Returns the name of a blob's tensor and whether layers may share it."""
        if number < len(message.param) and message.param[number].name:
            return f"param:{message.param[number].name}", True
        return f"{message.name}/{number}", False


def _stored_once(weights: Weights, layers: Iterable[Any]) -> dict[str, Any]:
    """Returns the blobs that layers share, by the name that they share them by; as in Caffe the last one that is copied stays."""
    found = {}
    for message in layers:
        entry = weights.layers.get(message.name)
        for spec, blob in zip(message.param, () if entry is None else entry.blobs, strict=False):
            if spec.name and blob.ByteSize():
                found[spec.name] = blob
    return found


def _shown(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) <= 32 else f"({', '.join(map(str, shape[:8]))}, ...)"
