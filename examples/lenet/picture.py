"""A codebook as a picture in the terminal: how many weights a layer has of each integer, and which integers it keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["picture"]

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 64
_ROWS = 3


def picture(histogram: Sequence[int], codebook: Sequence[int]) -> Iterator[str]:
    """Yields the lines.

    Args:
        histogram: How many weights have each integer from -128 to 127.
        codebook: The integers that are kept.
    """
    counts = np.asarray(histogram, float).reshape(_WIDTH, -1).sum(axis=1)
    # The many weights near zero would leave nothing to see of the others.
    eighths = np.rint(np.sqrt(counts / counts.max()) * 8 * _ROWS).astype(int)
    eighths = np.where(counts > 0, np.maximum(eighths, 1), 0)
    for row in reversed(range(_ROWS)):
        yield "".join(_BARS[min(max(height - 8 * row, 0), 8)] for height in eighths).rstrip()
    kept = {(level + 128) * _WIDTH // 256 for level in codebook}
    yield "".join("▲" if place in kept else "·" for place in range(_WIDTH))
    yield "-128" + "0".center(_WIDTH - 7) + "127"
