"""What pictures are made of: scales with round marks, axes, and a frame that says what the picture shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nuqconv.report.html.text import escaped

__all__ = ["HEIGHT", "WIDTH", "Plot", "Scale", "label", "picture", "point", "ticks"]

WIDTH, HEIGHT = 520, 300
"""Size of a picture in its own units; on the page it is as wide as there is room."""


@dataclass(frozen=True)
class Scale:
    """Maps numbers to a place on an axis."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Returns the place of a number; one outside is put at the end."""
        if self.high == self.low:
            return (self.start + self.stop) / 2
        part = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return self.start + part * (self.stop - self.start)


def point(value: float) -> str:
    """Returns a coordinate in as few digits as can be seen."""
    return f"{value:.1f}".removesuffix(".0")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Returns about so many round numbers in a range."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def label(x: float, y: float, text: str, anchor: str = "", kind: str = "") -> str:
    """Returns a text in a picture.

    Args:
        x: Where it stands.
        y: Its baseline.
        text: What it says.
        anchor: ``middle`` or ``end`` where it does not begin at x.
        kind: Classes of the style sheet.
    """
    extra = (f" text-anchor={anchor}" if anchor else "") + (f' class="{kind}"' if kind else "")
    return f"<text x={point(x)} y={point(y)}{extra}>{escaped(text)}</text>"


def picture(
    number: str, title: str, description: str, content: str, *, height: int = HEIGHT, width: int = WIDTH
) -> str:
    """Returns a picture with its title and description for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" role=img aria-labelledby="{number}t {number}d">'
        f"<title id={number}t>{escaped(title)}</title><desc id={number}d>{escaped(description)}</desc>{content}</svg>"
    )


@dataclass(frozen=True)
class Plot:
    """A picture with two axes.

    Attributes:
        x: Places of numbers from left to right.
        y: Places of numbers from the bottom up.
    """

    x: Scale
    y: Scale

    def axes(
        self,
        x_ticks: Sequence[float],
        y_ticks: Sequence[float],
        x_text: Callable[[float], str],
        y_text: Callable[[float], str],
        x_title: str,
        y_title: str,
    ) -> str:
        """Returns grid lines, marks and titles."""
        left, right, bottom, top = self.x.start, self.x.stop, self.y.start, self.y.stop
        grid = "".join(f"M{point(left)} {point(self.y(v))}H{point(right)}" for v in y_ticks)
        parts = [f'<path class=ax d="{grid}M{point(left)} {point(bottom)}H{point(right)}"/>']
        parts += [label(left - 7, self.y(v) + 4, y_text(v), "end") for v in y_ticks]
        parts += [label(self.x(v), bottom + 18, x_text(v), "middle") for v in x_ticks]
        parts.append(label((left + right) / 2, bottom + 38, x_title, "middle"))
        parts.append(label(0, top - 14, y_title))
        return "".join(parts)
