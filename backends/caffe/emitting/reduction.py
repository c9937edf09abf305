"""Sums, means, extremes and ranks along axes."""

from __future__ import annotations

from nuqconv.backends.caffe.emitting.build import LayerBuilder
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import ArgMax, Reduction
from nuqconv.ir.ops.base import canonical_axis

__all__: list[str] = []


@emits(Reduction, construct="Reduction")
def write_reduction(b: LayerBuilder, op: Reduction) -> None:
    """A Reduction."""
    axis = canonical_axis(op.axis, len(b.input.shape))
    fields = {"operation": op.operation, "axis": axis, "coeff": op.coeff}
    b.finish(b.add("", "Reduction", [b.input], b.outputs[0].shape, reduction_param=fields))


@emits(ArgMax, construct="ArgMax")
def write_arg_max(b: LayerBuilder, op: ArgMax) -> None:
    """An ArgMax."""
    fields: dict[str, object] = {"top_k": op.top_k, "out_max_val": op.out_max_val}
    if op.axis is not None:
        fields["axis"] = canonical_axis(op.axis, len(b.input.shape))
    b.finish(b.add("", "ArgMax", [b.input], b.outputs[0].shape, argmax_param=fields))
