"""Operators that join, cut or hand on whole values."""

from __future__ import annotations

import itertools

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import Concat, Identity, Slice

__all__: list[str] = []


@converts("Concat")
def concat(reading: Reading, node: NodeView) -> None:
    """Concat; a stored table is held as one item if all its items are the same, and goes with each item of a batch."""
    axis = node.get("axis", 1)
    given = [index for index, name in enumerate(node.inputs) if name]
    tables = [index for index in given if reading.constant(node, index) is not None]
    along = axis % (len(reading.shape(node, given[0])) or 1)
    for_each = bool(along and tables) and len(tables) < len(given)
    values = [
        _table(reading, node, index) if for_each and index in tables else reading.value(node, index) for index in given
    ]
    reading.add(node, Concat(axis, for_each), values)


def _table(reading: Reading, node: NodeView, index: int) -> str:
    array = reading.needed(node, index, "table")
    if len(array) < 2 or not (array == array[:1]).all():
        return reading.value(node, index)
    return reading.parameter(f"{node.inputs[index]}/item", array[:1])


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
