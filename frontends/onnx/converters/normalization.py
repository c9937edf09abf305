"""Normalizations."""

from __future__ import annotations

import numpy as np

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir.ops import (
    BN,
    LRN,
    Binary,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LpNorm,
    MeanVarianceNorm,
    Power,
    Reduce,
    Unary,
)

__all__: list[str] = []


@converts("BatchNormalization")
def batch_normalization(reading: Reading, node: NodeView) -> None:
    """BN with the statistics of the training."""
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        raise CannotConvertError("it is in training mode")
    if not node.get("spatial", 1):
        raise CannotConvertError("it has statistics for each element (spatial = 0)")
    params = [
        reading.weight(node, index, what, (-1,)) for index, what in enumerate(("scale", "bias", "mean", "variance"), 1)
    ]
    reading.add(node, BN(node.get("epsilon", 1e-5)), (reading.value(node, 0),), node.outputs[:1], params)


@converts("InstanceNormalization")
def instance_normalization(reading: Reading, node: NodeView) -> None:
    """One operator."""
    params = [reading.weight(node, index, what) for index, what in enumerate(("scale", "bias"), 1)]
    reading.add(node, InstanceNorm(node.get("epsilon", 1e-5)), (reading.value(node, 0),), params=params)


@converts("LayerNormalization")
def layer_normalization(reading: Reading, node: NodeView) -> None:
    """One operator; mean and reciprocal of the deviation, where they are outputs too, by operators of their own."""
    rank = len(reading.shape(node))
    axis = node.get("axis", -1) % rank
    part = reading.shape(node)[axis:]
    params = []
    for index in (1, 2):
        if node.has_input(index):
            array = reading.needed(node, index, "scale and bias")
            params.append(
                reading.param(node.inputs[index], np.ascontiguousarray(np.broadcast_to(array, part).astype(np.float32)))
            )
    op, value = LayerNorm(axis, node.get("epsilon", 1e-5)), reading.value(node, 0)
    reading.add(node, op, (value,), node.outputs[:1], params)
    wanted = [*node.outputs[1:], "", ""]
    if not any(wanted):
        return
    axes = tuple(range(axis, rank))
    mean = reading.add(node, Reduce("mean", axes), (value,), wanted[:1] if wanted[0] else None, purpose="mean")
    if wanted[1]:
        centred = reading.add(node, Binary("sub"), (value, mean), purpose="centred")
        square = reading.add(node, Power(power=2.0), (centred,), purpose="square")
        variance = reading.add(node, Reduce("mean", axes), (square,), purpose="variance")
        root = reading.add(node, Power(power=0.5, shift=op.eps), (variance,), purpose="deviation")
        reading.add(node, Unary("reciprocal"), (root,), wanted[1:2], purpose="reciprocal")


@converts("GroupNormalization")
def group_normalization(reading: Reading, node: NodeView) -> None:
    """One operator; before opset 21 there is one factor for each group."""
    groups = node.get("num_groups")
    channels = reading.shape(node)[1]
    params = []
    for index, what in ((1, "scale"), (2, "bias")):
        array = reading.needed(node, index, what).astype(np.float32)
        if array.size == groups != channels:
            array = np.repeat(array, channels // groups)
        params.append(reading.param(node.inputs[index], array))
    reading.add(node, GroupNorm(groups, node.get("epsilon", 1e-5)), (reading.value(node, 0),), params=params)


@converts("LRN")
def lrn(reading: Reading, node: NodeView) -> None:
    """LRN across channels."""
    size = node.get("size")
    if size % 2 == 0:
        raise CannotConvertError(f"size {size} is even")
    op = LRN(local_size=size, alpha=node.get("alpha", 1e-4), beta=node.get("beta", 0.75), k=node.get("bias", 1.0))
    reading.add(node, op, (reading.value(node, 0),))


@converts("LpNormalization")
def lp_normalization(reading: Reading, node: NodeView) -> None:
    """One operator."""
    reading.add(node, LpNorm(node.get("axis", -1), node.get("p", 2)), (reading.value(node, 0),))


@converts("MeanVarianceNormalization")
def mean_variance_normalization(reading: Reading, node: NodeView) -> None:
    """One operator."""
    axes = node.integers("axes", (0, 2, 3)) or ()
    reading.add(node, MeanVarianceNorm(axes), (reading.value(node, 0),))
