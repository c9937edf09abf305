"""Blobs as pycaffe shows them."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from operator import index
from typing import Any

import numpy as np

from nuqconv.errors import NetError
from nuqconv.ir.ops import Shape
from nuqconv.pycaffe.memory import Floats, Memory

__all__ = ["Blob", "BlobVec", "Epoch"]

_LEGACY_AXES = 4


class Epoch:
    """Counts the changes of shapes in a net."""

    def __init__(self) -> None:
        self.number = 0


class Blob:
    """An array in a net, of any shape, float32.

    Args:
        shape: Its shape.
        epoch: Is told when the shape changes.
        memory: Where its numbers are; by default a memory of its own.
    """

    def __init__(self, shape: Shape = (), epoch: Epoch | None = None, memory: Memory | None = None) -> None:
        self._epoch = epoch or Epoch()
        self._memory = memory or Memory()
        self._diff = Memory()
        self._shape: Shape = ()
        self._count = 0
        self._set_shape(shape)

    @property
    def memory(self) -> Memory:
        """Where its numbers are."""
        return self._memory

    @memory.setter
    def memory(self, memory: Memory) -> None:
        self._memory = memory
        memory.reserve(self._count)

    @property
    def diff_memory(self) -> Memory:
        """Where its gradient is."""
        return self._diff

    @property
    def shape(self) -> Shape:
        """The size of each axis."""
        return self._shape

    @property
    def count(self) -> int:
        """The number of elements."""
        return self._count

    @property
    def data(self) -> Floats:
        """The numbers, in an array that can be written and that shows later values too."""
        return self._memory.view()[: self._count].reshape(self._shape)

    def assign(self, array: Any) -> None:
        """Writes an array over all numbers, by numpy's rules of broadcasting.

        Raises:
            ValueError: It does not fit.
        """
        if self._memory.held or np.shape(array) != self._shape or self._count != self._memory.capacity:
            self.data[...] = array
        else:
            self._memory.fill(np.array(array, np.float32).reshape(-1))

    @property
    def diff(self) -> Floats:
        """The gradient; 0 until a backward pass."""
        self._diff.reserve(self._count)
        return self._diff.view()[: self._count].reshape(self._shape)

    @property
    def num(self) -> int:
        """Size of axis 0."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """Size of axis 1."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """Size of axis 2."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """Size of axis 3."""
        return self._legacy(3)

    def reshape(self, *shape: int, **other: Any) -> None:
        """Gives it another shape; a net follows with its next forward pass or with ``Net.reshape``.

        Raises:
            RuntimeError: There are keyword arguments, as in pycaffe.
            TypeError: A size is no integer.
            NetError: A size is negative.
        """
        if other:
            raise RuntimeError("Blob.reshape takes no kwargs")
        self._set_shape(tuple(index(size) for size in shape))

    def _set_shape(self, shape: Shape) -> None:
        if any(size < 0 for size in shape):
            raise NetError(f"a blob cannot have the shape {shape}: a size is negative")
        if shape != self._shape:
            self._shape = shape
            self._epoch.number += 1
        self._count = prod(shape)
        self._memory.reserve(self._count)

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > _LEGACY_AXES:
            raise NetError(
                f"num, channels, height and width are for blobs of at most 4 axes; this one has {len(self._shape)}: use shape"
            )
        return self._shape[axis] if axis < len(self._shape) else 1


class BlobVec(list[Blob]):
    """A list of blobs that can make new ones."""

    def __init__(self, blobs: Iterable[Blob] = ()) -> None:
        super().__init__(blobs)

    def __getitem__(self, position: Any) -> Any:
        try:
            return super().__getitem__(position)
        except IndexError:
            raise IndexError("Index out of range") from None

    def add_blob(self, *shape: int, **other: Any) -> None:
        """Appends a blob of zeros, for instance the parameter of a Python layer."""
        if other:
            raise RuntimeError("BlobVec.add_blob takes no kwargs")
        self.append(Blob(tuple(index(size) for size in shape)))
