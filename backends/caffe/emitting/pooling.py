"""Pooling and other windows."""

from __future__ import annotations

from dataclasses import replace

from nuqconv.backends.caffe.emitting.convolution import pair_fields
from nuqconv.backends.caffe.emitting.parts.build import Blob, LayerBuilder
from nuqconv.backends.caffe.emitting.parts.constructs import cut
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import SPP, Im2col, Pooling

__all__ = ["pool"]


def pool(b: LayerBuilder, x: Blob, op: Pooling, purpose: str) -> tuple[Blob, ...]:
    """Adds a Pooling; where its windows are counted downwards, those that Caffe adds are cut off again."""
    count = 1 + int(op.mask)
    fields: dict[str, object] = {"pool": op.method}
    if op.global_pooling:
        shape = (*x.shape[:2], 1, 1)
        return b.add_many(purpose, "Pooling", [x], [shape] * count, pooling_param={**fields, "global_pooling": True})
    fields |= pair_fields("kernel", "kernel_size", op.kernel)
    fields |= pair_fields("stride", "stride", op.stride, 1) | pair_fields("pad", "pad", op.pad, 0)
    (wanted, *_), (found, *_) = op.infer([x.shape], []), replace(op, round_up=True).infer([x.shape], [])
    tops = b.add_many(purpose, "Pooling", [x], [found] * count, pooling_param=fields)
    # Caffe 1.0 knows no round_mode.
    return tuple(cut(b, cut(b, top, 2, 0, wanted[2], "rows"), 3, 0, wanted[3], "columns") for top in tops)


@emits(
    Pooling,
    construct="Pooling; with windows counted downwards, Slice behind it where Caffe makes one more",
    exact="the same layer",
)
def write_pooling(b: LayerBuilder, op: Pooling) -> None:
    """A Pooling."""
    b.finish(*pool(b, b.input, op, ""))


@emits(SPP, construct="SPP")
def write_spp(b: LayerBuilder, op: SPP) -> None:
    """An SPP."""
    fields = {"pyramid_height": op.pyramid_height, "pool": op.method}
    b.finish(b.add("", "SPP", [b.input], b.outputs[0].shape, spp_param=fields))


@emits(Im2col, construct="Im2col")
def write_im2col(b: LayerBuilder, op: Im2col) -> None:
    """An Im2col."""
    fields = {
        "kernel_size": list(op.kernel),
        "stride": list(op.stride),
        "pad": list(op.pad),
        "dilation": list(op.dilation),
        "axis": op.axis,
    }
    b.finish(b.add("", "Im2col", [b.input], b.outputs[0].shape, convolution_param=fields))
