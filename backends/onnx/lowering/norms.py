"""Normalizations by what each sample itself shows."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.backends.onnx.builder import Attribute, Builder
from nuqconv.backends.onnx.lowering.registry import lowers
from nuqconv.backends.onnx.lowering.steps import Steps
from nuqconv.ir import Node
from nuqconv.ir.ops import GroupNorm, InstanceNorm, LayerNorm, LpNorm, MeanVarianceNorm

__all__: list[str] = []

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
