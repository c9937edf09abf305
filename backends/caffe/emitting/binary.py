"""Functions of several blobs with broadcasting, and matrix products."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import affine, permuted, reshaped
from nuqconv.backends.caffe.emitting.parts.numbers import chosen
from nuqconv.backends.caffe.emitting.parts.pairs import PAIRS, multiplied, together
from nuqconv.backends.caffe.emitting.parts.stored import with_constant
from nuqconv.backends.caffe.emitting.parts.totals import check_products, product, sum_over
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import Binary, Einsum, MatMul, Where

__all__: list[str] = []


@emits(
    Binary,
    construct="Eltwise; Scale and Bias where one operand lies in the other, Power with one stored number; else Tile; comparisons by Threshold; "
    "pow by Power",
    exact="to the bit but for pow and for div by other than stored numbers like 6, 10 or 255 (1e-6); "
    "mod, fmod and integer_div for whole numbers below 2^24",
    limits="pow with exponents that are computed or differ",
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


@emits(
    MatMul,
    construct="Tile, Eltwise PROD, Reduction",
    exact="1e-5",
    limits="more than 67,108,864 products",
)
def write_mat_mul(b: LayerBuilder, op: MatMul) -> None:
    """All products side by side; a vector is a matrix of one row or column."""
    del op
    x, y = b.inputs
    left = reshaped(b, x, (1, *x.shape), "row") if len(x.shape) == 1 else x
    right = reshaped(b, y, (*y.shape, 1), "column") if len(y.shape) == 1 else y
    b.finish(reshaped(b, product(b, left, right), b.outputs[0].shape, "shape"))


@emits(
    Einsum,
    construct="Permute, Reshape, Tile, Eltwise PROD, Reduction",
    exact="1e-5",
    limits="more than 67,108,864 products; a label that stands twice in an operand",
)
def write_einsum(b: LayerBuilder, op: Einsum) -> None:
    """All operands with one axis for each label; what the result lacks is summed up."""
    terms, wanted = op.terms()
    if any(len(set(term)) != len(term) for term in terms):
        raise b.refuse(f"the equation '{op.equation}', with a label twice in one operand")
    summed = "".join(sorted(set("".join(terms)) - set(wanted)))
    labels = wanted + summed
    sizes = {
        label: size
        for term, blob in zip(terms, b.inputs, strict=True)
        for label, size in zip(term, blob.shape, strict=True)
    }
    check_products(b, int(np.prod([sizes[label] for label in labels])))
    laid = [_by_label(b, blob, term, labels) for term, blob in zip(terms, b.inputs, strict=True)]
    result = laid[0]
    for other in laid[1:]:
        result = multiplied(b, result, other)
    result = sum_over(b, result, range(len(wanted), len(labels)))
    b.finish(reshaped(b, result, b.outputs[0].shape, "shape"))


def _by_label(b: LayerBuilder, x: Blob, term: str, labels: str) -> Blob:
    """Returns an operand with one axis for each label, in their order; of size 1 where it does not have the label."""
    order = sorted(range(len(term)), key=lambda axis: labels.index(term[axis]))
    x = permuted(b, x, order, "sorted")
    have = dict(zip(sorted(term, key=labels.index), x.shape, strict=True))
    return reshaped(b, x, tuple(have.get(label, 1) for label in labels), "labels")
