"""Packed varints as numpy arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import ModelError

__all__ = ["decode_varints", "encode_varints"]


def decode_varints(data: bytes) -> NDArray[np.uint64]:
    """Decodes packed protobuf varints.

    Args:
        data: The bytes of a packed field.

    Returns:
        The numbers, uint64.

    Raises:
        ModelError: The bytes end inside a number, or a number has more than 10 bytes.
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if raw.size and (not ends.size or ends[-1] != raw.size - 1):
        raise ModelError("a packed number is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if ends.size else np.zeros(0, np.int64)
    lengths = ends - starts + 1
    if (lengths > 10).any():
        raise ModelError("a packed number has more than 10 bytes")
    values = np.zeros(ends.size, np.uint64)
    for step in range(int(lengths.max(initial=0))):
        here = lengths > step
        values[here] |= (raw[starts[here] + step] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * step)
    return values


def encode_varints(values: NDArray[np.uint64]) -> bytes:
    """Encodes uint64 numbers as packed protobuf varints."""
    values = np.asarray(values, np.uint64).ravel()
    shifts = (np.arange(10, dtype=np.uint64) * np.uint64(7))[None, :]
    groups = values[:, None] >> shifts
    lengths = np.maximum(1, (groups != 0).sum(axis=1))
    place = np.arange(10)[None, :]
    digits = (groups & np.uint64(0x7F)).astype(np.uint8)
    digits[place < lengths[:, None] - 1] |= np.uint8(0x80)
    return bytes(digits[place < lengths[:, None]])
