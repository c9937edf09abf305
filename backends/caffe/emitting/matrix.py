"""Products of matrices."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import permuted, reshaped
from nuqconv.backends.caffe.emitting.parts.pairs import multiplied
from nuqconv.backends.caffe.emitting.parts.totals import check_products, product, sum_over
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import Einsum, InnerProduct, MatMul
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []


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


@emits(InnerProduct, construct="InnerProduct")
def write_inner_product(b: LayerBuilder, op: InnerProduct) -> None:
    """An InnerProduct."""
    fields = {
        "num_output": op.num_output,
        "bias_term": op.bias_term,
        "axis": canonical_axis(op.axis, len(b.input.shape)),
        "transpose": op.transpose,
    }
    shape = b.outputs[0].shape
    b.finish(b.add("", "InnerProduct", [b.input], shape, arrays=b.params, inner_product_param=fields))
