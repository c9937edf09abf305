"""What is left of each layer: as wide as it was in float, as high as the part that is left, so that areas are bytes."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.report.document import Document, LayerRow
from nuqconv.report.html.svg import HEIGHT, WIDTH, Scale, label, picture, point
from nuqconv.report.html.text import escaped, share, size, thousands
from nuqconv.report.words import form_words

__all__ = ["FORMS", "form_of", "layer_sizes_picture"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 2, 34, 30
_LABEL_WIDTH = 7.2
"""About the width of a letter."""

_THIN = 3.0
"""Layers thinner than this cannot be pointed at."""

FORMS = {"float": "float", "int8": "int8", "nuq32": "more than 16 levels", "nuq16": "16 levels or fewer"}
"""The forms that layers are shown in, with their words."""


def form_of(layer: LayerRow) -> str:
    """Returns the form of a layer, a key of `FORMS`."""
    if layer.precision != "nuq":
        return layer.precision
    return "nuq16" if (layer.levels or 0) <= 16 else "nuq32"


def layer_sizes_picture(document: Document) -> str:
    """Returns the picture; nothing without layers."""
    layers = document.layers
    total = sum(layer.float_bytes for layer in layers)
    if not total:
        return ""
    x, y = Scale(0, total, _LEFT, WIDTH - _RIGHT), Scale(0, 1, HEIGHT - _BOTTOM, _TOP)
    marks = (0, 0.25, 0.5, 0.75, 1)
    bottom = point(y.start)
    grid = "".join(f"M{_LEFT} {point(y(v))}H{WIDTH - _RIGHT}" for v in marks)
    parts = [
        f'<path d="M{_LEFT} {_TOP}H{WIDTH - _RIGHT}V{bottom}H{_LEFT}z" fill=var(--panel) /><path class=ax d="{grid}"/>',
        *(label(_LEFT - 7, y(v) + 4, f"{100 * v:.0f} %", "end") for v in marks),
        label(0, _TOP - 14, "part of the float size that is left"),
    ]
    parts.append(_areas(layers, x, y))
    parts.append(
        label((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, f"layers, as wide as in float ({size(total)})", "middle")
    )
    return picture("s", "What is left of each layer", _description(document, total), "".join(parts))


def _areas(layers: Sequence[LayerRow], x: Scale, y: Scale) -> str:
    """One area for each layer that is wide enough to be pointed at, one for all others of a form, and names where there is room."""
    start = 0.0
    thin = dict.fromkeys(FORMS, "")
    parts, names = [], []
    for layer in layers:
        left, right = x(start), x(start + layer.float_bytes)
        top = y(layer.bytes / layer.float_bytes if layer.float_bytes else 0)
        # A gap sets a layer apart from the next one.
        edge = right - min(1.0, 0.15 * (right - left))
        area = f"M{point(left)} {point(y.start)}V{point(top)}H{point(edge)}V{point(y.start)}"
        if right - left < _THIN:
            thin[form_of(layer)] += area
        else:
            parts.append(f'<path class=f-{form_of(layer)} d="{area}"><title>{escaped(_title(layer))}</title></path>')
        if right - left > _LABEL_WIDTH * len(layer.name):
            names.append(label((left + right) / 2, top - 6, layer.name, "middle"))
        start += layer.float_bytes
    parts += [f'<path class=f-{form} d="{area}"/>' for form, area in thin.items() if area]
    return "".join([*parts, *names])


def _title(layer: LayerRow) -> str:
    left = share(layer.bytes, layer.float_bytes)
    return (
        f"{layer.name}: {form_words(layer)}\n{thousands(layer.bytes)} of {thousands(layer.float_bytes)} bytes, {left}"
    )


def _description(document: Document, total: int) -> str:
    kept = sum(layer.bytes for layer in document.layers)
    counts = [(words, sum(form_of(layer) == form for layer in document.layers)) for form, words in FORMS.items()]
    forms = ", ".join(f"{count} with {words}" for words, count in counts if count)
    return f"{len(document.layers)} layers with weights: {forms}. Together {share(kept, total)} of their float size is left."
