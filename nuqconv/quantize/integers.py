"""The integers of one layer: what a quantized layer's weights, step sizes and bias are, and a name for them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import FormatError

__all__ = ["QuantizedWeights"]

_MAX_HEADER = 4096
# Caffe's blobs: 32 axes, here with the three other counts, and 2**31 - 1 numbers.
_MOST_COUNTS = 35
_MOST_WEIGHTS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """The integers of one layer.

    Attributes:
        weights: int8, shape of the float weights.
        scales: float32 step sizes, one for each output channel, or one.
        bias: int32 (num_output,), or None if the layer has no bias or no activation scale.
        float_bias: float32 (num_output,), the bias of a layer whose input stays float, where calibration has chosen another than the layer's own.
    """

    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32] | None
    float_bias: NDArray[np.float32] | None = None

    def as_floats(self, channel_axis: int) -> NDArray[np.float32]:
        """Returns the weights that the integers stand for, float32 in their shape.

        Args:
            channel_axis: Axis of the output channels; without meaning where one step size serves all.
        """
        found = self.weights.astype(np.float32)
        found *= self.steps(channel_axis)
        return found

    def steps(self, channel_axis: int) -> NDArray[np.float32]:
        """Returns the step sizes with as many axes as the weights have; see `as_floats`."""
        shape = [1] * self.weights.ndim
        if self.scales.size > 1:
            shape[channel_axis] = -1
        return self.scales.reshape(shape)

    def to_bytes(self) -> bytes:
        """Returns one line of JSON with the shapes, then the arrays' bytes in little-endian order; equal integers give equal bytes."""
        return b"".join(self._chunks())

    def _chunks(self) -> Iterator[bytes | memoryview]:
        header = {
            "weights": list(self.weights.shape),
            "scales": self.scales.size,
            "bias": None if self.bias is None else self.bias.size,
            **({} if self.float_bias is None else {"float_bias": self.float_bias.size}),
        }
        yield json.dumps(header).encode("ascii")
        yield b"\n"
        yield np.ascontiguousarray(self.weights).reshape(-1).view(np.uint8).data
        yield self.scales.astype("<f4").tobytes()
        if self.bias is not None:
            yield self.bias.astype("<i4").tobytes()
        if self.float_bias is not None:
            yield self.float_bias.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> QuantizedWeights:
        """Read what `to_bytes` wrote; the arrays are read-only views of ``data``.

        Raises:
            FormatError: The bytes are none of a layer's integers.
        """
        line, newline, _ = data[:_MAX_HEADER].partition(b"\n")
        try:
            header = json.loads(line) if newline else None
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict) or set(header) - {"float_bias"} != {"weights", "scales", "bias"}:
            raise FormatError("stored integers of a layer begin with no header; the file is damaged")
        shape, scales, bias, own = header["weights"], header["scales"], header["bias"], header.get("float_bias")
        biases = [0 if bias is None else bias, 0 if own is None else own]
        counts = [*shape, scales, *biases] if isinstance(shape, list) else [None]
        sound = all(type(count) is int and count >= 0 for count in counts)
        # numpy multiplies the other sizes even where one is 0.
        if not sound or len(counts) > _MOST_COUNTS or math.prod(max(count, 1) for count in shape) > _MOST_WEIGHTS:
            raise FormatError(f"stored integers of a layer have the sizes {header!r}; the file is damaged")
        total = math.prod(shape)
        if len(data) - len(line) - 1 != total + 4 * (scales + sum(biases)):
            raise FormatError(
                f"stored integers of a layer: {len(data)} bytes do not fit the sizes {header!r}; the file is damaged"
            )
        start = len(line) + 1
        weights = np.frombuffer(data, np.int8, total, start).reshape(shape)
        steps = np.frombuffer(data, "<f4", scales, start + total)
        after = start + total + 4 * scales
        found = None if bias is None else np.frombuffer(data, "<i4", bias, after)
        floats = None
        if own is not None:
            floats = np.frombuffer(data, "<f4", own, after + 4 * biases[0]).astype(np.float32, copy=False)
        return cls(weights, steps.astype(np.float32, copy=False), found, floats)

    def digest(self) -> str:
        """Returns the SHA-256 of `to_bytes` in hexadecimal, the name of these integers in plans."""
        found = hashlib.sha256()
        for chunk in self._chunks():
            found.update(chunk)
        return found.hexdigest()
