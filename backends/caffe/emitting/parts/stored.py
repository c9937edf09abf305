"""Functions of a blob and a constant, in one layer where there is one."""

from __future__ import annotations

from math import frexp

import numpy as np

from nuqconv.backends.caffe.emitting.normalization import shifted
from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, at_least, at_most, eltwise, negated
from nuqconv.backends.caffe.emitting.parts.numbers import reciprocal
from nuqconv.backends.caffe.emitting.parts.pairs import part_of
from nuqconv.ir import Array

__all__ = ["with_constant"]


def with_constant(b: LayerBuilder, function: str, x: Blob, constant: Array, *, first: bool) -> Blob | None:
    """Returns a function of x and a constant, or None where a Parameter layer has to hold the constant.

    Args:
        b: The layers.
        function: Its name.
        x: The blob.
        constant: The other operand.
        first: Whether the constant is the first operand.
    """
    found = part_of(x.shape, constant.shape)
    if found is None or function not in _FUNCTIONS:
        return None
    numbers = np.unique(constant)
    if numbers.size == 1:
        return _with_number(b, function, x, float(numbers[0]), first=first)
    axis, shape = found
    return _with_part(b, function, x, constant.astype(np.float32).reshape(shape), axis, first=first)


_MOST_POWERS = 3
_FUNCTIONS = frozenset({"add", "sub", "mul", "div", "max", "min"})


def _with_number(b: LayerBuilder, function: str, x: Blob, number: float, *, first: bool) -> Blob | None:
    """One number for all elements."""
    if function == "max":
        return at_least(b, x, number, "max")
    if function == "min":
        return at_most(b, x, number, "min")
    if function == "div" and first:
        return affine(b, reciprocal(b, x), "quotient", scale=number)
    if function == "div" and number == 0:
        return None
    if function == "div":
        return divided_by(b, x, number)
    scale, shift = {
        "add": (1.0, number),
        "sub": (-1.0, number) if first else (1.0, -number),
        "mul": (number, 0.0),
    }[function]
    return affine(b, x, function, scale=scale, shift=shift)


def divided_by(b: LayerBuilder, x: Blob, number: float) -> Blob:
    """``x / number``, rounded as a division is where the number is a sum of up to three powers of two, as 6, 3, 5, 10 and 255 are.

    The product with the reciprocal may miss by one unit in the last place, which a quantization behind it can turn into a whole step. Its
    remainder is then exact, whatever BLAS does, and its quotient is what is missing.
    """
    guess = affine(b, x, "quotient", scale=1 / number)
    powers = _powers_of_two(number)
    if len(powers) == 1 or len(powers) > _MOST_POWERS:
        return guess
    rest = eltwise(b, "SUM", "remainder", x, *(guess,) * len(powers), coeff=(1.0, *(-power for power in powers)))
    return eltwise(b, "SUM", "divided", guess, rest, coeff=(1.0, 1 / number))


def _nearest_exponent(number: float) -> int:
    """Returns the exponent of the power of two that is the nearest."""
    mantissa, exponent = frexp(number)
    return exponent if mantissa > 0.75 else exponent - 1


def _powers_of_two(number: float) -> list[float]:
    """Returns signed powers of two that add up to a number, the largest first; each is the one next to what is left."""
    found: list[float] = []
    while number and len(found) <= _MOST_POWERS:
        power = float(np.copysign(2.0 ** _nearest_exponent(abs(number)), number))
        found.append(power)
        number -= power
    return found


def _with_part(b: LayerBuilder, function: str, x: Blob, part: Array, axis: int, *, first: bool) -> Blob | None:
    """A number for each place along some axes; the batch takes no part."""
    if axis == 0 and x.shape[0] == 1 and part.ndim > 1:
        axis, part = 1, part.reshape(part.shape[1:])
    place = {"axis": axis, "num_axes": part.ndim}
    if function in ("add", "sub"):
        if function == "sub":
            x, part = (negated(b, x), part) if first else (x, -part)
        return shifted(b, x, part, axis, function)
    if function in ("mul", "div"):
        if function == "div":
            if not first and (part == 0).any():
                return None
            x, part = (reciprocal(b, x), part) if first else (x, (1 / part.astype(np.float64)).astype(np.float32))
        return b.add(function, "Scale", [x], x.shape, arrays=[part], scale_param=place)
    return None
