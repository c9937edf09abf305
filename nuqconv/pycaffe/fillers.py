"""The parameters that each layer type has, and what they are before weights are loaded.

Shapes, fillers and their defaults are Caffe's; the random numbers of fillers are numpy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from nuqconv.errors import NetError
from nuqconv.frontends.caffe.schema import message_class
from nuqconv.ir.ops import LSTM, RNN, Convolution, Deconvolution, Op, Shape
from nuqconv.ir.ops.recurrent import StreamRecurrent
from nuqconv.pycaffe.memory import Floats

__all__ = ["Random", "Spec", "check_filler", "filled", "parameter_specs", "zeros"]

FillerParameter: Any = message_class("FillerParameter")

_FAN_IN, _FAN_OUT = 0, 1


class Random:
    """The random numbers of fillers."""

    generator = np.random.default_rng()

    @classmethod
    def seed(cls, seed: int) -> None:
        """Begins the sequence that belongs to a seed."""
        cls.generator = np.random.default_rng(seed)


@dataclass(frozen=True)
class Spec:
    """One parameter of a layer.

    Attributes:
        shape: Its shape.
        filler: Its FillerParameter.
    """

    shape: Shape
    filler: Any


_Rule = Callable[[Any, Op, Sequence[Shape]], list[Spec]]


def zeros(shape: Shape) -> Spec:
    """Returns a parameter that is 0 until weights are loaded."""
    return Spec(shape, FillerParameter())


def _constant(value: float) -> Any:
    return FillerParameter(type="constant", value=value)


def _window(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    if not isinstance(op, Convolution | Deconvolution):
        raise TypeError(type(op).__name__)
    channels = bottoms[0][op.axis]
    ends = (channels, op.num_output) if isinstance(op, Deconvolution) else (op.num_output, channels)
    param = layer.convolution_param
    weight = Spec((ends[0], ends[1] // op.group, *op.kernel), param.weight_filler)
    return [weight, Spec((op.num_output,), param.bias_filler)] if op.bias_term else [weight]


def _inner_product(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del op
    param = layer.inner_product_param
    axis = param.axis % len(bottoms[0])
    size = prod(bottoms[0][axis:])
    shape = (size, param.num_output) if param.transpose else (param.num_output, size)
    weight = Spec(shape, param.weight_filler)
    return [weight, Spec((param.num_output,), param.bias_filler)] if param.bias_term else [weight]


def _batch_norm(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del layer, op
    channels = bottoms[0][1] if len(bottoms[0]) > 1 else 1
    return [zeros((channels,)), zeros((channels,)), zeros((1,))]


def _along(param: Any, shape: Shape) -> Shape:
    axis = param.axis % len(shape)
    return shape[axis:] if param.num_axes == -1 else shape[axis : axis + param.num_axes]


def _scale(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del op
    param = layer.scale_param
    own = len(bottoms) == 1
    shape = _along(param, bottoms[0]) if own else bottoms[1]
    factor = Spec(shape, param.filler if param.HasField("filler") else _constant(1))
    return [factor] * own + [Spec(shape, param.bias_filler)] * bool(param.bias_term)


def _bias(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del op
    param = layer.bias_param
    return [Spec(_along(param, bottoms[0]), param.filler)] if len(bottoms) == 1 else []


def _prelu(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del op
    param = layer.prelu_param
    shape = () if param.channel_shared else (bottoms[0][1],)
    return [Spec(shape, param.filler if param.HasField("filler") else _constant(0.25))]


def _normalize(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del op
    param = layer.norm_param
    shape = () if param.channel_shared else (bottoms[0][1],)
    return [Spec(shape, param.scale_filler if param.HasField("scale_filler") else _constant(1))]


def _embed(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del op, bottoms
    param = layer.embed_param
    weight = Spec((param.input_dim, param.num_output), param.weight_filler)
    return [weight, Spec((param.num_output,), param.bias_filler)] if param.bias_term else [weight]


def _parameter(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    del op, bottoms
    return [zeros(tuple(layer.parameter_param.shape.dim))]


def _recurrent(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec]:
    if not isinstance(op, StreamRecurrent):
        raise TypeError(type(op).__name__)
    param = layer.recurrent_param
    shapes = op.param_shapes(bottoms)
    return [Spec(shape, param.weight_filler if len(shape) > 1 else param.bias_filler) for shape in shapes]


_RULES: Mapping[str, _Rule] = {
    "BatchNorm": _batch_norm,
    "Bias": _bias,
    "Convolution": _window,
    "ConvolutionDepthwise": _window,
    "Deconvolution": _window,
    "DepthwiseConvolution": _window,
    "Embed": _embed,
    "InnerProduct": _inner_product,
    LSTM.__name__: _recurrent,
    "Normalize": _normalize,
    "PReLU": _prelu,
    "Parameter": _parameter,
    RNN.__name__: _recurrent,
    "Scale": _scale,
}


def parameter_specs(layer: Any, op: Op, bottoms: Sequence[Shape]) -> list[Spec] | None:
    """Returns the parameters of a layer, or None for a type that nothing is known of.

    Args:
        layer: The LayerParameter.
        op: What its reader has made of it.
        bottoms: The shapes of its bottoms.
    """
    rule = _RULES.get(layer.type)
    return None if rule is None else rule(layer, op, bottoms)


def check_filler(spec: Spec) -> None:
    """Raises NetError if the filler is not known."""
    if spec.filler.type not in _FILLERS:
        raise NetError(f"unknown filler name: {spec.filler.type}; known are {', '.join(_FILLERS)}")


def filled(spec: Spec) -> Floats:
    """Returns a parameter as its filler makes it, in its shape.

    Raises:
        NetError: The filler is not known, or does not fit the shape.
    """
    check_filler(spec)
    return np.asarray(_FILLERS[spec.filler.type](spec.filler, spec.shape), np.float32).reshape(spec.shape)


def _fan(filler: Any, shape: Shape) -> float:
    """The number of inputs, of outputs, or their mean, as ``variance_norm`` says."""
    count = prod(shape)
    fan_in = count / (shape[0] if shape else 1)
    fan_out = count / (shape[1] if len(shape) > 1 else 1)
    if filler.variance_norm == _FAN_IN:
        return fan_in
    return fan_out if filler.variance_norm == _FAN_OUT else (fan_in + fan_out) / 2


def _gaussian(filler: Any, shape: Shape) -> Any:
    numbers = Random.generator.normal(filler.mean, filler.std, shape)
    if filler.sparse >= 0:
        kept = filler.sparse / (shape[0] if shape else 1)
        numbers = numbers * (Random.generator.random(shape) < kept)
    return numbers


def _unit_ball(_filler: Any, shape: Shape) -> Any:
    rows = Random.generator.random((shape[0] if shape else 1, -(-prod(shape) // max(1, shape[0] if shape else 1))))
    return rows / rows.sum(axis=1, keepdims=True)


def _bilinear(_filler: Any, shape: Shape) -> Any:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise NetError(f"the bilinear filler is for square filters of 4 axes, found the shape {shape}")
    size = shape[3]
    factor = -(-size // 2)
    centre = (2 * factor - 1 - factor % 2) / (2.0 * factor)
    line = 1 - np.abs(np.arange(size) / factor - centre)
    return np.broadcast_to(line[:, np.newaxis] * line, shape)


_FILLERS: Mapping[str, Callable[[Any, Shape], Any]] = {
    "constant": lambda filler, shape: np.full(shape, filler.value),
    "gaussian": _gaussian,
    "positive_unitball": _unit_ball,
    "uniform": lambda filler, shape: Random.generator.uniform(filler.min, filler.max, shape),
    "xavier": lambda filler, shape: Random.generator.uniform(-1, 1, shape) * np.sqrt(3 / _fan(filler, shape)),
    "msra": lambda filler, shape: Random.generator.normal(0, np.sqrt(2 / _fan(filler, shape)), shape),
    "bilinear": _bilinear,
}
