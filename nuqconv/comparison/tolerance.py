"""What counts as equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nuqconv.errors import ConfigError

__all__ = ["Tolerance"]


@dataclass(frozen=True)
class Tolerance:
    """When two numbers count as equal: ``|a - b| <= atol * max(1, largest |b|) + rtol * |b|``.

    The absolute part grows with the blob's largest number, as the rounding of a sum grows with its terms.

    Attributes:
        rtol: Relative tolerance.
        atol: Absolute tolerance; in a blob with numbers above 1 a multiple of its largest.

    Raises:
        ConfigError: A number is negative.
    """

    rtol: float = 1e-3
    atol: float = 1e-5

    def __post_init__(self) -> None:
        if not (self.rtol >= 0 and self.atol >= 0):
            raise ConfigError(f"rtol {self.rtol} and atol {self.atol} must not be negative")

    def differs(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Returns where two arrays of one shape differ; NaN equals NaN, an infinity itself."""
        size = np.abs(b)
        finite = size[np.isfinite(size)]
        bound = self.atol * max(1.0, float(finite.max()) if finite.size else 0.0) + self.rtol * size
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= bound
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        both = np.isfinite(a) & np.isfinite(b)
        wrong: NDArray[np.bool_] = ~(same | (near & both))
        return wrong
