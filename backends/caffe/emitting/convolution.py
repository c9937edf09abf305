"""Convolutions, and the windows they look at."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.backends.caffe.emitting.parts.build import LayerBuilder
from nuqconv.backends.caffe.emitting.registry import emits
from nuqconv.ir.ops import Convolution, Deconvolution, Im2col
from nuqconv.ir.ops.base import canonical_axis

__all__ = ["pair_fields", "window_fields"]


def window_fields(op: Convolution | Deconvolution, rank: int) -> dict[str, object]:
    """Returns the fields of ``convolution_param``."""
    fields: dict[str, object] = {"num_output": op.num_output, "bias_term": op.bias_term, "group": op.group}
    fields["axis"] = canonical_axis(op.axis, rank)
    fields |= pair_fields("kernel", "kernel_size", op.kernel)
    fields |= pair_fields("stride", "stride", op.stride, 1) | pair_fields("pad", "pad", op.pad, 0)
    if any(size != 1 for size in op.dilation):
        fields["dilation"] = _shortest(op.dilation)
    return fields


def pair_fields(name: str, listed: str, values: tuple[int, ...], default: int | None = None) -> dict[str, object]:
    """Writes sizes as most files do: one number for all axes, or height and width apart."""
    if all(value == default for value in values):
        return {}
    if len(set(values)) > 1 and len(values) == 2:
        return {f"{name}_h": values[0], f"{name}_w": values[1]}
    return {listed: _shortest(values)}


def _shortest(values: Sequence[int]) -> int | list[int]:
    return values[0] if len(set(values)) == 1 else list(values)


@emits(Convolution, Deconvolution, construct="the layer of that name")
def write_convolution(b: LayerBuilder, op: Convolution | Deconvolution) -> None:
    """A Convolution or Deconvolution with as many tops as bottoms."""
    shapes = [output.shape for output in b.outputs]
    fields = window_fields(op, len(b.input.shape))
    b.finish(*b.add_many("", op.kind, b.inputs, shapes, arrays=b.params, convolution_param=fields))


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
