"""Shape inference of every operator, held against real Caffe."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nuqconv.errors import ModelError
from tests.oracle.caffe_shapes import net_text

pytestmark = pytest.mark.caffe

IMAGE = (2, 4, 7, 9)

CONVOLUTIONS = [
    ("num_output: 8 kernel_size: 3", IMAGE),
    ("num_output: 8 kernel_size: 1 bias_term: false", IMAGE),
    ("num_output: 8 kernel_size: 3 stride: 2 pad: 1", IMAGE),
    ("num_output: 8 kernel_size: 3 stride: 3 pad: 5 group: 2", IMAGE),
    ("num_output: 8 kernel_size: 3 pad: 4 dilation: 3 stride: 2", IMAGE),
    ("num_output: 8 kernel_h: 1 kernel_w: 7 pad_h: 0 pad_w: 3 stride_h: 3 stride_w: 2", IMAGE),
    ("num_output: 8 kernel_size: [3, 2] stride: [1, 2] pad: [1, 0] dilation: [2, 1]", IMAGE),
    ("num_output: 8 kernel_size: [3, 2, 2] stride: [1, 2, 1] pad: [1, 0, 1]", (2, 4, 5, 6, 4)),
    ("num_output: 1 kernel_size: 7 pad: 0", (1, 1, 7, 7)),
]


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(("param", "shape"), CONVOLUTIONS)
def test_convolution(judge, kind, param, shape):
    judge.agree(kind, f"convolution_param {{ {param} }}", shape)


POOLINGS = [
    "kernel_size: 3 stride: 2",
    "kernel_size: 2 stride: 2",
    "kernel_size: 3 stride: 2 pad: 1",
    "kernel_size: 3 stride: 3 pad: 2",
    "kernel_size: 2 stride: 4 pad: 1",
    "kernel_size: 3 stride: 5",
    "kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 2 pad_w: 0",
    "kernel_size: 3 stride: 2 pad_h: 1 pad_w: 0",
    "kernel_h: 2 kernel_w: 1 stride: 2 pad_h: 1 pad_w: 0",
    "global_pooling: true",
]


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(7, 9), (8, 6), (4, 5)])
@pytest.mark.parametrize("param", POOLINGS)
def test_pooling(judge, method, size, param):
    judge.agree("Pooling", f"pooling_param {{ pool: {method} {param} }}", (2, 3, *size))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "expected"),
    [
        (6, 3, 2, 0, 3),
        (7, 3, 2, 0, 3),
        (6, 3, 2, 1, 4),
        (5, 2, 2, 1, 3),
        (6, 2, 2, 1, 4),
        (4, 2, 3, 1, 2),
        (3, 1, 2, 0, 2),
    ],
)
def test_sizes_of_pooling_round_up_and_no_window_starts_in_the_padding(judge, size, kernel, stride, pad, expected):
    param = f"pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} }}"
    assert judge.agree("Pooling", param, (1, 1, size, size)) == (1, 1, expected, expected)


OTHERS = [
    ("InnerProduct", "inner_product_param { num_output: 5 }", [IMAGE]),
    ("InnerProduct", "inner_product_param { num_output: 5 bias_term: false }", [(3, 6)]),
    ("InnerProduct", "inner_product_param { num_output: 5 axis: 2 }", [IMAGE]),
    ("InnerProduct", "inner_product_param { num_output: 5 axis: -1 }", [IMAGE]),
    ("InnerProduct", "inner_product_param { num_output: 5 axis: 0 }", [(3, 6)]),
    ("InnerProduct", "inner_product_param { num_output: 5 transpose: true }", [IMAGE]),
    ("ReLU", "relu_param { negative_slope: 0.1 }", [IMAGE]),
    ("Sigmoid", "", [(3,)]),
    ("TanH", "", [(3, 6)]),
    ("Power", "power_param { power: 2 scale: 3 shift: 1 }", [IMAGE]),
    ("Dropout", "dropout_param { dropout_ratio: 0.3 }", [IMAGE]),
    ("Softmax", "", [IMAGE]),
    ("Softmax", "softmax_param { axis: -1 }", [(3, 6)]),
    ("BatchNorm", "", [IMAGE]),
    ("BatchNorm", "", [(3, 6)]),
    ("Scale", "", [IMAGE]),
    ("Scale", "scale_param { bias_term: true }", [IMAGE]),
    ("Scale", "scale_param { axis: 1 num_axes: 2 bias_term: true }", [IMAGE]),
    ("Scale", "scale_param { axis: -2 num_axes: 2 }", [IMAGE]),
    ("Scale", "scale_param { axis: 0 num_axes: 0 }", [IMAGE]),
    ("Eltwise", "", [IMAGE, IMAGE]),
    ("Eltwise", "eltwise_param { operation: PROD }", [(3, 6), (3, 6), (3, 6)]),
    ("Eltwise", "eltwise_param { operation: MAX }", [IMAGE, IMAGE]),
    ("Eltwise", "eltwise_param { coeff: 1 coeff: -0.5 }", [IMAGE, IMAGE]),
    ("Concat", "", [IMAGE, (2, 1, 7, 9), (2, 5, 7, 9)]),
    ("Concat", "concat_param { axis: -1 }", [IMAGE, (2, 4, 7, 2)]),
    ("Concat", "concat_param { axis: -4 }", [IMAGE, (5, 4, 7, 9)]),
    ("Concat", "concat_param { concat_dim: 0 }", [(3, 6), (1, 6)]),
    ("Concat", "", [IMAGE]),
    ("Crop", "", [IMAGE, (1, 1, 5, 5)]),
    ("Crop", "crop_param { axis: 1 offset: 1 }", [IMAGE, (1, 3, 5, 5)]),
    ("Crop", "crop_param { axis: -1 offset: 4 }", [IMAGE, (1, 1, 1, 5)]),
    ("Crop", "crop_param { axis: 2 offset: 2 offset: 0 }", [IMAGE, (9, 9, 5, 9)]),
    ("Crop", "crop_param { axis: 0 offset: 0 }", [IMAGE, IMAGE]),
    ("Flatten", "", [IMAGE]),
    ("Flatten", "flatten_param { axis: 0 }", [IMAGE]),
    ("Flatten", "flatten_param { axis: 1 end_axis: 2 }", [IMAGE]),
    ("Flatten", "flatten_param { axis: -3 end_axis: -2 }", [IMAGE]),
    ("Flatten", "flatten_param { axis: 2 end_axis: 2 }", [IMAGE]),
    ("Flatten", "", [(3, 6)]),
    ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", [IMAGE]),
    ("Reshape", "reshape_param { shape { dim: 3 dim: 6 } }", [(2, 9)]),
    ("Reshape", "reshape_param { shape { dim: -1 dim: 0 dim: 3 dim: 3 } }", [IMAGE]),
    ("Reshape", "reshape_param { axis: 1 shape { dim: 2 dim: -1 } }", [IMAGE]),
    ("Reshape", "reshape_param { axis: -2 shape { dim: 3 dim: 3 } }", [IMAGE]),
    ("Reshape", "reshape_param { axis: -1 shape { dim: 1 dim: 1 } }", [IMAGE]),
    ("Reshape", "reshape_param { axis: 4 shape { dim: 1 dim: 1 } }", [IMAGE]),
    ("Reshape", "reshape_param { axis: 0 num_axes: 0 shape { dim: 1 } }", [(3, 6)]),
    ("Reshape", "reshape_param { axis: 1 num_axes: 2 shape { dim: -1 } }", [IMAGE]),
    ("Reshape", "reshape_param { axis: 1 num_axes: 1 shape { dim: 0 dim: 1 } }", [IMAGE]),
    ("Reshape", "reshape_param { axis: 2 shape { dim: 63 } }", [IMAGE]),
    ("Reshape", "reshape_param { }", [(1, 1)]),
]


@pytest.mark.parametrize(("kind", "rest", "shapes"), OTHERS, ids=[f"{kind} {rest}".strip() for kind, rest, _ in OTHERS])
def test_other_layers(judge, kind, rest, shapes):
    judge.agree(kind, rest, *shapes)


# Stock Caffe has no Permute layer, so what its fork makes is written out.
@pytest.mark.parametrize(
    ("order", "expected"), [((0, 2, 3, 1), (2, 7, 9, 4)), ((3,), (9, 2, 4, 7)), ((), IMAGE), ((1, 0), (4, 2, 7, 9))]
)
def test_permute(judge, order, expected):
    text = net_text("Permute", f"permute_param {{ {' '.join(f'order: {axis}' for axis in order)} }}", IMAGE)
    assert judge.ours(text).shapes["out"] == expected


@pytest.mark.parametrize("order", [(0, 0), (4,), (1, 2, 1)])
def test_permute_that_is_none(judge, order):
    text = net_text("Permute", f"permute_param {{ {' '.join(f'order: {axis}' for axis in order)} }}", IMAGE)
    with pytest.raises(ModelError) as refused:
        judge.ours(text)
    assert refused.value.problems[0].endswith(f"order {order} is no choice of the 4 axes")


drawn = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
small = st.integers(1, 4)
shapes_4d = st.tuples(st.integers(1, 3), st.sampled_from([2, 4, 6]), st.integers(1, 11), st.integers(1, 11))


@drawn
@given(st.data(), st.sampled_from(["Convolution", "Deconvolution"]), shapes_4d)
def test_any_convolution(judge, data, kind, shape):
    draw = data.draw
    kernel, stride, dilation, pad = (
        [draw(st.integers(low, high)) for _ in range(2)] for low, high in ((1, 4), (1, 3), (1, 3), (0, 3))
    )
    group = draw(st.sampled_from([1, 2]))
    for size, k, d, p in zip(shape[2:], kernel, dilation, pad, strict=True):
        reach = d * (k - 1) + 1
        assume(size + 2 * p >= reach if kind == "Convolution" else size - 1 + reach > 2 * p)
    param = f"num_output: {2 * draw(small)} group: {group} kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation}"
    judge.agree(kind, f"convolution_param {{ {param} }}", shape)


@drawn
@given(st.data(), shapes_4d)
def test_any_pooling(judge, data, shape):
    draw = data.draw
    kernel, stride = ([draw(small) for _ in range(2)] for _ in range(2))
    pad = [draw(st.integers(0, k - 1)) for k in kernel]
    assume(all(size + 2 * p >= k for size, p, k in zip(shape[2:], pad, kernel, strict=True)))
    param = " ".join(
        f"{name}_h: {pair[0]} {name}_w: {pair[1]}"
        for name, pair in (("kernel", kernel), ("stride", stride), ("pad", pad))
    )
    judge.agree("Pooling", f"pooling_param {{ pool: {draw(st.sampled_from(['MAX', 'AVE']))} {param} }}", shape)


@drawn
@given(st.data(), st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4))
def test_any_reshape(judge, data, shape):
    """New dims are a regrouping of the old ones' prime factors, with a 0 or a -1 put in where that changes nothing."""
    draw = data.draw
    start = draw(st.integers(0, len(shape)))
    end = draw(st.integers(start, len(shape)))
    primes = [p for dim in shape[start:end] for p in {1: (), 4: (2, 2), 6: (2, 3)}.get(dim, (dim,))]
    dims = [1] * draw(st.integers(1, 4))
    for prime in primes:
        dims[draw(st.integers(0, len(dims) - 1))] *= prime
    for number, dim in enumerate(dims):
        if start + number < len(shape) and shape[start + number] == dim and draw(st.booleans()):
            dims[number] = 0
    if draw(st.booleans()):
        dims[draw(st.integers(0, len(dims) - 1))] = -1
    axis = draw(st.sampled_from([start, start - len(shape) - 1]))
    num_axes = -1 if end == len(shape) and draw(st.booleans()) else end - start
    text = " ".join(f"dim: {dim}" for dim in dims)
    judge.agree("Reshape", f"reshape_param {{ axis: {axis} num_axes: {num_axes} shape {{ {text} }} }}", tuple(shape))


