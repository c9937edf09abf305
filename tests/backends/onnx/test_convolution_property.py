"""Random parameters of the layers that compute shapes, against real Caffe: values and shapes."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle.caffe_layers import inputs_text, layer_text

pytestmark = pytest.mark.caffe

# The fixture's only state is the Caffe process and a folder whose files each example overwrites.
EXAMPLES = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FEWER = settings(EXAMPLES, max_examples=20)


def spatial(draw, name, values, rank):
    """One entry for all dimensions, or one for each; the text and the values that it stands for."""
    if draw(st.booleans()):
        value = draw(values)
        return f"{name}: {value}", [value] * rank
    found = [draw(values) for _ in range(rank)]
    return f"{name}: [{', '.join(map(str, found))}]", found


@st.composite
def windows(draw, kind):
    """Shapes of several equal bottoms and a valid ``convolution_param``."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))
    batch = draw(st.lists(st.integers(1, 3), min_size=0, max_size=2))
    group = draw(st.integers(1, 3))
    channels, outputs = group * draw(st.integers(1, 3)), group * draw(st.integers(1, 3))
    kernel_text, kernel = spatial(draw, "kernel_size", st.integers(1, 4), rank)
    stride_text, stride = spatial(draw, "stride", st.integers(1, 3), rank)
    pad_text, pad = spatial(draw, "pad", st.integers(0, 3), rank)
    dilation_text, dilation = spatial(draw, "dilation", st.integers(1, 3), rank)
    sizes = []
    for k, s, p, d in zip(kernel, stride, pad, dilation, strict=True):
        reach = d * (k - 1) + 1
        # Caffe divides towards zero, so one window fits while less than a stride is missing.
        least = reach - 2 * p - (s - 1) if kind == "Convolution" else -(-(2 * p - reach + 1) // s) + 1
        sizes.append(draw(st.integers(max(1, least), max(1, least) + 5)))
    axis = len(batch) - draw(st.sampled_from([0, len(batch) + 1 + rank]))
    flags = f"bias_term: {str(draw(st.booleans())).lower()} force_nd_im2col: {str(draw(st.booleans())).lower()}"
    param = f"num_output: {outputs} group: {group} axis: {axis} {kernel_text} {stride_text} {pad_text} {dilation_text} {flags}"
    return (*batch, channels, *sizes), param, draw(st.integers(1, 3))


def several(kind, param, shape, count):
    names = [f"data{number}" for number in range(count)]
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    tops = " ".join(f'top: "{name}_out"' for name in names)
    layer = f'layer {{ name: "out" type: "{kind}" {bottoms} {tops} {param} }}'
    return inputs_text(**dict.fromkeys(names, shape)) + "\n" + layer


@EXAMPLES
@given(case=windows("Convolution"), seed=st.integers(0, 99))
def test_convolution(oracle, case, seed):
    shape, param, count = case
    oracle.check(
        several("Convolution", f"convolution_param {{ {param} }}", shape, count), seed=seed, rtol=1e-5, atol=1e-5
    )


@EXAMPLES
@given(case=windows("Deconvolution"), seed=st.integers(0, 99))
def test_deconvolution(oracle, case, seed):
    shape, param, count = case
    oracle.check(
        several("Deconvolution", f"convolution_param {{ {param} }}", shape, count), seed=seed, rtol=1e-5, atol=1e-5
    )


def factors(draw, total):
    """Sizes whose product is ``total``."""
    found = []
    while total > 1 and len(found) < 4:
        found.append(draw(st.sampled_from([number for number in range(1, total + 1) if total % number == 0])))
        total //= found[-1]
    return [*found, total] if total > 1 or not found else found


@st.composite
def reshapes(draw):
    """A shape and a valid ``reshape_param``."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    rank = len(shape)
    axis = draw(st.integers(0, rank))
    count = draw(st.sampled_from([-1, *range(rank - axis + 1)]))
    end = rank if count == -1 else axis + count
    dims = factors(draw, prod(shape[axis:end]))
    for position, dim in enumerate(dims):
        if axis + position < rank and shape[axis + position] == dim and draw(st.booleans()):
            dims[position] = 0
    if draw(st.booleans()):
        dims[draw(st.integers(0, len(dims) - 1))] = -1
    given_axis = axis - draw(st.sampled_from([0, rank + 1]))
    return tuple(shape), f"shape {{ dim: [{', '.join(map(str, dims))}] }} axis: {given_axis} num_axes: {count}"


@EXAMPLES
@given(case=reshapes())
def test_reshape(oracle, case):
    shape, param = case
    oracle.check(inputs_text(data=shape) + "\n" + layer_text("Reshape", f"reshape_param {{ {param} }}"), rtol=0, atol=0)


@st.composite
def flattens(draw):
    """A shape and a valid ``flatten_param``."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    rank = len(shape)
    axis = draw(st.integers(0, rank - 1))
    end = draw(st.integers(max(0, axis - 1), rank - 1))
    signs = [draw(st.sampled_from([0, rank])) for _ in range(2)]
    return tuple(shape), f"axis: {axis - signs[0]} end_axis: {end - signs[1]}"


@FEWER
@given(case=flattens())
def test_flatten(oracle, case):
    shape, param = case
    oracle.check(inputs_text(data=shape) + "\n" + layer_text("Flatten", f"flatten_param {{ {param} }}"), rtol=0, atol=0)


@st.composite
def crops(draw):
    """Two shapes and a valid ``crop_param``."""
    data = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    rank = len(data)
    axis = draw(st.integers(0, rank - 1))
    kept = [draw(st.integers(1, size)) for size in data[axis:]]
    room = [size - part for size, part in zip(data[axis:], kept, strict=True)]
    form = draw(st.sampled_from(["none", "one", "all"]))
    most = {"none": [], "one": [min(room)], "all": room}[form]
    offsets = [draw(st.integers(0, number)) for number in most]
    like = [*(draw(st.integers(1, 4)) for _ in range(axis)), *kept]
    if draw(st.booleans()):
        like.append(draw(st.integers(1, 3)))
    negative = draw(st.booleans())
    text = f"axis: {axis - rank if negative else axis} " + " ".join(f"offset: {offset}" for offset in offsets)
    return tuple(data), tuple(like), text


@EXAMPLES
@given(case=crops())
def test_crop(oracle, case):
    data, like, param = case
    text = inputs_text(data=data, like=like)
    text += "\n" + layer_text("Crop", f"crop_param {{ {param} }}", bottoms=("data", "like"))
    oracle.check(text, rtol=0, atol=0)


@st.composite
def products(draw):
    """A shape and a valid ``inner_product_param``."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    flags = [f"{name}: {str(draw(st.booleans())).lower()}" for name in ("transpose", "bias_term")]
    return tuple(shape), f"num_output: {draw(st.integers(1, 6))} axis: {axis} {' '.join(flags)}"


@FEWER
@given(case=products(), seed=st.integers(0, 99))
def test_inner_product(oracle, case, seed):
    shape, param = case
    text = inputs_text(data=shape) + "\n" + layer_text("InnerProduct", f"inner_product_param {{ {param} }}")
    oracle.check(text, seed=seed, rtol=1e-4, atol=1e-5)
