"""Nets that real Caffe refuses are refused, with a message that says why."""

from __future__ import annotations

import pytest

from nuqconv.errors import ModelError
from tests.oracle.caffe_shapes import net_text

pytestmark = pytest.mark.caffe

IMAGE = (2, 4, 7, 9)

REFUSED = [
    (
        "Convolution",
        "convolution_param { num_output: 4 kernel_size: 8 }",
        [IMAGE],
        [(4, 4, 8, 8), (4,)],
        "output size 0x2 is not positive: the kernel exceeds the padded input",
    ),
    (
        "Convolution",
        "convolution_param { num_output: 4 kernel_size: 3 group: 3 }",
        [IMAGE],
        [(4, 1, 3, 3), (4,)],
        "group 3 does not divide 4 input or 4 output channels",
    ),
    (
        "Convolution",
        "convolution_param { num_output: 3 kernel_size: 3 group: 2 }",
        [IMAGE],
        [(3, 2, 3, 3), (3,)],
        "group 2 does not divide 4 input or 3 output channels",
    ),
    (
        "Deconvolution",
        "convolution_param { num_output: 4 kernel_size: 2 pad: 5 }",
        [IMAGE],
        [(4, 4, 2, 2), (4,)],
        "output size -2x0 is not positive: the kernel exceeds the padded input",
    ),
    (
        "Pooling",
        "pooling_param { kernel_size: 3 }",
        [(3, 6)],
        [],
        "input has 2 dimensions, expected 4",
    ),
    ("Pooling", "pooling_param { kernel_size: 2 pad: 2 }", [IMAGE], [], "pad 2 is not smaller than kernel 2"),
    ("Pooling", "pooling_param { kernel_size: 9 }", [IMAGE], [], "the kernel exceeds the padded input"),
    (
        "InnerProduct",
        "inner_product_param { num_output: 5 axis: 4 }",
        [IMAGE],
        [(5, 1), (5,)],
        "axis 4 is outside a shape of 4 dimensions",
    ),
    ("Softmax", "softmax_param { axis: 2 }", [(3, 6)], [], "axis 2 is outside a shape of 2 dimensions"),
    ("Eltwise", "", [IMAGE, (2, 4, 7, 8)], [], "inputs differ in shape: 2x4x7x9, 2x4x7x8"),
    ("Eltwise", "eltwise_param { coeff: 1 }", [IMAGE, IMAGE], [], "has 1 coefficients for 2 inputs"),
    (
        "Eltwise",
        "eltwise_param { operation: PROD coeff: 1 coeff: 2 }",
        [IMAGE, IMAGE],
        [],
        "coefficients go with SUM only",
    ),
    ("Concat", "", [IMAGE, (2, 4, 7, 8)], [], "inputs differ outside axis 1: 2x4x7x9, 2x4x7x8"),
    ("Concat", "", [IMAGE, (2, 4)], [], "inputs differ outside axis 1: 2x4x7x9, 2x4"),
    ("Concat", "concat_param { axis: 4 }", [IMAGE, IMAGE], [], "axis 4 is outside a shape of 4 dimensions"),
    ("Crop", "", [IMAGE, (2, 4, 8, 9)], [], "axis 2: cannot take 8 from 7 at offset 0"),
    ("Crop", "crop_param { offset: 3 }", [IMAGE, (2, 4, 4, 7)], [], "axis 3: cannot take 7 from 9 at offset 3"),
    (
        "Crop",
        "crop_param { axis: 1 offset: 0 offset: 0 }",
        [IMAGE, IMAGE],
        [],
        "has 2 offsets for 3 cropped axes",
    ),
    ("Flatten", "flatten_param { axis: 3 end_axis: 1 }", [IMAGE], [], "end_axis 1 lies more than one before axis 3"),
    ("Flatten", "flatten_param { axis: 4 }", [IMAGE], [], "axis 4 is outside a shape of 4 dimensions"),
    ("Reshape", "reshape_param { shape { dim: 5 dim: -1 } }", [IMAGE], [], "504 elements cannot fill 5x-1"),
    ("Reshape", "reshape_param { shape { dim: 5 dim: 5 } }", [IMAGE], [], "504 elements cannot fill 5x5"),
    (
        "Reshape",
        "reshape_param { shape { dim: -1 dim: -1 } }",
        [IMAGE],
        [],
        "dims (-1, -1): at most one -1, nothing below it",
    ),
    (
        "Reshape",
        "reshape_param { axis: 2 shape { dim: 7 dim: 9 dim: 0 } }",
        [IMAGE],
        [],
        "dims (7, 9, 0): a 0 stands where the input has no axis",
    ),
    (
        "Reshape",
        "reshape_param { axis: 2 num_axes: 3 shape { dim: 63 } }",
        [IMAGE],
        [],
        "num_axes 3 from axis 2 exceeds 4 dimensions",
    ),
    ("Reshape", "reshape_param { axis: 6 shape { dim: 1 } }", [IMAGE], [], "axis 6 is outside a shape of 4 dimensions"),
    (
        "Scale",
        "scale_param { axis: 3 num_axes: 2 }",
        [IMAGE],
        [(9, 1)],
        "parameters have shapes 9x1, expected 9",
    ),
]


@pytest.mark.parametrize(
    ("kind", "rest", "shapes", "params", "message"), REFUSED, ids=[f"{case[0]} {case[1]}" for case in REFUSED]
)
def test_what_caffe_refuses_is_refused(judge, kind, rest, shapes, params, message):
    place = f"{len(shapes) + 2}: layer 'out' ({kind}): "
    assert judge.refuse(kind, rest, *shapes, params=params) == [place + message]


@pytest.mark.parametrize(
    ("kind", "rest", "params", "message"),
    [
        (
            "Convolution",
            "convolution_param { num_output: 4 kernel_size: 3 group: 2 }",
            [(4, 4, 3, 3), (4,)],
            "parameters have shapes 4x4x3x3, 4, expected 4x2x3x3, 4",
        ),
        (
            "Deconvolution",
            "convolution_param { num_output: 6 kernel_size: 3 bias_term: false }",
            [(6, 4, 3, 3)],
            "parameters have shapes 6x4x3x3, expected 4x6x3x3",
        ),
        (
            "InnerProduct",
            "inner_product_param { num_output: 5 transpose: true }",
            [(5, 252), (5,)],
            "parameters have shapes 5x252, 5, expected 252x5, 5",
        ),
        ("BatchNorm", "", [(4,), (4,), (4,)], "parameters have shapes 4, 4, 4, expected 4, 4, 1"),
        ("Scale", "scale_param { bias_term: true }", [(4,), (7,)], "parameters have shapes 4, 7, expected 4, 4"),
    ],
)
def test_weights_that_do_not_fit(judge, kind, rest, params, message):
    """Caffe refuses them while it copies the weights, which it is not asked to do here."""
    text = net_text(kind, rest, IMAGE)
    assert tuple(params) != judge.theirs(text)[1]
    with pytest.raises(ModelError) as refused:
        judge.ours(text, params)
    assert refused.value.problems == (f"{judge.model}:3: layer 'out' ({kind}): {message}",)
