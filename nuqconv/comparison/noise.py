"""How much of a signal is noise, summed up over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nuqconv.errors import ModelError
from nuqconv.ir import Array

__all__ = ["Noise", "NoiseSum"]

_PART = 1 << 16


@dataclass(frozen=True)
class Noise:
    """What sets a value apart from what it should be, over all of its numbers.

    Attributes:
        relative: Euclidean norm of the difference over that of the signal; infinite where the signal is all zeros and the difference is not.
        cosine: Cosine of the angle between both; 1.0 where both are zero.
        largest: Largest absolute difference.
    """

    relative: float
    cosine: float
    largest: float

    def to_object(self) -> dict[str, float | None]:
        """Returns the numbers for JSON, with as many digits as say something; ``snr_db`` is None where there is no noise."""
        snr = self.snr_db
        largest = float(f"{self.largest:.4g}")
        return {
            "snr_db": round(snr, 2) if math.isfinite(snr) else None,
            "cosine": round(self.cosine, 6),
            "largest": largest,
        }

    @property
    def snr_db(self) -> float:
        """Ratio of signal to noise in dB, ``-20 * log10(relative)``; infinite where there is no noise."""
        if self.relative == 0:
            return math.inf
        return -20 * math.log10(self.relative) if math.isfinite(self.relative) else -math.inf


class NoiseSum:
    """Adds up batches; what it holds does not grow."""

    def __init__(self) -> None:
        self._signal = self._noise = self._found = self._dot = self._largest = 0.0

    def add(self, found: Array, wanted: Array) -> None:
        """Adds the value of a batch.

        Args:
            found: What came out.
            wanted: What should have, with as many numbers.

        Raises:
            ModelError: The numbers are not as many.
        """
        if found.size != wanted.size:
            raise ModelError(f"a value of shape {found.shape} cannot be held against one of shape {wanted.shape}")
        one, two = np.ascontiguousarray(found).reshape(-1), np.ascontiguousarray(wanted).reshape(-1)
        # In parts, since the sums are those of doubles, and the values may be large.
        for start in range(0, one.size, _PART):
            a, b = (array[start : start + _PART].astype(np.float64) for array in (one, two))
            difference = a - b
            self._signal += float(b @ b)
            self._noise += float(difference @ difference)
            self._found += float(a @ a)
            self._dot += float(a @ b)
            self._largest = max(self._largest, float(np.abs(difference).max()))

    def noise(self) -> Noise:
        """Returns what was found so far."""
        relative = 0.0
        if self._noise:
            relative = math.sqrt(self._noise / self._signal) if self._signal else math.inf
        norms = math.sqrt(self._found) * math.sqrt(self._signal)
        cosine = min(1.0, max(-1.0, self._dot / norms)) if norms else float(self._found == self._signal)
        return Noise(relative, cosine, self._largest)
