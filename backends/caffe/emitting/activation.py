"""Operators on each element, and Softmax."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, at_least, at_most, clamp, eltwise
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import (
    BNLL,
    ELU,
    AbsVal,
    Clip,
    Exp,
    HSigmoid,
    HSwish,
    Identity,
    Log,
    Power,
    ReLU,
    Sigmoid,
    Softmax,
    Swish,
    TanH,
    Threshold,
)
from nuqconv.ir.ops.base import UnaryOp, canonical_axis

__all__: list[str] = []


@emits(AbsVal, BNLL, Sigmoid, TanH, construct="the layer of that name")
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


@emits(Power, construct="Power")
def write_power(b: LayerBuilder, op: Power) -> None:
    """A Power."""
    b.finish(affine(b, b.input, "", scale=op.scale, shift=op.shift, power=op.power))


@emits(Exp, construct="Exp")
def write_exp(b: LayerBuilder, op: Exp) -> None:
    """An Exp."""
    fields = {"base": op.base, "scale": op.scale, "shift": op.shift}
    b.finish(b.add("", "Exp", [b.input], b.input.shape, exp_param=fields))


@emits(Log, construct="Log")
def write_log(b: LayerBuilder, op: Log) -> None:
    """A Log."""
    fields = {"base": op.base, "scale": op.scale, "shift": op.shift}
    b.finish(b.add("", "Log", [b.input], b.input.shape, log_param=fields))


@emits(Threshold, construct="Threshold")
def write_threshold(b: LayerBuilder, op: Threshold) -> None:
    """A Threshold."""
    b.finish(b.add("", "Threshold", [b.input], b.input.shape, threshold_param={"threshold": op.threshold}))


@emits(Identity, construct="Split with one top", exact="to the bit")
def write_identity(b: LayerBuilder, op: Identity) -> None:
    """A Split, which is the same in training, where a Dropout is not."""
    del op
    b.finish(b.add("", "Split", [b.input], b.input.shape))


@emits(Softmax, construct="Softmax")
def write_softmax(b: LayerBuilder, op: Softmax) -> None:
    """A Softmax."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    b.finish(b.add("", "Softmax", [b.input], b.input.shape, softmax_param={"axis": axis}))


@emits(
    Clip,
    construct="low 0: ReLU, else Power (scale 0) and Eltwise MAX; high: the same between two Power (scale -1)",
    exact="to the bit, for all finite numbers",
)
def write_clip(b: LayerBuilder, op: Clip) -> None:
    """Maxima with constants."""
    b.finish(clamp(b, b.input, op.low, op.high))


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
