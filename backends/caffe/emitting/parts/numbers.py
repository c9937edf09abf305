"""Signs, comparisons, rounding and choices, in stock layers; truth is 1 and 0."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, at_most, eltwise, negated, relu

__all__ = [
    "above",
    "ceiling",
    "chosen",
    "difference",
    "floor",
    "inverse_truth",
    "minimum",
    "positive",
    "reciprocal",
    "rounded",
    "same",
    "sign",
]

_WHOLE = float(2**23)
"""From here on floats have no fractions; added to a smaller one, it rounds half to even."""


def positive(b: LayerBuilder, x: Blob, purpose: str = "positive", threshold: float = 0.0) -> Blob:
    """1 where ``x > threshold``."""
    return b.add(purpose, "Threshold", [x], x.shape, threshold_param={"threshold": threshold})


def difference(b: LayerBuilder, x: Blob, y: Blob, purpose: str = "difference") -> Blob:
    """``x - y``."""
    return eltwise(b, "SUM", purpose, x, y, coeff=(1.0, -1.0))


def above(b: LayerBuilder, x: Blob, y: Blob, purpose: str = "above") -> Blob:
    """1 where ``x > y``; a difference of floats is 0 only between equals, and its sign is right."""
    return positive(b, difference(b, x, y), purpose)


def inverse_truth(b: LayerBuilder, x: Blob, purpose: str = "not") -> Blob:
    """``1 - x``."""
    return affine(b, x, purpose, scale=-1.0, shift=1.0)


def same(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """1 where ``x == y``."""
    gap = b.add("distance", "AbsVal", [difference(b, x, y)], x.shape)
    return inverse_truth(b, positive(b, gap), "same")


def chosen(b: LayerBuilder, truth: Blob, x: Blob, y: Blob) -> Blob:
    """Returns x where ``truth`` is 1, y where it is 0: a sum of products, of which one is 0."""
    other = inverse_truth(b, truth)
    return eltwise(b, "SUM", "chosen", eltwise(b, "PROD", "yes", truth, x), eltwise(b, "PROD", "no", other, y))


def sign(b: LayerBuilder, x: Blob) -> Blob:
    """-1, 0 or 1."""
    return difference(b, positive(b, x), positive(b, negated(b, x), "below"), "sign")


def minimum(b: LayerBuilder, *inputs: Blob) -> Blob:
    """The least of blobs of one shape: ``-max(-x, -y)``."""
    return negated(b, eltwise(b, "MAX", "most", *(negated(b, item) for item in inputs)), "least")


def reciprocal(b: LayerBuilder, x: Blob, purpose: str = "reciprocal") -> Blob:
    """``1 / x``."""
    return affine(b, x, purpose, power=-1.0)


def rounded(b: LayerBuilder, x: Blob) -> Blob:
    """Returns x rounded to an integer, half to even, for every finite x."""
    up, down = relu(b, x, "up"), relu(b, negated(b, x), "down")
    return difference(b, _round_positive(b, up), _round_positive(b, down), "rounded")


def _round_positive(b: LayerBuilder, x: Blob) -> Blob:
    small = at_most(b, x, _WHOLE, "small")
    whole = affine(b, affine(b, small, "shifted", shift=_WHOLE), "whole", shift=-_WHOLE)
    return chosen(b, positive(b, x, "large", _WHOLE), x, whole)


def floor(b: LayerBuilder, x: Blob) -> Blob:
    """The largest integer that does not exceed x."""
    nearest = rounded(b, x)
    return difference(b, nearest, above(b, nearest, x), "floor")


def ceiling(b: LayerBuilder, x: Blob) -> Blob:
    """The smallest integer that x does not exceed."""
    nearest = rounded(b, x)
    return eltwise(b, "SUM", "ceiling", nearest, above(b, x, nearest))
