"""Conv and ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.frontends.onnx.windows import pads_of, spatial
from nuqconv.ir.ops import Bias, Convolution, Deconvolution, Pad, StridedSlice

__all__: list[str] = []


@converts("Conv")
def conv(reading: Reading, node: NodeView) -> None:
    """Convolution; padding that differs in front and behind is a Pad before it."""
    shape = reading.shape(node)
    weight = reading.needed(node, 1, "weight")
    kernel = tuple(weight.shape[2:])
    rank = len(kernel)
    if node.integers("kernel_shape", kernel) != kernel:
        raise CannotConvertError(f"kernel_shape {node.get('kernel_shape')} is not that of the weight, {list(kernel)}")
    strides, dilations = spatial(node, "strides", rank), spatial(node, "dilations", rank)
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    begins, ends = pads_of(node, shape[2:], reach, strides)
    value = reading.value(node, 0)
    pads = begins
    if begins != ends or min(begins, default=0) < 0:
        value = reading.add(node, Pad((0, 0, *begins), (0, 0, *ends)), (value,), purpose="pad")
        pads = (0,) * rank
    group = node.get("group", 1)
    bias = node.has_input(2)
    op = Convolution(weight.shape[0], kernel, strides, pads, dilations, group, bias)
    params = [reading.weight(node, 1, "weight")]
    if bias:
        params.append(reading.weight(node, 2, "bias", (-1,)))
    reading.add(node, op, (value,), params=params)


@converts("ConvTranspose")
def conv_transpose(reading: Reading, node: NodeView) -> None:
    """Deconvolution; what it makes too much of is cut off, what is missing behind is padded with zeros before the bias."""
    shape = reading.shape(node)
    weight = reading.needed(node, 1, "weight")
    kernel, sizes = tuple(weight.shape[2:]), shape[2:]
    rank, group = len(kernel), node.get("group", 1)
    strides, dilations = spatial(node, "strides", rank), spatial(node, "dilations", rank)
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    begins, ends = _cut_offs(node, sizes, reach, strides)
    pads = tuple(max(0, min(begin, end)) for begin, end in zip(begins, ends, strict=True))
    begins = [begin - pad for begin, pad in zip(begins, pads, strict=True)]
    ends = [end - pad for end, pad in zip(ends, pads, strict=True)]
    missing = min((*begins, *ends), default=0) < 0
    biased = node.has_input(2)
    params = [reading.weight(node, 1, "weight")]
    if biased and not missing:
        params.append(reading.weight(node, 2, "bias", (-1,)))
    outputs = weight.shape[1] * group
    op = Deconvolution(outputs, kernel, strides, pads, dilations, group, biased and not missing)
    value = reading.value(node, 0)
    if not any((*begins, *ends)):
        reading.add(node, op, (value,), params=params)
        return
    value = reading.add(node, op, (value,), params=params, purpose="whole")
    last = None if missing and biased else node.outputs
    cut = Pad((0, 0, *(-begin for begin in begins)), (0, 0, *(-end for end in ends)))
    if not missing:
        whole = reading.shapes[value] or ()
        stops = tuple(size - end for size, end in zip(whole[2:], ends, strict=True))
        slicing = StridedSlice((0, 0, *begins), (*whole[:2], *stops), (1,) * (2 + rank))
        reading.add(node, slicing, (value,), node.outputs, purpose="cut")
        return
    value = reading.add(node, cut, (value,), last, purpose="fit")
    if last is None:
        reading.add(node, Bias(), (value,), params=(reading.weight(node, 2, "bias", (-1,)),))


def _cut_offs(
    node: NodeView, sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Returns how much of the whole transposed convolution is cut off in front and behind; negative where it is too small."""
    rank = len(sizes)
    extra = node.integers("output_padding", (0,) * rank) or (0,) * rank
    whole = [stride * (size - 1) + span for stride, size, span in zip(strides, sizes, reach, strict=True)]
    wanted = node.integers("output_shape")
    auto = node.get("auto_pad", "NOTSET")
    if wanted is None and auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = tuple(size * stride for size, stride in zip(sizes, strides, strict=True))
    if wanted is None:
        pads = (0,) * (2 * rank) if auto == "VALID" else node.integers("pads", (0,) * (2 * rank)) or ()
        begins, ends = list(pads[:rank]), list(pads[rank:])
        return begins, [end - more for end, more in zip(ends, extra, strict=True)]
    begins, ends = [], []
    for total, size, more in zip(whole, wanted[-rank:], extra, strict=True):
        cut = total + more - size
        # The specification: SAME_UPPER puts the smaller half in front, everything else the larger one.
        front = cut // 2 if auto == "SAME_UPPER" else cut - cut // 2
        begins.append(front)
        ends.append(cut - front - more)
    return begins, ends
