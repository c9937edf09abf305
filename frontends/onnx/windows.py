"""Padding that a node's attributes ask for."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView

__all__ = ["pads_of", "spatial"]


def spatial(node: NodeView, name: str, rank: int) -> tuple[int, ...]:
    """Returns strides or dilations, 1 where they are not given."""
    found = node.integers(name, (1,) * rank) or (1,) * rank
    if len(found) != rank or min(found, default=1) < 1:
        raise CannotConvertError(f"{name} {list(found)} do not fit {rank} spatial axes")
    return found


def pads_of(
    node: NodeView, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the padding in front of and behind each spatial axis.

    Args:
        node: A Conv or pooling node, with ``pads`` or ``auto_pad``.
        sizes: Spatial sizes of the input.
        reach: How many elements a kernel spans.
        strides: Its strides.
    """
    rank, auto = len(sizes), node.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        pads = node.integers("pads", (0,) * (2 * rank)) or (0,) * (2 * rank)
        if len(pads) != 2 * rank:
            raise CannotConvertError(f"pads {list(pads)} do not fit {rank} spatial axes")
        return pads[:rank], pads[rank:]
    if auto == "VALID":
        return (0,) * rank, (0,) * rank
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise CannotConvertError(f"auto_pad '{auto}' is not known")
    begins, ends = [], []
    for size, span, stride in zip(sizes, reach, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if auto == "SAME_UPPER" else large)
        ends.append(large if auto == "SAME_UPPER" else small)
    return tuple(begins), tuple(ends)
