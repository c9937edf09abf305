"""The weights of one layer as small pictures: how many there are of each integer, and the levels that are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nuqconv.report.document import LayerRow
from nuqconv.report.html.text import attribute, escaped

__all__ = ["DETAILS", "Detail", "WeightPictures"]

_BLOCKS = (
    "\N{LOWER ONE EIGHTH BLOCK}\N{LOWER ONE QUARTER BLOCK}\N{LOWER THREE EIGHTHS BLOCK}\N{LOWER HALF BLOCK}"
    "\N{LOWER FIVE EIGHTHS BLOCK}\N{LOWER THREE QUARTERS BLOCK}\N{LOWER SEVEN EIGHTHS BLOCK}\N{FULL BLOCK}"
)

_HIGH = 60
"""Height of a histogram in its own units; the style sheet gives it its size."""


@dataclass(frozen=True)
class Detail:
    """How fine pictures are, so that a page of hundreds of layers can still be sent.

    Attributes:
        bins: Into how many parts the 256 integers are divided.
        levels: Width of the mark of a level, or 0 for none: the histogram then has one bar for each level, as wide as what is moved to it.
        cells: Whether it has.
        text: Whether it is written in letters.
    """

    bins: int
    levels: int
    cells: bool = False
    text: bool = False

    @property
    def units(self) -> int:
        """Width of a histogram in its own units."""
        return 256 if self.cells else self.bins


DETAILS = (Detail(128, 2), Detail(64, 2), Detail(32, 1), Detail(16, 0, cells=True), Detail(16, 0, text=True))
"""From the finest."""


@dataclass(frozen=True)
class WeightPictures:
    """Makes the pictures.

    Attributes:
        histograms: By layer how many weights have each of the 256 integers, from -128 on.
        plan: The plan of the result in its own form, or None.
        detail: How fine the pictures are.
    """

    histograms: Mapping[str, Sequence[int]]
    plan: Mapping[str, Any] | None
    detail: Detail

    def picture(self, layer: LayerRow) -> str:
        """Returns the picture of a layer; nothing where its weights are not known."""
        counts = self.histograms.get(layer.name)
        if not counts:
            return ""
        levels = self.levels(layer.name)
        words = "all 256 levels" if levels is None else " ".join(map(str, levels))
        numbers = np.asarray(counts, np.float64)
        if self.detail.text:
            return (
                f"<span title={attribute(words)}>{_letters(numbers.reshape(self.detail.bins, -1).mean(axis=1))}</span>"
            )
        area = self._cells(numbers, levels or range(-120, 128, 16)) if self.detail.cells else self._outline(numbers)
        marks = ""
        if levels and self.detail.levels:
            marks = f'<line x2=256 stroke-dasharray="{_dashes(levels, self.detail.levels)}"/>'
        return f'<svg role=img><title>{escaped(layer.name)}</title><desc>{words}</desc><path d="{area}"/>{marks}</svg>'

    def input_of(self, layer: LayerRow) -> tuple[float | None, int | None]:
        """Returns step size and offset of a layer's input; None where it stays float."""
        plan = (self.plan or {}).get("layers", {}).get(layer.name) or {}
        activation = plan.get("activation") or {}
        return activation.get("scale"), activation.get("offset")

    def levels(self, name: str) -> list[int] | None:
        """Returns the codebook of a layer, or None if it has none."""
        plan = (self.plan or {}).get("layers", {}).get(name)
        found: list[int] | None = None if plan is None else plan.get("codebook")
        return found

    def _outline(self, counts: NDArray[np.float64]) -> str:
        heights = _heights(counts.reshape(self.detail.bins, -1).mean(axis=1))
        steps = np.diff(np.concatenate([[0], heights]))
        return f"M0 {_HIGH}l0{_signed(-steps[0])}" + "".join(f" 1{_signed(-s)}" for s in steps[1:]) + f"V{_HIGH}"

    def _cells(self, counts: NDArray[np.float64], levels: Sequence[int]) -> str:
        """One bar for each level, from the middle between it and the one before to the middle behind it."""
        places = np.asarray(levels) + 128
        edges = np.concatenate([[0], (places[1:] + places[:-1] + 1) // 2, [256]])
        sums = np.concatenate([[0], np.cumsum(counts)])
        heights = _heights((sums[edges[1:]] - sums[edges[:-1]]) / np.maximum(np.diff(edges), 1))
        path, before = f"M0 {_HIGH}", 0
        for height, width in zip(heights.tolist(), np.diff(edges).tolist(), strict=True):
            path += (f"v{before - height}" if height != before else "") + f"h{width}"
            before = height
        return f"{path}V{_HIGH}"


def _letters(values: NDArray[np.float64]) -> str:
    roots = np.sqrt(values)
    places = np.rint((len(_BLOCKS) - 1) * roots / (float(roots.max()) or 1.0)).astype(np.int64)
    return "".join(_BLOCKS[place] for place in places)


def _heights(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Heights grow with the root of the counts, so that the tails are seen."""
    roots = np.sqrt(values)
    return np.rint(_HIGH * roots / (float(roots.max()) or 1.0)).astype(np.int64)


def _signed(step: int) -> str:
    return f"{step}" if step < 0 else f" {step}"


def _dashes(levels: Sequence[int], width: int) -> str:
    """Dashes of a line from -128 to 127 that is drawn only at the levels."""
    parts, at = ["0"], 0
    for place, level in enumerate(levels):
        start = level + 128
        room = (levels[place + 1] - level) if place + 1 < len(levels) else width
        parts += [str(start - at), str(min(width, room))]
        at = start + min(width, room)
    return " ".join([*parts, "256"])
