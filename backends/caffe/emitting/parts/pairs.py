"""Functions of two blobs with numpy's broadcasting, in stock layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import eltwise, negated, relu, reshaped
from nuqconv.backends.caffe.emitting.parts.moves import broadcast
from nuqconv.backends.caffe.emitting.parts.numbers import (
    above,
    difference,
    floor,
    inverse_truth,
    minimum,
    positive,
    reciprocal,
    same,
    sign,
)
from nuqconv.ir.ops import Shape

__all__ = ["PAIRS", "added", "multiplied", "together"]


def together(b: LayerBuilder, *blobs: Blob) -> list[Blob]:
    """Repeats blobs until all have the common shape."""
    shape = np.broadcast_shapes(*(item.shape for item in blobs))
    return [broadcast(b, item, shape) for item in blobs]


def part_of(shape: Shape, part: Shape) -> tuple[int, Shape] | None:
    """Returns the axis from which on a part lies in a shape, and its shape there, if Scale and Bias can lay it so."""
    if len(part) > len(shape):
        return None
    full = (*(1,) * (len(shape) - len(part)), *part)
    if any(small not in (1, size) for small, size in zip(full, shape, strict=True)):
        return None
    lying = [axis for axis, small in enumerate(full) if small != 1]
    if not lying:
        return 0, ()
    first, last = lying[0], lying[-1]
    if full[first : last + 1] != shape[first : last + 1]:
        return None
    # With the batch in it, the part follows other batch sizes.
    while first > 0 and full[first - 1] == shape[first - 1]:
        first -= 1
    return first, shape[first : last + 1]


def _whole_and_part(b: LayerBuilder, x: Blob, y: Blob) -> tuple[Blob, Blob, int] | None:
    """Returns the blobs as Scale and Bias take them, with the axis, where one is a part of the other."""
    if x.shape == y.shape:
        return None
    for whole, other in ((x, y), (y, x)):
        found = part_of(whole.shape, other.shape)
        if found is not None:
            axis, shape = found
            return whole, reshaped(b, other, shape, "part"), axis
    return None


def multiplied(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """``x * y``: a Scale where one is a part of the other."""
    found = _whole_and_part(b, x, y)
    if found is None:
        return eltwise(b, "PROD", "product", *together(b, x, y))
    whole, part, axis = found
    return b.add("scale", "Scale", [whole, part], whole.shape, scale_param={"axis": axis})


def added(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """``x + y``: a Bias where one is a part of the other."""
    found = _whole_and_part(b, x, y)
    if found is None:
        return eltwise(b, "SUM", "sum", *together(b, x, y))
    whole, part, axis = found
    return b.add("bias", "Bias", [whole, part], whole.shape, bias_param={"axis": axis})


def subtracted(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """``x - y``."""
    if x.shape == y.shape:
        return difference(b, x, y)
    return added(b, x, negated(b, y))


def divided(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """``x / y``, as a product with the reciprocal."""
    return multiplied(b, x, reciprocal(b, y))


def prelu(b: LayerBuilder, x: Blob, slope: Blob) -> Blob:
    """Returns x where it is positive, else ``slope * x``."""
    x = broadcast(b, x, np.broadcast_shapes(x.shape, slope.shape))
    below = multiplied(b, relu(b, negated(b, x), "below"), slope)
    return difference(b, relu(b, x, "above"), below, "prelu")


def _whole_quotient(b: LayerBuilder, x: Blob, y: Blob) -> tuple[Blob, Blob]:
    """Returns ``floor(x / y)`` of positive whole numbers and what remains.

    The quotient is made with a reciprocal and may miss by one; the remainder shows it.
    """
    quotient = floor(b, eltwise(b, "PROD", "quotient", x, reciprocal(b, y)))
    rest = difference(b, x, eltwise(b, "PROD", "taken", quotient, y), "rest")
    low = positive(b, negated(b, rest), "too_much")
    high = inverse_truth(b, above(b, y, rest), "too_little")
    right = eltwise(b, "SUM", "quotient", quotient, high, low, coeff=(1.0, 1.0, -1.0))
    moved = eltwise(b, "PROD", "moved", y, difference(b, low, high, "step"))
    return right, eltwise(b, "SUM", "remainder", rest, moved)


def _magnitude(b: LayerBuilder, x: Blob) -> Blob:
    return b.add("magnitude", "AbsVal", [x], x.shape)


def integer_division(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """``x / y`` of whole numbers, rounded towards zero."""
    quotient, _ = _whole_quotient(b, _magnitude(b, x), _magnitude(b, y))
    return eltwise(b, "PROD", "division", quotient, sign(b, x), sign(b, y))


def truncated_remainder(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """C's remainder, which has the sign of x."""
    _, rest = _whole_quotient(b, _magnitude(b, x), _magnitude(b, y))
    return eltwise(b, "PROD", "fmod", rest, sign(b, x))


def floored_remainder(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    """Python's remainder, which has the sign of y."""
    rest = truncated_remainder(b, x, y)
    # Where the signs differ, y is missing.
    wrong = positive(b, negated(b, eltwise(b, "PROD", "sides", rest, sign(b, y))), "wrong")
    return eltwise(b, "SUM", "mod", rest, eltwise(b, "PROD", "missing", wrong, y))


def _exclusive(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
    return b.add("either", "AbsVal", [difference(b, x, y)], x.shape)


def _alike(write: Callable[..., Blob]) -> Callable[[LayerBuilder, Blob, Blob], Blob]:
    """A function that wants blobs of one shape."""

    def broadcasting(b: LayerBuilder, x: Blob, y: Blob) -> Blob:
        return write(b, *together(b, x, y))

    return broadcasting


PAIRS: Mapping[str, Callable[[LayerBuilder, Blob, Blob], Blob]] = MappingProxyType(
    {
        "add": added,
        "and": multiplied,
        "div": divided,
        "equal": _alike(same),
        "greater": _alike(above),
        "greater_equal": _alike(lambda b, x, y: inverse_truth(b, above(b, y, x, "below"))),
        "fmod": _alike(truncated_remainder),
        "integer_div": _alike(integer_division),
        "less": _alike(lambda b, x, y: above(b, y, x, "below")),
        "less_equal": _alike(lambda b, x, y: inverse_truth(b, above(b, x, y))),
        "max": _alike(lambda b, x, y: eltwise(b, "MAX", "max", x, y)),
        "min": _alike(minimum),
        "mod": _alike(floored_remainder),
        "mul": multiplied,
        "or": _alike(lambda b, x, y: eltwise(b, "MAX", "or", x, y)),
        "prelu": prelu,
        "sub": subtracted,
        "xor": _alike(_exclusive),
    }
)
"""Functions by their usual names; truth is 1 and 0."""
