"""What a net sees of a data set: the range and the mean of its inputs, and pictures of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nuqconv.data.base import DataSet
from nuqconv.data.extras import pillow
from nuqconv.errors import ConfigError
from nuqconv.ir import Array

__all__ = ["Seen", "contact_sheet", "look", "said"]

LOOKED_AT = 64
"""Samples that are looked at."""
_GAP = 4
_WIDEST = 1280
_TALLEST = 96


@dataclass(frozen=True)
class Seen:
    """The numbers of one input.

    Attributes:
        low: The smallest.
        high: The largest.
        mean: Their mean.
        samples: Samples that were looked at.
    """

    low: float
    high: float
    mean: float
    samples: int


def look(data: DataSet, limit: int = LOOKED_AT) -> dict[str, Seen]:
    """Returns what the numbers of each input are in the first samples.

    Raises:
        FormatError: Samples cannot be read.
    """
    found: dict[str, Seen] = {}
    for batch in data.batches(1, limit):
        for name, array in batch.inputs.items():
            one = Seen(float(array.min()), float(array.max()), float(array.mean(dtype=np.float64)), 1)
            before = found.get(name, Seen(math.inf, -math.inf, 0.0, 0))
            count = before.samples + 1
            mean = before.mean + (one.mean - before.mean) / count
            found[name] = Seen(min(before.low, one.low), max(before.high, one.high), mean, count)
    return found


def said(data: DataSet) -> str:
    """Returns in one line what the set is and what the net sees of it.

    Raises:
        FormatError: Samples cannot be read.
    """
    parts = []
    seen = look(data)
    for name, one in seen.items():
        label = "" if len(seen) == 1 else f"{name} "
        parts.append(f"{label}{one.low:.2f} .. {one.high:.2f}, mean {one.mean:.2f}")
    samples = next(iter(seen.values())).samples
    some = "" if samples == len(data) else f" (in the first {samples})"
    return f"{data.describe()}, {'; '.join(parts)}{some}"


def contact_sheet(data: DataSet, limit: int = LOOKED_AT) -> Array:
    """Returns the first pictures as the net sees them, side by side.

    Blue and red are where the net has them: what it takes for its first channel is shown as red if the preparation says ``rgb``, else as blue. The
    range from the smallest to the largest number is shown as black to white, one range for all.

    Args:
        data: A set whose first input of pictures (C, H, W) is shown.
        limit: Most pictures.

    Returns:
        (H, W, 3), uint8, red first.

    Raises:
        ConfigError: No input holds pictures.
        FormatError: Samples cannot be read.
    """
    name = next((name for name, shape in data.shapes().items() if _channels(shape) is not None), None)
    if name is None:
        raise ConfigError(
            f"{data.describe()}: no input is a picture (1, 3 or 4 channels), so that there is no sheet of them"
        )
    seen = look(data, limit)[name]
    prep = getattr(data, "prep", None)
    red_first = getattr(prep, "colour", None) == "rgb"
    tiles = []
    for batch in data.batches(1, limit):
        pixels = batch.inputs[name][0]
        if _channels(pixels.shape) == "last":
            pixels = pixels.transpose(2, 0, 1)
        scaled = (pixels - seen.low) / ((seen.high - seen.low) or 1.0)
        colours = scaled[:3] if red_first else scaled[:3][::-1]
        tile = np.repeat(colours, 3, axis=0) if len(colours) == 1 else colours
        tiles.append(_fitted((255 * tile.transpose(1, 2, 0)).round().astype(np.uint8)))
    return _rows(tiles)


def _channels(shape: tuple[int, ...]) -> str | None:
    if len(shape) != 3:
        return None
    return "first" if shape[0] in (1, 3, 4) else "last" if shape[2] in (1, 3, 4) else None


def _fitted(tile: Array) -> Array:
    """Returns a picture not larger than a place on the sheet."""
    height, width = tile.shape[:2]
    scale = min(1.0, _TALLEST / height, _WIDEST / width)
    if scale == 1.0:
        return tile
    image = pillow()
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(image.fromarray(tile).resize(size, image.Resampling.BOX))


def _rows(tiles: list[Array]) -> Array:
    """Returns pictures side by side in rows."""
    rows: list[list[Array]] = [[]]
    for tile in tiles:
        if rows[-1] and sum(item.shape[1] + _GAP for item in (*rows[-1], tile)) + _GAP > _WIDEST:
            rows.append([])
        rows[-1].append(tile)
    width = max(sum(item.shape[1] + _GAP for item in row) for row in rows) + _GAP
    heights = [max(item.shape[0] for item in row) for row in rows]
    sheet = np.full((sum(heights) + _GAP * (len(rows) + 1), width, 3), 255, np.uint8)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        left = _GAP
        for tile in row:
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            left += tile.shape[1] + _GAP
        top += height + _GAP
    return sheet
