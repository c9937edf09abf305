"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nuqconv.ir.ops.base import Op, OpError, Shape, canonical_axis, expect_params
from nuqconv.ir.ops.binary import broadcast_shapes
from nuqconv.ir.ops.weighted import Weighted

__all__ = ["Einsum", "InnerProduct", "MatMul"]


@dataclass(frozen=True)
class MatMul(Op, traits=()):
    """Numpy's ``matmul``: the last two axes are matrices, those before are broadcast, a vector is a row or a column."""

    min_inputs: ClassVar[int] = 2
    max_inputs: ClassVar[int | None] = 2

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (any..., M, K) and (any..., K, N), output (any..., M, N)."""
        expect_params(params, [])
        left, right = inputs
        if not left or not right:
            raise OpError("a scalar is no matrix")
        rows = left if len(left) > 1 else (1, *left)
        columns = right if len(right) > 1 else (*right, 1)
        if rows[-1] != columns[-2]:
            raise OpError(f"matrices of {'x'.join(map(str, left))} and {'x'.join(map(str, right))} do not go together")
        lead = broadcast_shapes([rows[:-2], columns[:-2]])
        return ((*lead, *(rows[-2:-1] if len(left) > 1 else ()), *(columns[-1:] if len(right) > 1 else ())),)


@dataclass(frozen=True)
class Einsum(Op, traits=()):
    """A sum of products by Einstein's convention; the output's labels are given behind ``->``, or those that stand once, in their order."""

    equation: str

    max_inputs: ClassVar[int | None] = None

    def terms(self) -> tuple[tuple[str, ...], str]:
        """Returns the labels of each input and of the output.

        Raises:
            OpError: The equation has an ellipsis, or labels that are no letters.
        """
        equation = self.equation.replace(" ", "")
        given, arrow, wanted = equation.partition("->")
        terms = tuple(given.split(","))
        labels = "".join(terms)
        if not all(label.isalpha() for label in labels + wanted):
            raise OpError(f"equation '{self.equation}' has more than letters, commas and an arrow")
        if not arrow:
            wanted = "".join(sorted(label for label in set(labels) if labels.count(label) == 1))
        if len(set(wanted)) != len(wanted) or not set(wanted) <= set(labels):
            raise OpError(f"equation '{self.equation}': the output has a label twice, or one that no input has")
        return terms, wanted

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output has the size of each of its labels."""
        expect_params(params, [])
        terms, wanted = self.terms()
        if [len(term) for term in terms] != [len(shape) for shape in inputs]:
            raise OpError(f"equation '{self.equation}' does not fit inputs of {[len(shape) for shape in inputs]} axes")
        sizes: dict[str, int] = {}
        for term, shape in zip(terms, inputs, strict=True):
            for label, size in zip(term, shape, strict=True):
                if sizes.setdefault(label, size) != size:
                    raise OpError(f"equation '{self.equation}': label {label} has {sizes[label]} and {size} elements")
        return (tuple(sizes[label] for label in wanted),)


@dataclass(frozen=True)
class InnerProduct(Weighted, traits=()):
    """Matrix product over all dimensions from ``axis`` on; weight (num_output, K), or (K, num_output) if ``transpose``.

    Parameters: weight, then bias (num_output,) if ``bias_term``.

    Attributes:
        by_rows: Whether it is a matrix times each row of the last axis, which has no form of its own to keep: when it is quantized, writers
            may lay all rows out as one matrix, since the device's format has products along axis 1 only.
    """

    num_output: int
    axis: int = 1
    transpose: bool = False
    bias_term: bool = True
    by_rows: bool = False

    scales_by_channel: ClassVar[bool] = False

    @property
    def weight_output_axis(self) -> int:
        """The axis of the weight that runs over outputs."""
        return 1 if self.transpose else 0

    def quantization_limits(self) -> tuple[str, str]:
        """All in the usual layout, and those of rows."""
        fits = (self.axis == 1 or self.by_rows) and not self.transpose
        return ("", "") if fits else ("an InnerProduct needs axis 1 and transpose: false",) * 2

    def windows(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """One vector for each image, without axes of positions; rows are the positions of an image."""
        axis = self.axis % x.ndim if -x.ndim <= self.axis < x.ndim else x.ndim
        if axis == x.ndim:
            raise OpError(f"an input of shape {x.shape} has no axis {self.axis}")
        vectors = x.reshape(prod(x.shape[:axis]), -1).astype(np.float32, copy=False)
        if not self.by_rows:
            return vectors
        return np.swapaxes(vectors.reshape(len(x), -1, vectors.shape[1]), 1, 2)[..., np.newaxis]

    def to_matrix(self, weight: NDArray[Any]) -> NDArray[Any]:
        """A view."""
        return (weight.T if self.transpose else weight)[None]

    def from_matrix(self, matrix: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """A view, unless the matrix is no C-contiguous one."""
        del shape
        return np.ascontiguousarray(matrix[0].T if self.transpose else matrix[0])

    def scale_outputs(self, weight: NDArray[np.float64], factor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factors go along the axis of the outputs."""
        return weight * factor if self.transpose else super().scale_outputs(weight, factor)

    def infer(self, inputs: Sequence[Shape], params: Sequence[Shape]) -> tuple[Shape, ...]:
        """Input (leading..., rest...), output (leading..., num_output)."""
        shape = inputs[0]
        axis = canonical_axis(self.axis, len(shape))
        size = 1
        for dim in shape[axis:]:
            size *= dim
        weight = (size, self.num_output) if self.transpose else (self.num_output, size)
        expect_params(params, [weight, (self.num_output,)] if self.bias_term else [weight])
        return ((*shape[:axis], self.num_output),)
