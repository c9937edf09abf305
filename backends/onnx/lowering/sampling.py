"""Values between pixels, at positions that are computed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import GridSample

__all__: list[str] = []

_GRID_OPSET = 16
_ANY_RANK_OPSET = 20
_OLD_MODES: Mapping[str, str] = MappingProxyType({"linear": "bilinear", "cubic": "bicubic"})


@lowers(GridSample)
def grid_sample(build: Builder, node: Node, op: GridSample) -> None:
    """GridSample, whose modes have other names since opset 20."""
    needed = _GRID_OPSET if len(build.shape(node.inputs[0])) == 4 else _ANY_RANK_OPSET
    if build.opset < needed:
        raise UnsupportedError(f"{node.place}: a GridSample like this needs opset {needed} or newer")
    attributes: dict[str, Attribute] = {
        "mode": op.mode if build.opset >= _ANY_RANK_OPSET else _OLD_MODES.get(op.mode, op.mode),
        "padding_mode": op.padding,
        "align_corners": int(op.align_corners),
    }
    build.node("GridSample", node.inputs, node, output=node.outputs[0], attributes=attributes)
