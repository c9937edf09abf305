"""Functions of several values, element by element."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, eltwise, reshaped
from nuqconv.backends.caffe.emitting.parts.numbers import chosen
from nuqconv.backends.caffe.emitting.parts.pairs import PAIRS, together
from nuqconv.backends.caffe.emitting.parts.stored import with_constant
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import Axpy, Binary, Eltwise, Where

__all__: list[str] = []


@emits(
    Binary,
    construct="Eltwise; Scale and Bias where one operand lies in the other, Power with one stored number; else Tile; comparisons by Threshold; "
    "pow by Power",
    exact="to the bit but for pow and for div by other than stored numbers like 6, 10 or 255 (1e-6); "
    "mod, fmod and integer_div for whole numbers below 2^24",
    limits="pow with exponents that are computed or differ",
    binds=True,
)
def write_binary(b: LayerBuilder, op: Binary) -> None:
    """The function of that name."""
    if op.function == "pow":
        exponents = b.constants.get(1)
        if exponents is None or np.unique(exponents).size != 1:
            raise b.refuse(
                "a power whose exponents are computed or differ from element to element: Caffe's Power has one for all"
            )
        result = affine(b, b.operand(0), "power", power=float(exponents.ravel()[0]))
        b.finish(reshaped(b, result, b.outputs[0].shape, "shape"))
        return
    for number, constant in b.constants.items():
        found = with_constant(b, op.function, b.operand(1 - number), constant, first=number == 0)
        if found is not None and found.shape == b.outputs[0].shape:
            b.finish(found)
            return
    if op.function not in PAIRS:
        raise b.refuse(f"{op.function} of two blobs has no form in stock Caffe")
    b.finish(reshaped(b, PAIRS[op.function](b, *b.inputs), b.outputs[0].shape, "shape"))


@emits(Where, construct="Power, Eltwise PROD twice, Eltwise SUM", exact="to the bit")
def write_where(b: LayerBuilder, op: Where) -> None:
    """A sum of products with truth and its opposite."""
    del op
    b.finish(chosen(b, *together(b, *b.inputs)))


@emits(Eltwise, construct="Eltwise")
def write_eltwise(b: LayerBuilder, op: Eltwise) -> None:
    """An Eltwise; coefficients have no meaning for a maximum."""
    b.finish(eltwise(b, op.operation, "", *b.inputs, coeff=op.coeff if op.operation == "SUM" else ()))


@emits(Axpy, construct="Scale with two bottoms, Eltwise SUM", exact="1e-6")
def write_axpy(b: LayerBuilder, op: Axpy) -> None:
    """One factor for each sample and channel, then a sum."""
    del op
    factor, data, added = b.inputs
    factors = reshaped(b, factor, data.shape[:2], "factors")
    scaled = b.add("scale", "Scale", [data, factors], data.shape, scale_param={"axis": 0})
    b.finish(eltwise(b, "SUM", "sum", scaled, added))
