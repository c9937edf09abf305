"""Convolution, Deconvolution, Im2col."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, WrongLayerError, reads, reads_with_shapes
from nuqconv.ir.ops import Convolution, Deconvolution, Im2col, Shape

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
        if fallback is None and rank:
            raise CannotReadError(f"{many} is missing")
        return (fallback or 0,) * rank
    if len(listed) not in (1, rank):
        raise CannotReadError(f"{many} has {len(listed)} entries for {rank} spatial dimensions")
    return tuple(listed) if len(listed) == rank else (listed[0],) * rank


def _channel_axis(param: Any, rank: int | None) -> int:
    """Returns the axis of the channels, counted from the front where the input is known."""
    if rank is None:
        if param.axis < 0:
            raise CannotReadError(f"axis {param.axis} of an input whose shape is not known")
        return int(param.axis)
    if not -rank <= param.axis < rank:
        raise CannotReadError(f"axis {param.axis} of an input of {rank} dimensions")
    return int(param.axis) % rank


def _window(layer: Any, inputs: Sequence[Shape | None], group: int) -> Convolution | Deconvolution:
    """Reads ``convolution_param`` but for its group. ``force_nd_im2col`` and ``engine`` choose how, not what is computed."""
    param = layer.convolution_param
    rank = len(inputs[0]) if inputs and inputs[0] is not None else None
    axis = _channel_axis(param, rank)
    # Behind an unknown layer the number of spatial dimensions shows in the lists only; one entry stands for images.
    listed = max(2, len(param.kernel_size), len(param.stride), len(param.pad), len(param.dilation))
    spatial = listed if rank is None else rank - axis - 1
    stride = _spatial(param, "stride", 1, spatial)
    dilation = _spatial(param, "dilation", 1, spatial)
    kernel = _spatial(param, "kernel", None, spatial)
    if 0 in (*kernel, *stride) or param.num_output == 0 or group == 0:
        raise WrongLayerError("kernel_size, stride, group and num_output must be positive")
    if 0 in dilation:
        raise CannotReadError("dilation 0")
    make = Deconvolution if layer.type == "Deconvolution" else Convolution
    return make(
        num_output=param.num_output,
        kernel=kernel,
        stride=stride,
        pad=_spatial(param, "pad", 0, spatial),
        dilation=dilation,
        group=group,
        bias_term=param.bias_term,
        axis=axis,
    )


def _weighted(op: Convolution | Deconvolution) -> Reading:
    rank = len(op.kernel) + 2
    return Reading(op, (rank, 1) if op.bias_term else (rank,))


@reads_with_shapes((Convolution, Deconvolution), "Convolution", "Deconvolution")
def read_convolution(layer: Any, inputs: Sequence[Shape | None]) -> Reading:
    """Reads ``convolution_param``; several bottoms give as many tops."""
    return _weighted(_window(layer, inputs, layer.convolution_param.group))


@reads_with_shapes(Convolution, "ConvolutionDepthwise", "DepthwiseConvolution", dialects=True)
def read_depthwise_convolution(layer: Any, inputs: Sequence[Shape | None]) -> Reading:
    """Reads ``convolution_param`` of the forks' layers that filter each channel by itself: a Convolution with a group for each channel.

    Some forks ignore ``num_output`` and ``group`` and others obey them, so both must say the same as the channels of the input.
    """
    param = layer.convolution_param
    if len(layer.bottom) != 1:
        raise CannotReadError(f"{len(layer.bottom)} bottoms (only 1 is known)")
    op = _window(layer, inputs, param.group if param.HasField("group") else param.num_output)
    if op.axis != 1 or len(op.kernel) != 2:
        raise CannotReadError("the input is no batch of images (N, C, H, W)")
    channels = op.num_output if inputs[0] is None else inputs[0][1]
    if (op.num_output, op.group) != (channels, channels):
        raise CannotReadError(
            f"num_output {op.num_output} and group {op.group} differ from the {channels} channels of the input, which forks read differently"
        )
    return _weighted(op)


@reads(Im2col, "Im2col")
def read_im2col(layer: Any) -> Reading:
    """Reads ``convolution_param``; which way it is computed (``force_nd_im2col``) does not matter."""
    param = layer.convolution_param
    kernel, stride = _entries(param, "kernel", "kernel_size", ()), _entries(param, "stride", "stride", (1,))
    pad, dilation = _entries(param, "pad", "pad", (0,)), tuple(param.dilation) or (1,)
    if not kernel:
        raise CannotReadError("kernel_size is missing")
    if 0 in (*kernel, *stride):
        raise WrongLayerError("kernel_size and stride must be positive")
    if 0 in dilation:
        raise CannotReadError("dilation 0")
    return Reading(Im2col(kernel, stride, pad, dilation, param.axis))


def _entries(param: Any, name: str, many: str, fallback: tuple[int, ...]) -> tuple[int, ...]:
    """Caffe's rule: *_h and *_w, or a list."""
    listed = tuple(getattr(param, many))
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        if listed:
            raise CannotReadError(f"{many} stands beside {name}_h or {name}_w")
        return (getattr(param, f"{name}_h"), getattr(param, f"{name}_w"))
    return listed or fallback
