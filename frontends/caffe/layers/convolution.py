"""Convolution, Deconvolution, InnerProduct."""

from __future__ import annotations

from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Convolution, Deconvolution, InnerProduct

__all__: list[str] = []


def _spatial(param: Any, name: str, fallback: int | None, rank: int) -> tuple[int, ...]:
    """Caffe's rule: *_h and *_w, or one entry for each spatial dimension, or one for all."""
    high, wide, many = (f"{name}_h", f"{name}_w", {"kernel": "kernel_size"}.get(name, name))
    listed = list(getattr(param, many))
    if hasattr(param, high) and (param.HasField(high) or param.HasField(wide)):
        if listed:
            raise CannotReadError(f"{many} stands beside {high} or {wide}")
        if rank != 2:
            raise CannotReadError(f"{high} and {wide} need two spatial dimensions")
        return (getattr(param, high), getattr(param, wide))
    if not listed:
        if fallback is None:
            raise CannotReadError(f"{many} is missing")
        return (fallback,) * rank
    if len(listed) not in (1, rank):
        raise CannotReadError(f"{many} has {len(listed)} entries for {rank} spatial dimensions")
    return tuple(listed) if len(listed) == rank else (listed[0],) * rank


@reads("Convolution", "Deconvolution")
def read_convolution(layer: Any) -> Reading:
    """Reads ``convolution_param``."""
    param = layer.convolution_param
    if param.axis != 1:
        raise CannotReadError(f"axis {param.axis} (only 1 is known)")
    if len(layer.bottom) != 1:
        raise CannotReadError(f"{len(layer.bottom)} bottoms (only 1 is known)")
    # The number of spatial dimensions shows in the lists; one entry stands for images.
    rank = max(2, len(param.kernel_size), len(param.stride), len(param.pad), len(param.dilation))
    stride = _spatial(param, "stride", 1, rank)
    dilation = _spatial(param, "dilation", 1, rank)
    kernel = _spatial(param, "kernel", None, rank)
    if 0 in (*kernel, *stride, *dilation) or param.num_output == 0:
        raise CannotReadError("kernel_size, stride, dilation and num_output must be positive")
    make = Convolution if layer.type == "Convolution" else Deconvolution
    op = make(
        num_output=param.num_output,
        kernel=kernel,
        stride=stride,
        pad=_spatial(param, "pad", 0, rank),
        dilation=dilation,
        group=param.group,
        bias_term=param.bias_term,
    )
    return Reading(op, (rank + 2, 1) if param.bias_term else (rank + 2,))


@reads("InnerProduct")
def read_inner_product(layer: Any) -> Reading:
    """Reads ``inner_product_param``."""
    param = layer.inner_product_param
    if param.num_output == 0:
        raise CannotReadError("num_output must be positive")
    op = InnerProduct(param.num_output, axis=param.axis, transpose=param.transpose, bias_term=param.bias_term)
    return Reading(op, (2, 1) if param.bias_term else (2,))
