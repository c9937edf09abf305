"""Functions of each element that have no layer, and those along an axis."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, clamp, contract, eltwise, negated
from nuqconv.backends.caffe.emitting.parts.functions import FUNCTIONS
from nuqconv.backends.caffe.emitting.parts.moves import broadcast
from nuqconv.backends.caffe.emitting.parts.numbers import difference, inverse_truth, positive, same
from nuqconv.backends.caffe.emitting.parts.totals import most_over, softmax_logarithm
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import Celu, CumSum, Hardmax, HardSigmoid, LogSoftmax, Selu, Shrink, ThresholdedReLU, Unary
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []

_TRIGONOMETRY = "no layer of Caffe or of a known fork computes it, and stock layers only approximate it"
_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan"), _TRIGONOMETRY),
        **dict.fromkeys(("isnan", "isinf"), "stock layers compute with numbers only"),
    }
)


@emits(
    Unary,
    construct=", ".join(sorted(FUNCTIONS)) + ": Power, Exp, Log, AbsVal, Threshold, BNLL and Eltwise",
    exact="abs, neg, sign, not, nonzero, ceil, floor, round, trunc to the bit; others 3e-6",
    limits=", ".join(_REFUSED),
)
def write_unary(b: LayerBuilder, op: Unary) -> None:
    """The function of that name."""
    if op.function not in FUNCTIONS:
        raise b.refuse(f"{op.function} has no form in stock Caffe: {_REFUSED.get(op.function, 'it is not known here')}")
    b.finish(FUNCTIONS[op.function](b, b.input))


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


def _running(b: LayerBuilder, x: Blob, axis: int, *, exclusive: bool, reverse: bool) -> Blob:
    """Sums up to each element along an axis."""
    size = x.shape[axis]
    matrix = np.tril(np.ones((size, size), np.float32), -1 if exclusive else 0)
    return contract(b, x, axis, matrix.T if reverse else matrix, "running")


@emits(CumSum, construct="1x1 Convolution by a triangle of ones", exact="1e-6")
def write_cum_sum(b: LayerBuilder, op: CumSum) -> None:
    """A matrix product."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    b.finish(_running(b, b.input, axis, exclusive=op.exclusive, reverse=op.reverse))


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
    earlier = positive(b, _running(b, largest, axis, exclusive=True, reverse=False), "earlier")
    b.finish(eltwise(b, "PROD", "first", largest, inverse_truth(b, earlier)))
