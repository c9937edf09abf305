"""Activations."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, at_least, at_most, clamp, eltwise, negated
from nuqconv.backends.caffe.emitting.parts.moves import broadcast
from nuqconv.backends.caffe.emitting.parts.numbers import difference, inverse_truth, positive, same
from nuqconv.backends.caffe.emitting.parts.totals import most_over, running_sum, softmax_logarithm
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import (
    BNLL,
    ELU,
    Celu,
    Hardmax,
    HardSigmoid,
    HSigmoid,
    HSwish,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Selu,
    Shrink,
    Sigmoid,
    Softmax,
    Swish,
    TanH,
    ThresholdedReLU,
)
from nuqconv.ir.ops.base import UnaryOp, canonical_axis

__all__: list[str] = []


@emits(BNLL, Sigmoid, TanH, construct="the layer of that name")
def write_plain(b: LayerBuilder, op: UnaryOp) -> None:
    """A layer without parameters."""
    b.finish(b.add("", op.kind, [b.input], b.input.shape))


@emits(ReLU, construct="ReLU")
def write_relu(b: LayerBuilder, op: ReLU) -> None:
    """A ReLU with its slope."""
    b.finish(b.add("", "ReLU", [b.input], b.input.shape, relu_param={"negative_slope": op.negative_slope}))


@emits(ELU, construct="ELU")
def write_elu(b: LayerBuilder, op: ELU) -> None:
    """An ELU with its factor."""
    b.finish(b.add("", "ELU", [b.input], b.input.shape, elu_param={"alpha": op.alpha}))


@emits(Softmax, construct="Softmax")
def write_softmax(b: LayerBuilder, op: Softmax) -> None:
    """A Softmax."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    b.finish(b.add("", "Softmax", [b.input], b.input.shape, softmax_param={"axis": axis}))


@emits(Swish, construct="Power (beta), Sigmoid, Eltwise PROD", exact="1e-6")
def write_swish(b: LayerBuilder, op: Swish) -> None:
    """The input times its sigmoid: Caffe 1.0 has no Swish."""
    scaled = b.input if op.beta == 1 else affine(b, b.input, "beta", scale=op.beta)
    gate = b.add("sigmoid", "Sigmoid", [scaled], scaled.shape)
    b.finish(eltwise(b, "PROD", "product", b.input, gate))


@emits(HSigmoid, construct="Power, the layers of Clip, Power", exact="1e-6")
def write_hsigmoid(b: LayerBuilder, op: HSigmoid) -> None:
    """``min(max(x + 3, 0), 6) / 6``."""
    del op
    clipped = at_most(b, at_least(b, affine(b, b.input, "shift", shift=3.0), 0.0), 6.0)
    b.finish(affine(b, clipped, "sixth", scale=1 / 6))


@emits(HSwish, construct="the layers of HSigmoid, Eltwise PROD", exact="1e-6")
def write_hswish(b: LayerBuilder, op: HSwish) -> None:
    """The input times its hard sigmoid."""
    del op
    clipped = at_most(b, at_least(b, affine(b, b.input, "shift", shift=3.0), 0.0), 6.0)
    b.finish(eltwise(b, "PROD", "product", b.input, affine(b, clipped, "sixth", scale=1 / 6)))


@emits(PReLU, construct="PReLU")
def write_prelu(b: LayerBuilder, op: PReLU) -> None:
    """A PReLU; a shared slope is a scalar."""
    slopes = b.params[0].reshape(() if op.channel_shared else (-1,))
    fields = {"channel_shared": op.channel_shared}
    b.finish(b.add("", "PReLU", [b.input], b.input.shape, arrays=[slopes], prelu_param=fields))


@emits(HardSigmoid, construct="Power, the layers of Clip", exact="1e-6")
def write_hard_sigmoid(b: LayerBuilder, op: HardSigmoid) -> None:
    """``max(0, min(1, alpha * x + beta))``."""
    b.finish(clamp(b, affine(b, b.input, "line", scale=op.alpha, shift=op.beta), 0.0, 1.0))


@emits(ThresholdedReLU, construct="Threshold, Eltwise PROD", exact="to the bit")
def write_thresholded_relu(b: LayerBuilder, op: ThresholdedReLU) -> None:
    """The input where it exceeds a threshold, else 0."""
    b.finish(eltwise(b, "PROD", "kept", b.input, positive(b, b.input, "above", op.alpha)))


@emits(Selu, construct="ELU, Power", exact="1e-6")
def write_selu(b: LayerBuilder, op: Selu) -> None:
    """``gamma`` times an ELU."""
    x = b.input
    b.finish(affine(b, b.add("elu", "ELU", [x], x.shape, elu_param={"alpha": op.alpha}), "selu", scale=op.gamma))


@emits(Celu, construct="Power, ELU, Power", exact="1e-6")
def write_celu(b: LayerBuilder, op: Celu) -> None:
    """``alpha`` times the ELU of ``x / alpha``."""
    x = affine(b, b.input, "divided", scale=1 / op.alpha)
    b.finish(affine(b, b.add("elu", "ELU", [x], x.shape), "celu", scale=op.alpha))


@emits(Mish, construct="BNLL, TanH, Eltwise PROD", exact="1e-6")
def write_mish(b: LayerBuilder, op: Mish) -> None:
    """The input times TanH of its BNLL."""
    del op
    x = b.input
    gate = b.add("tanh", "TanH", [b.add("softplus", "BNLL", [x], x.shape)], x.shape)
    b.finish(eltwise(b, "PROD", "mish", x, gate))


@emits(Shrink, construct="Power, Threshold, Eltwise", exact="to the bit")
def write_shrink(b: LayerBuilder, op: Shrink) -> None:
    """Nearer to 0 by ``bias``, and 0 within ``lambd`` of it."""
    x = b.input
    above = positive(b, x, "above", op.lambd)
    below = positive(b, negated(b, x), "below", op.lambd)
    high = eltwise(b, "PROD", "high", affine(b, x, "less", shift=-op.bias), above)
    low = eltwise(b, "PROD", "low", affine(b, x, "more", shift=op.bias), below)
    b.finish(eltwise(b, "SUM", "shrunk", high, low))


@emits(LogSoftmax, construct="Pooling MAX, Tile, Eltwise, Exp, 1x1 Convolution of ones, Log", exact="1e-6")
def write_log_softmax(b: LayerBuilder, op: LogSoftmax) -> None:
    """Without the quotient, so that small probabilities keep their logarithms."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    rest, logarithm = softmax_logarithm(b, b.input, (axis,))
    b.finish(difference(b, rest, broadcast(b, logarithm, rest.shape), "result"))


@emits(
    Hardmax,
    construct="Pooling MAX, Tile, Threshold, Eltwise, 1x1 Convolution by a triangle of ones",
    exact="to the bit",
)
def write_hardmax(b: LayerBuilder, op: Hardmax) -> None:
    """1 at the first of the largest elements."""
    x = b.input
    axis = canonical_axis(op.axis, len(x.shape))
    largest = same(b, x, broadcast(b, most_over(b, x, (axis,)), x.shape))
    earlier = positive(b, running_sum(b, largest, axis, exclusive=True, reverse=False), "earlier")
    b.finish(eltwise(b, "PROD", "first", largest, inverse_truth(b, earlier)))
