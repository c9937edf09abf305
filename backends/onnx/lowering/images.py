"""ONNX's Resize, and blocks of pixels that become channels."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.steps import Steps
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import DepthToSpace, Resize, SpaceToDepth

__all__: list[str] = []

_ANTIALIAS_OPSET = 18
_SYMMETRIC_OPSET = 19


@lowers(Resize)
def resize(build: Builder, node: Node, op: Resize) -> None:
    """Resize, by scales where the graph has them: sizes that were rounded would give other positions."""
    steps = Steps(build, node)
    attributes: dict[str, Attribute] = {"mode": op.mode, "coordinate_transformation_mode": op.coordinates}
    if op.mode == "nearest":
        attributes["nearest_mode"] = op.nearest
    elif op.mode == "cubic":
        attributes |= {"cubic_coeff_a": op.cubic_coeff_a, "exclude_outside": int(op.exclude_outside)}
    if op.antialias:
        attributes["antialias"] = 1
    needed = max(
        _ANTIALIAS_OPSET if op.antialias else 0, _SYMMETRIC_OPSET if op.coordinates == "half_pixel_symmetric" else 0
    )
    if op.coordinates == "tf_half_pixel_for_nn":
        raise UnsupportedError(
            f"{node.place}: coordinates {op.coordinates} exist in opset 11 only; export the model anew"
        )
    if build.opset < needed:
        raise UnsupportedError(f"{node.place}: a Resize like this needs opset {needed} or newer")
    roi = ""
    if op.coordinates == "tf_crop_and_resize":
        attributes["extrapolation_value"] = op.extrapolation
        roi = steps.constant(np.array(op.roi, np.float32))
    if op.scales:
        inputs = [node.inputs[0], roi, steps.constant(np.array(op.scales, np.float32))]
    else:
        inputs = [node.inputs[0], roi, "", steps.integers(op.sizes)]
    build.node("Resize", inputs, node, output=node.outputs[0], attributes=attributes)


@lowers(DepthToSpace)
def depth_to_space(build: Builder, node: Node, op: DepthToSpace) -> None:
    """DepthToSpace."""
    attributes: dict[str, Attribute] = {"blocksize": op.block, "mode": op.mode}
    build.node("DepthToSpace", node.inputs, node, output=node.outputs[0], attributes=attributes)


@lowers(SpaceToDepth)
def space_to_depth(build: Builder, node: Node, op: SpaceToDepth) -> None:
    """SpaceToDepth."""
    build.node("SpaceToDepth", node.inputs, node, output=node.outputs[0], attributes={"blocksize": op.block})
