"""Operators that change the size of images or look between pixels."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import contract, cut
from nuqconv.backends.caffe.emitting.parts.resampling import COORDINATES, Resampling, weights
from nuqconv.backends.caffe.emitting.registry import emits, refuses
from nuqconv.ir import Array
from nuqconv.ir.ops import GridSample, Interp, Resize, Upsample

__all__ = ["repeated"]


def repeated(b: LayerBuilder, x: Blob, scale: tuple[int, int], purpose: str) -> Blob:
    """Repeats every element of an image: a Deconvolution of each channel by a kernel of ones."""
    count, channels, height, width = x.shape
    fields: dict[str, object] = {"num_output": channels, "bias_term": False, "group": channels}
    if scale[0] == scale[1]:
        fields |= {"kernel_size": scale[0], "stride": scale[0]}
    else:
        fields |= dict(zip(("kernel_h", "kernel_w", "stride_h", "stride_w"), scale * 2, strict=True))
    shape = (count, channels, height * scale[0], width * scale[1])
    ones = np.ones((channels, 1, *scale), np.float32)
    return b.add(purpose, "Deconvolution", [x], shape, arrays=[ones], convolution_param=fields)


@emits(
    Upsample,
    construct="Deconvolution of each channel by ones",
    exact="to the bit",
    limits="with the mask of a pooling: SegNet's fork has that Upsample",
)
def write_upsample(b: LayerBuilder, op: Upsample) -> None:
    """Elements repeated."""
    if len(b.inputs) > 1:
        raise b.refuse(
            "no stock layer puts elements where a pooling's mask says; SegNet's fork of Caffe has an Upsample layer that does"
        )
    b.finish(repeated(b, b.input, op.scale, ""))


@emits(
    Interp,
    construct="Slice (crop), a 1x1 Convolution over rows laid as channels, InnerProduct over columns",
    exact="1e-6",
)
def write_interp(b: LayerBuilder, op: Interp) -> None:
    """One matrix for each axis, with two weights in each row."""
    x, shape = b.input, b.outputs[0].shape
    begin, end = op.crop
    for axis, purpose in ((2, "rows"), (3, "columns")):
        x = cut(b, x, axis, begin, x.shape[axis] - end, f"crop_{purpose}")
    for axis, purpose in ((2, "rows"), (3, "columns")):
        if x.shape[axis] != shape[axis]:
            x = contract(b, x, axis, _corners_to_corners(x.shape[axis], shape[axis]), purpose)
    b.finish(x)


def _corners_to_corners(size: int, count: int) -> Array:
    """Returns the weights of the elements in each place of the result."""
    places = np.arange(count) * ((size - 1) / (count - 1) if count > 1 else 0.0)
    first = np.minimum(places.astype(int), size - 1)
    share = places - first
    weights = np.zeros((count, size))
    np.add.at(weights, (np.arange(count), first), 1 - share)
    np.add.at(weights, (np.arange(count), np.minimum(first + 1, size - 1)), share)
    return weights


@emits(
    Resize,
    construct="whole factors of the nearest element: Deconvolution of each channel by ones; else for each axis a matrix: a 1x1 Convolution over "
    "the axis laid as channels, or an InnerProduct over the last",
    exact="nearest to the bit, others 1e-5",
    limits="antialias, tf_crop_and_resize",
)
def write_resize(b: LayerBuilder, op: Resize) -> None:
    """One matrix for each axis whose size changes or whose elements move."""
    if op.antialias or op.coordinates not in COORDINATES:
        what = "antialias" if op.antialias else op.coordinates
        raise b.refuse(f"Resize with {what} is not written; export the model without it")
    x = b.input
    how = Resampling(op.mode, op.coordinates, op.nearest, op.cubic_coeff_a, exclude_outside=op.exclude_outside)
    scales = op.scales or tuple(new / old for new, old in zip(b.outputs[0].shape, x.shape, strict=True))
    matrices = {
        axis: weights(how, size, count, scale)
        for axis, (size, count, scale) in enumerate(zip(x.shape, b.outputs[0].shape, scales, strict=True))
        if size != count or scale != 1
    }
    factors = tuple(_repetition(matrices.get(axis), x.shape[axis]) for axis in range(len(x.shape)))
    if len(x.shape) == 4 and factors[:2] == (1, 1) and all(factors):
        b.finish(repeated(b, x, (factors[2], factors[3]), "repeat"))
        return
    for axis, matrix in matrices.items():
        x = contract(b, x, axis, matrix, "resize")
    b.finish(x)


def _repetition(matrix: Array | None, size: int) -> int:
    """Returns how often a matrix repeats every element, or 0 if it does something else."""
    if matrix is None:
        return 1
    times = len(matrix) // size
    return times if times and np.array_equal(matrix, np.repeat(np.eye(size), times, axis=0)) else 0


refuses(GridSample, "forks with spatial transformers have an ST layer, which makes its grid itself")
