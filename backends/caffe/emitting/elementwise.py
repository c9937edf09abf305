"""Arithmetic on each element of one value."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, clamp
from nuqconv.backends.caffe.emitting.parts.functions import FUNCTIONS
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import AbsVal, Clip, Exp, Identity, Log, Power, Threshold, Unary

__all__: list[str] = []


@emits(AbsVal, construct="the layer of that name")
def write_abs_val(b: LayerBuilder, op: AbsVal) -> None:
    """An AbsVal."""
    del op
    b.finish(b.add("", "AbsVal", [b.input], b.input.shape))


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


@emits(
    Clip,
    construct="low 0: ReLU, else Power (scale 0) and Eltwise MAX; high: the same between two Power (scale -1)",
    exact="to the bit, for all finite numbers",
)
def write_clip(b: LayerBuilder, op: Clip) -> None:
    """Maxima with constants."""
    b.finish(clamp(b, b.input, op.low, op.high))


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
