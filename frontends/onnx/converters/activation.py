"""Activations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nuqconv.frontends.onnx.reading import NodeView, Reading, number_array
from nuqconv.frontends.onnx.registry import converts, converts_to
from nuqconv.ir.ops import (
    BNLL,
    ELU,
    Binary,
    Celu,
    Hardmax,
    HardSigmoid,
    HSwish,
    LogSoftmax,
    Op,
    PReLU,
    ReLU,
    Reshape,
    Selu,
    Shrink,
    Sigmoid,
    Softmax,
    Swish,
    TanH,
    ThresholdedReLU,
)

__all__: list[str] = []

converts_to(
    {
        "Relu": lambda _: ReLU(),
        "LeakyRelu": lambda node: ReLU(node.get("alpha", 0.01)),
        "Sigmoid": lambda _: Sigmoid(),
        "Tanh": lambda _: TanH(),
        "Elu": lambda node: ELU(node.get("alpha", 1.0)),
        "Selu": lambda node: Selu(node.get("alpha", Selu().alpha), node.get("gamma", Selu().gamma)),
        "Celu": lambda node: Celu(node.get("alpha", 1.0)),
        "Softplus": lambda _: BNLL(),
        "HardSigmoid": lambda node: HardSigmoid(node.get("alpha", 0.2), node.get("beta", 0.5)),
        "HardSwish": lambda _: HSwish(),
        "Swish": lambda node: Swish(node.get("alpha", 1.0)),
        "ThresholdedRelu": lambda node: ThresholdedReLU(node.get("alpha", 1.0)),
        "Shrink": lambda node: Shrink(node.get("bias", 0.0), node.get("lambd", 0.5)),
    }
)


@converts("PRelu")
def prelu(reading: Reading, node: NodeView) -> None:
    """PReLU where there is one slope or one for each channel, else a function of two values."""
    slope = reading.constant(node, 1)
    shape = reading.shape(node)
    if slope is not None and len(shape) >= 2 and slope.size and node.inputs[0] not in reading.constants:
        number = number_array(slope, node.inputs[1])
        channel = slope.shape[-len(shape) + 1 :] if slope.ndim >= len(shape) - 1 else ()
        shared = slope.size == 1
        if shared or (channel[:1] == (shape[1],) and slope.size == shape[1]):
            params = (reading.param(node.inputs[1], number.reshape(-1)),)
            reading.add(node, PReLU(channel_shared=shared), (reading.value(node, 0),), params=params)
            return
    reading.add(node, Binary("prelu"), (reading.value(node, 0), reading.value(node, 1)))


@converts("Softmax", "LogSoftmax", "Hardmax")
def along_axis(reading: Reading, node: NodeView) -> None:
    """One operator; before opset 13 all axes from ``axis`` on count as one."""
    kinds: dict[str, Callable[[int], Op]] = {"Softmax": Softmax, "LogSoftmax": LogSoftmax, "Hardmax": Hardmax}
    make, shape, value = kinds[node.op_type], reading.shape(node), reading.value(node, 0)
    rank = len(shape)
    axis = node.get("axis", 1 if node.version < 13 else -1) % max(rank, 1)
    if node.version >= 13 or all(size == 1 for size in shape[axis + 1 :]):
        reading.add(node, make(axis), (value,))
        return
    rows = int(np.prod(shape[:axis]))
    value = reading.add(node, Reshape((0 if axis == 1 else rows, -1)), (value,), purpose="rows")
    value = reading.add(node, make(1), (value,), purpose="of_rows")
    reading.add(node, Reshape((0, *shape[1:]) if axis == 1 else shape), (value,))
