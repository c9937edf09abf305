"""Operators that join, cut or hand on whole values."""

from __future__ import annotations

import itertools

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import Concat, Identity, Slice

__all__: list[str] = []


@converts("Concat")
def concat(reading: Reading, node: NodeView) -> None:
    """Concat."""
    axis = node.get("axis", 1)
    values = [reading.value(node, index) for index, name in enumerate(node.inputs) if name]
    reading.add(node, Concat(axis), values)


@converts("Split")
def split(reading: Reading, node: NodeView) -> None:
    """Slice; equal parts where no sizes are given, the last one smaller if need be."""
    shape = reading.shape(node)
    axis = node.get("axis", 0) % len(shape)
    sizes = reading.argument(node, 1, "split")
    count = len(node.outputs)
    if sizes is None:
        part = -(-shape[axis] // count)
        sizes = (*(part,) * (count - 1), shape[axis] - part * (count - 1))
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise CannotConvertError(f"sizes {list(sizes)} do not divide {shape[axis]} elements into {count} parts")
    value = reading.value(node, 0)
    if count == 1:
        reading.add(node, Identity(), (value,))
        return
    points = tuple(itertools.accumulate(sizes[:-1]))
    reading.add(node, Slice(count, axis, () if len(set(sizes)) == 1 else points), (value,))
