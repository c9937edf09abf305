"""Values between pixels at positions that are computed, and indices as rows of zeros and a one."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import Binary, GridSample, Power, Reshape

__all__: list[str] = []

_MODES: dict[str, Literal["linear", "nearest", "cubic"]] = {
    "bilinear": "linear",
    "linear": "linear",
    "nearest": "nearest",
    "bicubic": "cubic",
    "cubic": "cubic",
}


@converts("GridSample")
def grid_sample(reading: Reading, node: NodeView) -> None:
    """One operator; two names of its modes have changed."""
    mode, padding = node.get("mode", "bilinear"), node.get("padding_mode", "zeros")
    if mode not in _MODES or padding not in ("zeros", "border", "reflection"):
        raise CannotConvertError(f"mode '{mode}' with padding '{padding}' is not known")
    op = GridSample(_MODES[mode], padding, bool(node.get("align_corners", 0)))
    reading.add(node, op, (reading.value(node, 0), reading.value(node, 1)))


@converts("OneHot")
def one_hot(reading: Reading, node: NodeView) -> None:
    """Where the index, or what it counts from the end, equals its place: one of two values that are known."""
    shape = reading.shape(node)
    (depth,) = reading.whole(node, 1, "depth")
    low, high = (float(item) for item in np.asarray(reading.needed(node, 2, "values")).reshape(-1))
    rank = len(shape) + 1
    axis = node.get("axis", -1)
    axis += rank if axis < 0 else 0
    if depth < 1 or not 0 <= axis < rank:
        raise CannotConvertError(f"depth {depth} at axis {node.get('axis', -1)} of {rank}")
    places = np.arange(depth, dtype=np.float32).reshape(-1, *(1,) * (rank - 1 - axis))
    # Axis 0 stays open where it stays the first.
    dims = (0, *shape[1:axis], 1, *shape[axis:]) if axis else (1, *shape)
    indices = reading.add(node, Reshape(dims), (reading.value(node, 0),), purpose="axis")
    found = [
        reading.add(
            node, Binary("equal"), (indices, reading.parameter(f"{node.name}/{what}", values)), purpose=f"is_{what}"
        )
        for what, values in (("place", places), ("place_from_end", places - np.float32(depth)))
    ]
    one = reading.add(node, Binary("or"), found, purpose="one")
    reading.add(node, Power(1.0, high - low, low), (one,))
