"""The error through the network: of each quantized layer alone, and as it has grown up to there."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.report.document import ErrorRow, Errors, NoiseRow
from nuqconv.report.html.svg import HEIGHT, WIDTH, Plot, Scale, label, picture, point, ticks
from nuqconv.report.html.text import escaped

__all__ = ["ERRORS_KEY", "decibels", "layer_errors_picture"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 34, 46
_NAMED = 3
_TOLD = 160
"""Layers that can be told apart when one points at them."""


def decibels(noise: NoiseRow) -> str:
    """Returns a ratio of signal to noise in words."""
    return "no error" if noise.snr_db is None else f"{noise.snr_db:.1f} dB"


ERRORS_KEY = (
    "<ul class=key><li><i style=background:var(--accent)></i>the layer alone"
    "<li><i style=background:var(--f-float)></i>in the quantized network</ul>"
)


def layer_errors_picture(errors: Errors | None) -> str:
    """Returns the picture; nothing where the errors were not measured."""
    if errors is None or not errors.layers:
        return ""
    layers = errors.layers
    values = [n.snr_db for layer in layers for n in (layer.single, layer.accumulated) if n.snr_db is not None]
    low, high = (min(values), max(values)) if values else (0.0, 60.0)
    low, high = low - 0.12 * (high - low) - 2, high + 0.06 * (high - low) + 2
    plot = Plot(
        Scale(0, max(len(layers) - 1, 1), _LEFT + 10, WIDTH - _RIGHT - 10), Scale(low, high, HEIGHT - _BOTTOM, _TOP)
    )
    frame = Plot(Scale(0, 1, _LEFT, WIDTH - _RIGHT), plot.y)
    parts = [
        frame.axes(
            [],
            ticks(low, high),
            str,
            lambda v: f"{v:.0f}",
            "quantized layers in the order of the network",
            "signal to noise in dB, more is better",
        ),
        *(label(plot.x(place), HEIGHT - _BOTTOM + 18, text, "middle") for place, text in _marks(layers, plot)),
        _line(plot, [layer.accumulated for layer in layers], "f-float"),
        _line(plot, [layer.single for layer in layers], "accent"),
    ]
    if len(layers) <= _TOLD:
        parts += [_mark(plot, place, layer) for place, layer in enumerate(layers)]
    if _marks(layers, plot)[0][1] != layers[0].layer:
        parts.append(_names(plot, layers))
    return picture("e", "Error through the network", _description(errors), "".join(parts))


def _marks(layers: Sequence[ErrorRow], plot: Plot) -> list[tuple[int, str]]:
    """Names of a few layers, numbers of many."""
    room = (plot.x.stop - plot.x.start) / max(1, len(layers) - 1)
    if all(7.5 * len(layer.layer) < room for layer in layers):
        return [(place, layer.layer) for place, layer in enumerate(layers)]
    numbers = sorted({round(value) for value in ticks(1, len(layers), 6)} | {1})
    return [(number - 1, str(number)) for number in numbers if number <= len(layers)]


def _line(plot: Plot, noises: Sequence[NoiseRow], colour: str) -> str:
    """A line with gaps where there is no error."""
    path, pen = "", "M"
    for place, noise in enumerate(noises):
        if noise.snr_db is None:
            pen = "M"
            continue
        x, y = plot.x(place), plot.y(noise.snr_db)
        # Of hundreds of layers, whole units are as fine as can be seen.
        path += f"{pen}{x:.0f} {y:.0f}" if len(noises) > _TOLD else f"{pen}{point(x)} {point(y)}"
        pen = "L"
    return f'<path d="{path}" stroke=var(--{colour}) stroke-width={2 if len(noises) <= _TOLD else 1} fill=none stroke-linejoin=round />'


def _mark(plot: Plot, place: int, layer: ErrorRow) -> str:
    x = plot.x(place)
    wide = min(18.0, (plot.x.stop - plot.x.start) / max(1, plot.x.high))
    dots = "".join(
        f"<circle cx={point(x)} cy={point(plot.y(noise.snr_db))} r=3.5 fill=var(--{colour}) />"
        for noise, colour in ((layer.accumulated, "f-float"), (layer.single, "accent"))
        if noise.snr_db is not None
    )
    text = f"{layer.layer}: place {layer.rank}\nalone {decibels(layer.single)}\nin the network {decibels(layer.accumulated)}"
    area = f"<rect x={point(x - wide / 2)} y={_TOP} width={point(wide)} height={HEIGHT - _BOTTOM - _TOP} opacity=0 />"
    return f"<g><title>{escaped(text)}</title>{area}{dots}</g>"


def _names(plot: Plot, layers: Sequence[ErrorRow]) -> str:
    """Names the layers that hurt most."""
    parts, taken = [], list[float]()
    for place, layer in sorted(enumerate(layers), key=lambda item: item[1].rank)[:_NAMED]:
        if layer.single.snr_db is None:
            continue
        x, y = plot.x(place), min(plot.y(layer.single.snr_db) + 17, HEIGHT - _BOTTOM - 5)
        anchor = "end" if x > 0.8 * WIDTH else "start" if x < 0.2 * WIDTH else "middle"
        if all(abs(x - other) > 7 * len(layer.layer) for other in taken):
            parts.append(label(x, y, layer.layer, anchor, "b h"))
            taken.append(x)
    return "".join(parts)


def _description(errors: Errors) -> str:
    worst = min(errors.layers, key=lambda layer: layer.rank)
    text = f"{len(errors.layers)} quantized layers, measured on {errors.samples} samples."
    text += f" Alone, {worst.layer} has the largest error: {decibels(worst.single)}."
    for name, noise in errors.outputs.items():
        text += f" At the output {name} the network has {decibels(noise)}."
    return text