@drawn
@given(st.data(), st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_any_flatten(judge, data, shape):
    first = data.draw(st.integers(0, len(shape) - 1))
    last = data.draw(st.integers(first, len(shape) - 1))
    axis, end = (data.draw(st.sampled_from([number, number - len(shape)])) for number in (first, last))
    judge.agree("Flatten", f"flatten_param {{ axis: {axis} end_axis: {end} }}", tuple(shape))


@drawn
@given(st.data(), shapes_4d)
def test_any_crop(judge, data, shape):
    axis = data.draw(st.integers(0, 3))
    like = [data.draw(st.integers(1, 9)) for _ in range(axis)] + [
        data.draw(st.integers(1, dim)) for dim in shape[axis:]
    ]
    room = [dim - wanted for dim, wanted in zip(shape[axis:], like[axis:], strict=True)]
    offsets = data.draw(
        st.one_of(
            st.just([]),
            st.integers(0, min(room)).map(lambda offset: [offset]),
            st.tuples(*(st.integers(0, most) for most in room)).map(list),
        )
    )
    text = " ".join(f"offset: {offset}" for offset in offsets)
    named = data.draw(st.sampled_from([axis, axis - 4]))
    judge.agree("Crop", f"crop_param {{ axis: {named} {text} }}", shape, tuple(like))


def test_every_small_pooling_window(judge):
    """All windows on all sizes up to 5, in one net for each size."""
    for size in range(1, 6):
        cases = [
            (kernel, stride, pad)
            for kernel, stride, pad in itertools.product(range(1, 5), range(1, 5), range(3))
            if pad < kernel <= size + 2 * pad
        ]
        text = net_text("ReLU", "", (1, 1, size, size))
        for kernel, stride, pad in cases:
            name = f"k{kernel}s{stride}p{pad}"
            param = f"pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {pad} }}"
            text += f'layer {{ name: "{name}" type: "Pooling" bottom: "out" top: "{name}" {param} }}\n'
        blobs, _ = judge.theirs(text)
        shapes = judge.ours(text).shapes
        assert {name: shape for name, shape in blobs.items() if name.startswith("k")} == {
            name: shape for name, shape in shapes.items() if name.startswith("k")
        }
