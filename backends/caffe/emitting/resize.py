"""Operators that change the size of images."""

from __future__ import annotations

import numpy as np

from nuqconv.backends.caffe.emitting.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.constructs import contract, cut
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir import Array
from nuqconv.ir.ops import Interp, Upsample

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
