"""What a metric needs of the original model's outputs, batch by batch: in memory as long as it is little, then in a file."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from nuqconv.errors import EvaluatorError
from nuqconv.ir import Array

__all__ = ["Reference"]

MOST_BYTES = 32 << 20
"""What is held in memory."""

Place = tuple[int, str, tuple[int, ...]]
"""Where an array stands in the file, its type and its shape."""


class Reference:
    """Arrays by batch and name; it may be read from several threads.

    Pickled, it holds all of them.

    Args:
        most_bytes: How much is held in memory; what comes later goes to a temporary file, which is gone when this object is.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._start()

    def _start(self) -> None:
        self._batches: list[dict[str, Array | Place]] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, Array]:
        return {
            name: self._read(*value) if isinstance(value, tuple) else value
            for name, value in self._batches[number].items()
        }

    def append(self, batch: Mapping[str, Array]) -> None:
        """Adds a batch.

        Raises:
            EvaluatorError: The file cannot be written.
        """
        size = sum(array.nbytes for array in batch.values())
        if self._held + size <= self._most_bytes:
            self._held += size
            # A runtime may use its arrays again for the next batch.
            self._batches.append({name: np.array(array) for name, array in batch.items()})
            return
        try:
            self._batches.append({name: self._write(np.ascontiguousarray(array)) for name, array in batch.items()})
        except OSError as error:
            raise EvaluatorError(
                f"the original model's outputs cannot be kept in {tempfile.gettempdir()}: {error.strerror or error}; "
                "set TMPDIR to a folder with room, take fewer samples, or judge by a smaller output (outputs=)"
            ) from error

    def _write(self, array: Array) -> Place:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="nuqconv-reference-")  # noqa: SIM115  (it lives as long as this object)
        place = self._file.seek(0, 2)
        self._file.write(array.data)
        return place, array.dtype.str, array.shape

    def _read(self, place: int, dtype: str, shape: tuple[int, ...]) -> Array:
        array = np.empty(shape, dtype)
        with self._lock:
            if self._file is None:
                raise EvaluatorError("the file of the original model's outputs is gone")
            self._file.seek(place)
            count = self._file.readinto(array.data)  # type: ignore[attr-defined]
        if count != array.nbytes:
            raise EvaluatorError("the file of the original model's outputs is shorter than what was written")
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {"most_bytes": self._most_bytes, "batches": [self[number] for number in range(len(self))]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._most_bytes = state["most_bytes"]
        self._start()
        for batch in state["batches"]:
            self.append(batch)
