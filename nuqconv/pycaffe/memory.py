"""The memory of blobs: numbers that are computed when somebody looks at them, and that scripts may write at any time."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Memory"]

Floats = npt.NDArray[np.float32]


class Memory:
    """The numbers of one blob, or of several that share them; flat float32.

    Three things are kept apart. An array that was handed out (`view`) is the memory as long as anybody holds it, so that it shows later
    values as Caffe's does. An array that a computation was promised (`freeze`) never changes: who wants to write gets a copy. And values
    may be deferred: they are computed when they are needed.

    Attributes:
        capacity: The most numbers that it ever held; growing beyond that clears it, as in Caffe.
        exposures: How often an array was handed out.
        fills: How often the numbers were replaced from outside, which computing them late is not.
    """

    def __init__(self) -> None:
        self.capacity = 0
        self.exposures = self.fills = 0
        self._array: Floats | None = None
        self._frozen = False
        self._later: Callable[[], Floats] | None = None
        self._root: weakref.ref[Floats] | None = None

    @property
    def held(self) -> bool:
        """Whether somebody still holds an array that was handed out."""
        return self._root is not None and self._root() is not None

    @property
    def stamp(self) -> int:
        """Another number whenever the memory may have been written."""
        return self.exposures + self.fills

    @property
    def deferred(self) -> bool:
        """Whether the values are still to be computed."""
        return self._later is not None

    def reserve(self, count: int) -> None:
        """Makes room for so many numbers."""
        if count > self.capacity:
            self.capacity = count
            self.fills += 1
            self._array = self._later = self._root = None
            self._frozen = False

    def view(self) -> Floats:
        """Returns the memory, writable."""
        self.exposures += 1
        root: Any = self._root() if self._root is not None else None
        if root is None:
            array = self._known()
            if self._frozen:
                self._array = array = array.copy()
                self._frozen = False
            # A view of a view has the array that owns the memory as its base. Behind a buffer that is this one, whose life can be watched.
            root = np.frombuffer(array.data, np.float32)
            self._root = weakref.ref(root)
        return cast("Floats", root)

    def look(self) -> Floats:
        """Returns the memory to be read at once."""
        return self._known()

    def freeze(self, count: int) -> Floats:
        """Returns the first numbers as they are now, in an array that nobody changes."""
        array = self._known()
        if self.held:
            return cast("Floats", array[:count].copy())
        self._frozen = True
        kept: Floats = array[:count]
        return kept

    def fill(self, values: Floats, *, frozen: bool = False) -> None:
        """Replaces the first numbers.

        Args:
            values: Flat; becomes the memory itself where that goes, so the caller must not use it any more.
            frozen: Whether somebody relies on ``values`` as they are.
        """
        self.fills += 1
        self._replace(values, frozen=frozen)

    def _replace(self, values: Floats, *, frozen: bool = False) -> None:
        self._later = None
        if not self.held and values.size == self.capacity and values.size:
            self._array, self._frozen = values, frozen
            return
        array = self._known()
        if self._frozen:
            self._array = array = array.copy()
            self._frozen = False
        array[: values.size] = values

    def defer(self, compute: Callable[[], Floats]) -> None:
        """Has the first numbers computed when they are needed; at once where somebody is looking."""
        if self.capacity and not self.held:
            self._later = compute
        else:
            self._replace(compute())

    def _known(self) -> Floats:
        """Returns the memory with everything computed."""
        later = self._later
        if later is not None:
            # First computed, then forgotten: a failure can be repeated.
            values = later()
            if self._later is later:
                self._replace(values)
        if self._array is None:
            self._array = np.zeros(max(self.capacity, 1), np.float32)
        return self._array
