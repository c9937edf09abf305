"""Functions of one blob that Caffe has no layer for, in stock layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, eltwise, negated, relu
from nuqconv.backends.caffe.emitting.parts.numbers import (
    ceiling,
    difference,
    floor,
    inverse_truth,
    positive,
    reciprocal,
    rounded,
    sign,
)

__all__ = ["FUNCTIONS", "error_function"]

_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_P = 0.3275911
"""Abramowitz and Stegun, 7.1.26: off by at most 1.5e-7."""
_GELU = 0.7978845608028654
_SELU = (1.0507009873554805, 1.6732632423543772)


def _layer(layer_type: str) -> Callable[[LayerBuilder, Blob], Blob]:
    """A stock layer without parameters."""

    def write(b: LayerBuilder, x: Blob) -> Blob:
        return b.add(layer_type.lower(), layer_type, [x], x.shape)

    return write


def exponential(b: LayerBuilder, x: Blob, scale: float = 1.0) -> Blob:
    """``exp(scale * x)``."""
    return b.add("exp", "Exp", [x], x.shape, exp_param={"scale": scale})


def error_function(b: LayerBuilder, x: Blob) -> Blob:
    """erf, by a polynomial and a Gaussian."""
    size = b.add("size", "AbsVal", [x], x.shape)
    t = affine(b, size, "t", scale=_ERF_P, shift=1.0, power=-1.0)
    first, *others = reversed(_ERF)
    value = affine(b, t, "term", scale=first, shift=others[0])
    for factor in others[1:]:
        value = affine(b, eltwise(b, "PROD", "power", value, t), "term", shift=factor)
    gaussian = exponential(b, affine(b, x, "square", power=2.0), -1.0)
    rest = eltwise(b, "PROD", "rest", value, t, gaussian)
    return eltwise(b, "PROD", "erf", sign(b, x), inverse_truth(b, rest, "magnitude"))


def _softsign(b: LayerBuilder, x: Blob) -> Blob:
    size = b.add("size", "AbsVal", [x], x.shape)
    return eltwise(b, "PROD", "softsign", x, affine(b, size, "reciprocal", shift=1.0, power=-1.0))


def _mish(b: LayerBuilder, x: Blob) -> Blob:
    soft = b.add("softplus", "BNLL", [x], x.shape)
    return eltwise(b, "PROD", "mish", x, b.add("tanh", "TanH", [soft], x.shape))


def _gelu(b: LayerBuilder, x: Blob) -> Blob:
    normal = affine(b, error_function(b, affine(b, x, "scaled", scale=0.5**0.5)), "share", scale=0.5, shift=0.5)
    return eltwise(b, "PROD", "gelu", x, normal)


def _gelu_tanh(b: LayerBuilder, x: Blob) -> Blob:
    inner = eltwise(b, "SUM", "inner", x, affine(b, x, "cube", power=3.0), coeff=(_GELU, _GELU * 0.044715))
    share = affine(b, b.add("tanh", "TanH", [inner], x.shape), "share", scale=0.5, shift=0.5)
    return eltwise(b, "PROD", "gelu", x, share)


def _selu(b: LayerBuilder, x: Blob) -> Blob:
    scale, alpha = _SELU
    return affine(b, b.add("elu", "ELU", [x], x.shape, elu_param={"alpha": alpha}), "selu", scale=scale)


def _truncated(b: LayerBuilder, x: Blob) -> Blob:
    up, down = relu(b, x, "up"), relu(b, negated(b, x), "down")
    return difference(b, floor(b, up), floor(b, down), "truncated")


def _nonzero(b: LayerBuilder, x: Blob) -> Blob:
    return positive(b, b.add("size", "AbsVal", [x], x.shape), "nonzero")


def _exponentials(*coeff: float) -> Callable[[LayerBuilder, Blob], Blob]:
    """A sum of ``exp(x)`` and ``exp(-x)``."""

    def write(b: LayerBuilder, x: Blob) -> Blob:
        return eltwise(b, "SUM", "hyperbolic", exponential(b, x), exponential(b, x, -1.0), coeff=coeff)

    return write


def _area(shift: float) -> Callable[[LayerBuilder, Blob], Blob]:
    """``log(|x| + sqrt(x ** 2 + shift))`` with the sign of x."""

    def write(b: LayerBuilder, x: Blob) -> Blob:
        size = b.add("size", "AbsVal", [x], x.shape)
        root = affine(b, affine(b, x, "square", power=2.0), "root", shift=shift, power=0.5)
        total = eltwise(b, "SUM", "total", size, root)
        return eltwise(b, "PROD", "area", sign(b, x), b.add("logarithm", "Log", [total], x.shape))

    return write


def _atanh(b: LayerBuilder, x: Blob) -> Blob:
    up = b.add("up", "Log", [x], x.shape, log_param={"shift": 1.0})
    down = b.add("down", "Log", [x], x.shape, log_param={"scale": -1.0, "shift": 1.0})
    return eltwise(b, "SUM", "atanh", up, down, coeff=(0.5, -0.5))


FUNCTIONS: Mapping[str, Callable[[LayerBuilder, Blob], Blob]] = MappingProxyType(
    {
        "abs": _layer("AbsVal"),
        "acosh": _area(-1.0),
        "asinh": _area(1.0),
        "atanh": _atanh,
        "ceil": ceiling,
        "cosh": _exponentials(0.5, 0.5),
        "erf": error_function,
        "exp": exponential,
        "floor": floor,
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "log": lambda b, x: b.add("log", "Log", [x], x.shape),
        "mish": _mish,
        "neg": negated,
        "nonzero": _nonzero,
        "not": inverse_truth,
        "positive": positive,
        "reciprocal": reciprocal,
        "round": rounded,
        "selu": _selu,
        "sigmoid": _layer("Sigmoid"),
        "sign": sign,
        "sinh": _exponentials(0.5, -0.5),
        "softplus": _layer("BNLL"),
        "softsign": _softsign,
        "sqrt": lambda b, x: affine(b, x, "sqrt", power=0.5),
        "tanh": _layer("TanH"),
        "trunc": _truncated,
    }
)
"""Functions by their usual names."""
