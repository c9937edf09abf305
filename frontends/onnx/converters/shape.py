"""Operators that only lay elements out again."""

from __future__ import annotations

from math import prod

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import DepthToSpace, Flatten, Permute, Reshape, Shape, SpaceToDepth

__all__: list[str] = []


def _reshape(reading: Reading, node: NodeView, shape: Shape) -> None:
    """Axis 0 stays open where it keeps its size and comes first."""
    given = reading.shape(node)
    dims = (0, *shape[1:]) if given[:1] == shape[:1] and given else shape
    reading.add(node, Reshape(dims), (reading.value(node, 0),), node.outputs[:1])


@converts("Reshape")
def reshape(reading: Reading, node: NodeView) -> None:
    """Reshape to sizes that are known."""
    given = reading.shape(node)
    asked = reading.argument(node, 1, "shape")
    if asked is None:
        raise CannotConvertError("it has no shape")
    keep_zero = bool(node.get("allowzero", 0))
    sizes = [given[axis] if size == 0 and not keep_zero else size for axis, size in enumerate(asked)]
    if -1 in sizes:
        known = prod(size for size in sizes if size != -1)
        if sizes.count(-1) > 1 or not known or prod(given) % known:
            raise CannotConvertError(f"{prod(given)} elements do not fill {list(asked)}")
        sizes[sizes.index(-1)] = prod(given) // known
    _reshape(reading, node, tuple(sizes))


@converts("Flatten")
def flatten(reading: Reading, node: NodeView) -> None:
    """Flatten from axis 1 on, else Reshape to a matrix."""
    shape = reading.shape(node)
    axis = node.get("axis", 1)
    axis += len(shape) if axis < 0 else 0
    if axis == 1 and len(shape) > 1:
        reading.add(node, Flatten(1), (reading.value(node, 0),))
        return
    _reshape(reading, node, (prod(shape[:axis]), prod(shape[axis:])))


@converts("Squeeze")
def squeeze(reading: Reading, node: NodeView) -> None:
    """Reshape without some axes of size 1."""
    shape = reading.shape(node)
    axes = reading.argument(node, 1, "axes")
    gone = (
        {axis % len(shape) for axis in axes}
        if axes is not None
        else {axis for axis, size in enumerate(shape) if size == 1}
    )
    if any(shape[axis] != 1 for axis in gone):
        raise CannotConvertError(f"axes {sorted(gone)} of {'x'.join(map(str, shape))} are not of size 1")
    _reshape(reading, node, tuple(size for axis, size in enumerate(shape) if axis not in gone))


@converts("Unsqueeze")
def unsqueeze(reading: Reading, node: NodeView) -> None:
    """Reshape with more axes of size 1."""
    shape = reading.shape(node)
    axes = reading.argument(node, 1, "axes")
    if axes is None:
        raise CannotConvertError("it has no axes")
    rank = len(shape) + len(axes)
    new = {axis % rank for axis in axes}
    if len(new) != len(axes):
        raise CannotConvertError(f"axes {list(axes)} name one twice")
    left = iter(shape)
    _reshape(reading, node, tuple(1 if axis in new else next(left) for axis in range(rank)))


@converts("Transpose")
def transpose(reading: Reading, node: NodeView) -> None:
    """Permute; all axes are turned round where no order is given."""
    rank = len(reading.shape(node))
    order = node.integers("perm", range(rank)[::-1]) or ()
    if len(order) != rank:
        raise CannotConvertError(f"perm {list(order)} does not fit {rank} axes")
    reading.add(node, Permute(order), (reading.value(node, 0),))


@converts("DepthToSpace")
def depth_to_space(reading: Reading, node: NodeView) -> None:
    """One operator."""
    op = DepthToSpace(node.get("blocksize"), node.get("mode", "DCR"))
    reading.add(node, op, (reading.value(node, 0),))


@converts("SpaceToDepth")
def space_to_depth(reading: Reading, node: NodeView) -> None:
    """One operator."""
    if node.get("mode", "DCR") != "DCR":
        raise CannotConvertError(f"mode {node.get('mode')}; DCR is known")
    reading.add(node, SpaceToDepth(node.get("blocksize")), (reading.value(node, 0),))
