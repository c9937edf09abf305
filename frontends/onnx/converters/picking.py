"""Operators that pick, place, repeat, pad or mask elements."""

from __future__ import annotations

import numpy as np

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import (
    Expand,
    Gather,
    GatherElements,
    GatherND,
    Identity,
    Pad,
    ScatterElements,
    ScatterND,
    StridedSlice,
    Tile,
    Trilu,
)
from nuqconv.ir.ops.binary import broadcast_shapes

__all__: list[str] = []


@converts("Slice")
def slice_(reading: Reading, node: NodeView) -> None:
    """StridedSlice with all bounds written out."""
    shape = reading.shape(node)
    rank = len(shape)
    starts, ends = reading.argument(node, 1, "starts"), reading.argument(node, 2, "ends")
    if starts is None or ends is None:
        raise CannotConvertError("it has no starts or ends")
    axes = reading.argument(node, 3, "axes", range(len(starts))) or ()
    steps = reading.argument(node, 4, "steps", (1,) * len(starts)) or ()
    bounds = [[0, size, 1] for size in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        taken = _taken(start, end, step, shape[axis % rank])
        if len(taken) == 0:
            raise CannotConvertError(f"nothing is left of axis {axis}")
        bounds[axis % rank] = [taken.start, taken.stop, step]
    op = StridedSlice(*(tuple(item) for item in zip(*bounds, strict=True)))
    reading.add(node, op, (reading.value(node, 0),))


def _taken(start: int, end: int, step: int, size: int) -> range:
    """Returns the places that a Slice takes; backwards it begins on the axis even where it says a place before, which Python's own does not."""
    start, end = (place + size if place < 0 else place for place in (start, end))
    if step < 0:
        return range(min(max(start, 0), size - 1), min(max(end, -1), size - 1), step)
    return range(min(max(start, 0), size), min(max(end, 0), size), step)


@converts("Pad")
def pad(reading: Reading, node: NodeView) -> None:
    """Pad with all axes written out."""
    rank = len(reading.shape(node))
    pads = reading.argument(node, 1, "pads", node.integers("paddings"))
    if pads is None:
        raise CannotConvertError("it has no pads")
    axes = [axis % rank for axis in (reading.whole(node, 3, "axes") if node.has_input(3) else range(rank))]
    begins, ends = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        begins[axis], ends[axis] = pads[place], pads[len(axes) + place]
    value = float(node.get("value", 0.0))
    if node.has_input(2):
        value = float(reading.needed(node, 2, "filling").reshape(-1)[0])
    mode = node.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise CannotConvertError(f"mode '{mode}' is not known")
    reading.add(node, Pad(tuple(begins), tuple(ends), mode, value), (reading.value(node, 0),))


@converts("Gather", "GatherElements")
def gather(reading: Reading, node: NodeView) -> None:
    """One operator."""
    kind = Gather if node.op_type == "Gather" else GatherElements
    reading.add(node, kind(node.get("axis", 0)), (reading.value(node, 0), reading.value(node, 1)))


@converts("GatherND")
def gather_nd(reading: Reading, node: NodeView) -> None:
    """One operator."""
    reading.add(node, GatherND(node.get("batch_dims", 0)), (reading.value(node, 0), reading.value(node, 1)))


@converts("ScatterElements", "Scatter")
def scatter_elements(reading: Reading, node: NodeView) -> None:
    """One operator."""
    op = ScatterElements(node.get("axis", 0), node.get("reduction", "none"))
    reading.add(node, op, [reading.value(node, index) for index in range(3)])


@converts("ScatterND")
def scatter_nd(reading: Reading, node: NodeView) -> None:
    """One operator."""
    op = ScatterND(node.get("reduction", "none"))
    reading.add(node, op, [reading.value(node, index) for index in range(3)])


@converts("Expand")
def expand(reading: Reading, node: NodeView) -> None:
    """Expand to sizes that are known."""
    wanted = broadcast_shapes([reading.shape(node), reading.whole(node, 1, "shape")])
    op = Identity() if wanted == reading.shape(node) else Expand(wanted)
    reading.add(node, op, (reading.value(node, 0),))


@converts("Tile")
def tile(reading: Reading, node: NodeView) -> None:
    """A Tile for each axis that is repeated."""
    repeats = reading.whole(node, 1, "repeats")
    value = reading.value(node, 0)
    if min(repeats, default=1) < 1:
        raise CannotConvertError(f"repeats {list(repeats)} leave nothing")
    todo = [(axis, count) for axis, count in enumerate(repeats) if count != 1]
    if not todo:
        reading.add(node, Identity(), (value,))
    for place, (axis, count) in enumerate(todo, 1):
        last = place == len(todo)
        value = reading.add(
            node, Tile(count, axis), (value,), node.outputs if last else None, purpose="" if last else "tile"
        )


@converts("Trilu")
def trilu(reading: Reading, node: NodeView) -> None:
    """One operator."""
    k = int(np.asarray(reading.needed(node, 1, "diagonal")).reshape(-1)[0]) if node.has_input(1) else 0
    reading.add(node, Trilu(bool(node.get("upper", 1)), k), (reading.value(node, 0),))
