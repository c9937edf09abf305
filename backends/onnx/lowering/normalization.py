"""Affine operators on channels, and normalizations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.parts.operands import append_axes, on_channels, reshape_to
from nuqconv.backends.onnx.lowering.parts.steps import Steps
from nuqconv.backends.onnx.lowering.reduction import reduce_over
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.errors import UnsupportedError
from nuqconv.ir import Node
from nuqconv.ir.ops import (
    BN,
    LRN,
    MVN,
    BatchNorm,
    BatchStatistics,
    Bias,
    GroupNorm,
    InstanceNorm,
    L2Norm,
    LayerNorm,
    LpNorm,
    MeanVarianceNorm,
    Normalize,
    Scale,
)

__all__: list[str] = []


@lowers(BatchNorm)
def batch_norm(build: Builder, node: Node, op: BatchNorm) -> None:
    """BatchNormalization with the factor divided out; Sub and Div where there is no channel axis."""
    mean_name, variance_name, factor_name = node.params
    stored = np.float32(build.graph.params[factor_name].reshape(-1)[0])
    factor = np.float32(0) if stored == 0 else np.float32(1) / stored
    mean = build.graph.params[mean_name].astype(np.float32) * factor
    variance = build.graph.params[variance_name].astype(np.float32) * factor
    if len(build.shape(node.inputs[0])) < 2:
        deviation = np.sqrt(variance + np.float32(op.eps))
        centred = build.node("Sub", [node.inputs[0], build.constant(mean, node, "mean")], node)
        divisor = build.constant(deviation, node, "deviation")
        build.node("Div", [centred, divisor], node, output=node.outputs[0])
        return
    tensors = [
        build.constant(np.ones_like(mean), node, "scale"),
        build.constant(np.zeros_like(mean), node, "bias"),
        build.constant(mean, node, "mean"),
        build.constant(variance, node, "variance"),
    ]
    attributes = {"epsilon": op.eps}
    build.node("BatchNormalization", [node.inputs[0], *tensors], node, output=node.outputs[0], attributes=attributes)


_TINY = 1e-20


@lowers(L2Norm)
def l2_norm(build: Builder, node: Node, op: L2Norm) -> None:
    """The input over the root of the sum of its squares in axis 1."""
    del op
    shape = build.shape(node.inputs[0])
    if len(shape) < 2 or any(size != 1 for size in shape[2:]):
        raise UnsupportedError(
            f"{node.place}: has the input {'x'.join(map(str, shape))}, and forks differ in whether its positions are normalized together or "
            "apart; use a Normalize layer, which says so (across_spatial)"
        )
    squares = build.node("Mul", [node.inputs[0]] * 2, node)
    axis = build.constant(np.array([1], np.int64), node, "axis")
    total = build.node("ReduceSum", [squares, axis], node)
    positive = build.node("Max", [total, build.number(_TINY, node, "tiny")], node)
    length = build.node("Sqrt", [positive], node)
    build.node("Div", [node.inputs[0], length], node, output=node.outputs[0])


_LAYER_NORM_OPSET = 17

_AXES_AS_INPUT = 18


def _mean(steps: Steps, value: str, axes: Sequence[int]) -> str:
    if steps.build.opset >= _AXES_AS_INPUT:
        return steps.call("ReduceMean", value, steps.integers(axes))
    return steps.call("ReduceMean", value, axes=axes)


@lowers(InstanceNorm)
def instance_norm(build: Builder, node: Node, op: InstanceNorm) -> None:
    """InstanceNormalization."""
    inputs = [node.inputs[0], *(build.param(name) for name in node.params)]
    attributes: dict[str, Attribute] = {"epsilon": op.eps}
    build.node("InstanceNormalization", inputs, node, output=node.outputs[0], attributes=attributes)


@lowers(GroupNorm)
def group_norm(build: Builder, node: Node, op: GroupNorm) -> None:
    """InstanceNormalization of groups, then a factor and a summand for each channel: GroupNormalization has changed its parameters."""
    steps, shape = Steps(build, node), build.shape(node.inputs[0])
    groups = steps.to(node.inputs[0], (0, op.groups, -1))
    ones, zeros = (steps.call("Expand", steps.number(value), steps.integers([op.groups])) for value in (1.0, 0.0))
    normal = steps.call("InstanceNormalization", groups, ones, zeros, epsilon=op.eps)
    normal = steps.to(normal, build.dims(node.inputs[0]))
    scale, bias = (build.param(name, (shape[1], *(1,) * (len(shape) - 2))) for name in node.params)
    build.node("Add", [steps.call("Mul", normal, scale), bias], node, output=node.outputs[0])


@lowers(LayerNorm)
def layer_norm(build: Builder, node: Node, op: LayerNorm) -> None:
    """LayerNormalization; before it came with opset 17, what it is made of."""
    params = [build.param(name) for name in node.params]
    if build.opset >= _LAYER_NORM_OPSET:
        attributes: dict[str, Attribute] = {"axis": op.axis, "epsilon": op.eps}
        inputs = [node.inputs[0], *params]
        build.node("LayerNormalization", inputs, node, output=node.outputs[0], attributes=attributes)
        return
    steps, rank = Steps(build, node), len(build.shape(node.inputs[0]))
    axes = range(op.axis % rank, rank)
    rest = steps.call("Sub", node.inputs[0], _mean(steps, node.inputs[0], axes))
    variance = _mean(steps, steps.call("Mul", rest, rest), axes)
    deviation = steps.call("Sqrt", steps.call("Add", variance, steps.number(op.eps)))
    value = steps.call("Mul", steps.call("Div", rest, deviation), params[0])
    more = params[1] if len(params) > 1 else steps.number(0.0)
    build.node("Add", [value, more], node, output=node.outputs[0])


@lowers(LpNorm)
def lp_norm(build: Builder, node: Node, op: LpNorm) -> None:
    """LpNormalization."""
    attributes: dict[str, Attribute] = {"axis": op.axis, "p": op.p}
    build.node("LpNormalization", node.inputs, node, output=node.outputs[0], attributes=attributes)


@lowers(MeanVarianceNorm)
def mean_variance_norm(build: Builder, node: Node, op: MeanVarianceNorm) -> None:
    """The deviation from the mean, over the root of its mean square plus 1e-9."""
    steps = Steps(build, node)
    rest = steps.call("Sub", node.inputs[0], _mean(steps, node.inputs[0], op.axes))
    deviation = steps.call("Sqrt", _mean(steps, steps.call("Mul", rest, rest), op.axes))
    build.node("Div", [rest, steps.call("Add", deviation, steps.number(1e-9))], node, output=node.outputs[0])


@lowers(Scale)
def scale(build: Builder, node: Node, op: Scale) -> None:
    """Mul and Add with the factors and the bias laid out for broadcasting from ``axis`` on."""
    operands = _laid_out(build, node, op.axis)
    last = len(operands) == 1
    product = build.node("Mul", [node.inputs[0], operands[0]], node, output=node.outputs[0] if last else None)
    if not last:
        build.node("Add", [product, operands[1]], node, output=node.outputs[0])


@lowers(Bias)
def bias(build: Builder, node: Node, op: Bias) -> None:
    """Add with the bias laid out for broadcasting from ``axis`` on."""
    build.node("Add", [node.inputs[0], *_laid_out(build, node, op.axis)], node, output=node.outputs[0])


@lowers(BN)
def bn(build: Builder, node: Node, op: BN) -> None:
    """BatchNormalization, or Mul and Add where the statistics are multiplied in already."""
    if op.statistics:
        tensors = [build.param(name, (-1,)) for name in node.params]
        attributes = {"epsilon": op.eps}
        build.node(
            "BatchNormalization", [node.inputs[0], *tensors], node, output=node.outputs[0], attributes=attributes
        )
        return
    factor, shift = (on_channels(build, node, name) for name in node.params)
    product = build.node("Mul", [node.inputs[0], factor], node)
    build.node("Add", [product, shift], node, output=node.outputs[0])


@lowers(Normalize)
def normalize(build: Builder, node: Node, op: Normalize) -> None:
    """The input over the root of the sum of its squares plus eps, times the scales."""
    rank = len(build.shape(node.inputs[0]))
    squares = build.node("Mul", [node.inputs[0]] * 2, node)
    axes = np.arange(1, rank if op.across_spatial else 2, dtype=np.int64)
    total = build.node("ReduceSum", [squares, build.constant(axes, node, "axes")], node)
    shifted = build.node("Add", [total, build.number(op.eps, node, "eps")], node)
    unit = build.node("Div", [node.inputs[0], build.node("Sqrt", [shifted], node)], node)
    build.node("Mul", [unit, on_channels(build, node, node.params[0])], node, output=node.outputs[0])


def _laid_out(build: Builder, node: Node, axis: int) -> list[str]:
    """Returns the second input, if there is one, and the parameters with axes of size 1 behind them."""
    rank = len(build.shape(node.inputs[0]))
    parts = [build.shape(name) for name in node.inputs[1:]] + [build.graph.params[name].shape for name in node.params]
    own = parts[0]
    trailing = rank - axis % rank - len(own) if own else 0
    operands = [append_axes(build, node, name, len(own), trailing) for name in node.inputs[1:]]
    return operands + [build.param(name, (*own, *(1,) * trailing)) for name in node.params]


@lowers(MVN)
def mvn(build: Builder, node: Node, op: MVN) -> None:
    """Means, differences, and a division by the square root plus eps, step by step as Caffe does."""
    value, target = node.inputs[0], build.dims(node.outputs[0])
    if len(build.shape(value)) < len(target):
        value = reshape_to(build, value, target, node)
    axes = (1, 2, 3) if op.across_channels else (2, 3)
    mean = reduce_over(build, node, "ReduceMean", value, axes, keepdims=True)
    if not op.normalize_variance:
        build.node("Sub", [value, mean], node, output=node.outputs[0])
        return
    centred = build.node("Sub", [value, mean], node)
    square = build.node("Mul", [centred, centred], node)
    variance = reduce_over(build, node, "ReduceMean", square, axes, keepdims=True)
    deviation = build.node("Sqrt", [variance], node)
    divisor = build.node("Add", [deviation, build.number(op.eps, node, "eps")], node)
    build.node("Div", [centred, divisor], node, output=node.outputs[0])


@lowers(LRN)
def lrn(build: Builder, node: Node, op: LRN) -> None:
    """LRN where ONNX has it; else the mean of squares over the window, Mul, Add, Pow and Mul."""
    value = node.inputs[0]
    if op.region == "WITHIN_CHANNEL":
        mean = _mean_within(build, node, op, build.node("Mul", [value, value], node))
        _normalize(build, node, op, mean, 1.0)
    elif op.alpha > 0 and op.beta > 0:
        attributes = {"size": op.local_size, "alpha": op.alpha, "beta": op.beta, "bias": op.k}
        build.node("LRN", [value], node, output=node.outputs[0], attributes=attributes)
    else:
        # onnxruntime refuses such numbers in its LRN.
        _, channels, height, width = build.shape(value)
        planes = reshape_to(build, value, (-1, 1, channels, height * width), node)
        window, edge = (op.local_size, 1), (op.local_size // 2, 0)
        mean = _window_mean(build, node, build.node("Mul", [planes, planes], node), window, edge)
        _normalize(build, node, op, reshape_to(build, mean, build.dims(value), node), op.k)


def _mean_within(build: Builder, node: Node, op: LRN, squares: str) -> str:
    edge = op.local_size // 2
    return _window_mean(build, node, squares, (op.local_size, op.local_size), (edge, edge))


def _window_mean(build: Builder, node: Node, squares: str, window: tuple[int, int], edge: tuple[int, int]) -> str:
    attributes: dict[str, Attribute] = {"kernel_shape": window, "pads": [*edge, *edge], "count_include_pad": 1}
    return build.node("AveragePool", [squares], node, attributes=attributes)


def _normalize(build: Builder, node: Node, op: LRN, mean: str, shift: float) -> None:
    scaled = build.node("Mul", [mean, build.number(op.alpha, node, "alpha")], node)
    shifted = build.node("Add", [scaled, build.number(shift, node, "shift")], node)
    factor = build.node("Pow", [shifted, build.number(-op.beta, node, "power")], node)
    build.node("Mul", [node.inputs[0], factor], node, output=node.outputs[0])


@lowers(BatchStatistics)
def batch_statistics(build: Builder, node: Node, op: BatchStatistics) -> None:
    """Mean and mean square deviation by ReduceMean over all axes but the channels'."""
    value = node.inputs[0]
    rank = len(build.shape(value))
    axes = [axis for axis in range(rank) if axis != 1]
    centred = build.node("Sub", [value, _batch_mean(build, node, value, axes)], node)
    square = build.node("Mul", [centred, centred], node)
    shifted = build.node("Add", [_batch_mean(build, node, square, axes), build.number(op.eps, node, "eps")], node)
    deviation = build.node("Sqrt", [shifted], node)
    build.node("Div", [centred, deviation], node, output=node.outputs[0])


def _batch_mean(build: Builder, node: Node, value: str, axes: list[int]) -> str:
    if build.opset < 18:
        return build.node("ReduceMean", [value], node, attributes={"axes": axes, "keepdims": 1})
    listed = build.constant(np.array(axes, np.int64), node, "axes")
    return build.node("ReduceMean", [value, listed], node, attributes={"keepdims": 1})
