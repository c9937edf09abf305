"""Each operator, blob for blob, against real Caffe."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from nuqconv.backends.onnx import batch_problems
from nuqconv.errors import UnsupportedError
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text

pytestmark = pytest.mark.caffe


def one(kind, rest="", shape=(2, 4, 7, 9)):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


@pytest.mark.parametrize(
    ("param", "shape"),
    [
        ("kernel_size: 3", (2, 4, 7, 9)),
        ("kernel_size: 1 bias_term: false", (2, 4, 7, 9)),
        ("kernel_size: 3 stride: 2 pad: 1", (2, 4, 7, 9)),
        ("kernel_size: 3 stride: 2", (2, 4, 8, 8)),
        ("kernel_size: 3 pad: 2 dilation: 2", (2, 4, 7, 9)),
        ("kernel_size: 3 pad: 4 dilation: 3 stride: 2", (2, 4, 9, 9)),
        ("kernel_size: 3 pad: 5", (1, 4, 10, 12)),
        ("kernel_size: 3 group: 2", (2, 4, 7, 9)),
        ("kernel_size: 3 group: 4 pad: 1 stride: 2", (2, 4, 7, 9)),
        ("kernel_h: 1 kernel_w: 7 pad_h: 0 pad_w: 3", (2, 4, 7, 9)),
        ("kernel_h: 5 kernel_w: 2 pad_h: 2 pad_w: 1 stride_h: 3 stride_w: 1", (2, 4, 7, 9)),
        ("kernel_size: [3, 2] stride: [1, 2] pad: [1, 0] dilation: [2, 1]", (2, 4, 7, 9)),
        ("kernel_size: [3, 2, 2] stride: [1, 2, 1] pad: [1, 0, 1]", (2, 4, 5, 6, 4)),
    ],
)
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_convolution(oracle, kind, param, shape):
    oracle.check(one(kind, f"convolution_param {{ num_output: 8 {param} }}", shape))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "dilation"), list(itertools.product((1, 2, 3), (1, 2, 3), (0, 1), (1, 2)))
)
def test_convolution_grid(oracle, kind, group, kernel, stride, pad, dilation):
    param = f"num_output: 4 kernel_size: {kernel} stride: {stride} pad: {pad} dilation: {dilation} group: {group}"
    oracle.check(one(kind, f"convolution_param {{ {param} }}", (1, 4, 6, 5)))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(4, 4), (5, 6), (7, 8)])
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"),
    [(k, s, p) for k, s, p in itertools.product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2, 3)) if p < k],
)
def test_pooling_grid(oracle, method, size, kernel, stride, pad):
    text = one(
        "Pooling",
        f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }}",
        (2, 3, *size),
    )
    empty = pad == 0 and any(-(-(length - kernel) // stride) * stride >= length for length in size)
    if empty and method == "AVE":
        with pytest.raises(UnsupportedError, match=r"out.*wholly outside the input"):
            oracle.check(text)
    else:
        oracle.check(text, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "param",
    [
        "pool: MAX global_pooling: true",
        "pool: AVE global_pooling: true",
        "pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0",
        "pool: MAX kernel_h: 1 kernel_w: 5 stride_h: 2 stride_w: 3 pad_h: 0 pad_w: 2",
        "pool: AVE kernel_h: 4 kernel_w: 3 stride_h: 3 stride_w: 2 pad_h: 2 pad_w: 1",
        "pool: AVE kernel_size: 7 stride: 5 pad: 3",
        "pool: MAX kernel_size: 2 stride: 5",
        "pool: AVE kernel_size: 1 stride: 3",
    ],
)
def test_pooling(oracle, param):
    oracle.check(one("Pooling", f"pooling_param {{ {param} }}", (2, 3, 7, 13)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("ReLU", ""),
        ("ReLU", "relu_param { negative_slope: 0.1 }"),
        ("ReLU", "relu_param { negative_slope: -0.5 }"),
        ("ReLU", "relu_param { negative_slope: 1.5 }"),
        ("Sigmoid", ""),
        ("TanH", ""),
        ("Dropout", "dropout_param { dropout_ratio: 0.7 }"),
        ("Power", ""),
        ("Power", "power_param { scale: 0.3 }"),
        ("Power", "power_param { shift: -1.7 }"),
        ("Power", "power_param { power: 2 }"),
        ("Power", "power_param { power: 3 scale: -0.3 shift: 0.25 }"),
        ("Power", "power_param { power: 0 scale: 2 shift: 1 }"),
        ("Power", "power_param { power: 2 scale: 0 shift: 1.5 }"),
        ("Power", "power_param { scale: 0 }"),
        ("Softmax", ""),
        ("Softmax", "softmax_param { axis: 0 }"),
        ("Softmax", "softmax_param { axis: 2 }"),
        ("Softmax", "softmax_param { axis: -1 }"),
        ("Concat", ""),
        ("BatchNorm", ""),
        ("BatchNorm", "batch_norm_param { eps: 0.01 use_global_stats: true }"),
        ("Scale", ""),
        ("Scale", "scale_param { bias_term: true }"),
        ("Scale", "scale_param { axis: 0 bias_term: true }"),
        ("Scale", "scale_param { axis: 2 bias_term: true }"),
        ("Scale", "scale_param { axis: -1 bias_term: true }"),
        ("Scale", "scale_param { axis: 1 num_axes: 2 bias_term: true }"),
        ("Scale", "scale_param { axis: 0 num_axes: 3 }"),
        ("Scale", "scale_param { num_axes: 0 bias_term: true }"),
        ("InnerProduct", "inner_product_param { num_output: 5 }"),
        ("InnerProduct", "inner_product_param { num_output: 5 bias_term: false }"),
        ("InnerProduct", "inner_product_param { num_output: 5 transpose: true }"),
        ("InnerProduct", "inner_product_param { num_output: 5 axis: 0 }"),
        ("InnerProduct", "inner_product_param { num_output: 5 axis: 2 }"),
        ("InnerProduct", "inner_product_param { num_output: 5 axis: -1 transpose: true }"),
        ("Flatten", ""),
        ("Flatten", "flatten_param { axis: 0 }"),
        ("Flatten", "flatten_param { axis: 2 }"),
        ("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
        ("Flatten", "flatten_param { axis: -3 end_axis: -2 }"),
        ("Permute", "permute_param { order: [0, 2, 3, 1] }"),
        ("Permute", "permute_param { order: [3, 1] }"),
        ("Permute", "permute_param { order: 1 }"),
        ("Reshape", "reshape_param { shape { dim: [0, -1] } }"),
        ("Reshape", "reshape_param { shape { dim: [0, 2, -1, 9] } }"),
        ("Reshape", "reshape_param { shape { dim: [7, -1, 9] } }"),
        ("Reshape", "reshape_param { shape { dim: [2, 14] } axis: 1 num_axes: 2 }"),
        ("Reshape", "reshape_param { shape { dim: 1 } axis: 2 num_axes: 0 }"),
        ("Reshape", "reshape_param { shape { dim: [3, 3] } axis: -2 }"),
        ("Reshape", "reshape_param { shape { dim: [-1, 1, 1, 9] } }"),
    ],
)
def test_unary(oracle, kind, rest):
    oracle.check(one(kind, rest))


@pytest.mark.parametrize("power", [0.5, -1.0, -0.5, 1.3])
def test_power_of_positive_numbers(oracle, power):
    text = [
        inputs_text(data=(2, 4, 7, 9)),
        layer_text("Sigmoid", name="positive"),
        layer_text("Power", f"power_param {{ power: {power} scale: 2 shift: 0.1 }}", bottoms=("positive",)),
    ]
    oracle.check("\n".join(text))


@pytest.mark.parametrize("factor", [0.0, 1.0, 999.98])
@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (3, 4), (2, 4, 6)])
def test_batch_norm_factor(oracle, factor, shape):
    def change(params):
        params["out"][1][2][:] = factor

    oracle.check(one("BatchNorm", "", shape), change=change, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 12), (6,), (2, 3, 4)])
@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("InnerProduct", "inner_product_param { num_output: 5 axis: -1 }"),
        ("Softmax", "softmax_param { axis: -1 }"),
        ("ReLU", ""),
        ("Scale", "scale_param { axis: -1 bias_term: true }"),
    ],
)
def test_other_ranks(oracle, kind, rest, shape):
    oracle.check(one(kind, rest, shape))


@pytest.mark.parametrize(
    "param",
    [
        "",
        "operation: PROD",
        "operation: MAX",
        "operation: SUM coeff: [1, -1, 1]",
        "operation: SUM coeff: [0.3, -2.5, 1]",
        "operation: SUM coeff: [1, 1, 1]",
        "operation: SUM coeff: [0, 0, 7]",
    ],
)
def test_eltwise(oracle, param):
    shape = (2, 4, 5, 3)
    text = [
        inputs_text(data=shape, other=shape, third=shape),
        layer_text("Eltwise", f"eltwise_param {{ {param} }}", bottoms=("data", "other", "third")),
    ]
    oracle.check("\n".join(text))


def test_eltwise_of_a_value_with_itself(oracle):
    text = [inputs_text(data=(2, 3)), layer_text("Eltwise", bottoms=("data", "data"))]
    oracle.check("\n".join(text))


@pytest.mark.parametrize(
    ("axis", "shapes"),
    [
        ("axis: 1", [(2, 3, 4, 5), (2, 1, 4, 5), (2, 6, 4, 5)]),
        ("axis: 0", [(2, 3, 4), (1, 3, 4), (5, 3, 4)]),
        ("axis: -1", [(2, 3, 4), (2, 3, 1), (2, 3, 9)]),
        ("concat_dim: 2", [(2, 3, 4, 5), (2, 3, 1, 5), (2, 3, 2, 5)]),
    ],
)
def test_concat(oracle, axis, shapes):
    names = ("data", "other", "third")
    text = [
        inputs_text(**dict(zip(names, shapes, strict=True))),
        layer_text("Concat", f"concat_param {{ {axis} }}", bottoms=names),
    ]
    oracle.check("\n".join(text))


@pytest.mark.parametrize(
    ("param", "like"),
    [
        ("", (2, 5, 4, 3)),
        ("offset: 2", (2, 5, 4, 3)),
        ("offset: [1, 3]", (2, 5, 4, 3)),
        ("axis: 1 offset: [2, 0, 1]", (2, 3, 4, 3)),
        ("axis: 3 offset: 4", (9, 8, 7, 3)),
        ("axis: -2", (2, 5, 4, 3)),
        ("axis: 0 offset: [1, 0, 0, 0]", (1, 5, 6, 7)),
        ("", (2, 5, 6, 7)),
    ],
)
def test_crop(oracle, param, like):
    text = [
        inputs_text(data=(2, 5, 6, 7), like=like),
        layer_text("Crop", f"crop_param {{ {param} }}", bottoms=("data", "like")),
    ]
    oracle.check("\n".join(text))


def test_in_place_layers_keep_both_states(oracle):
    text = [
        inputs_text(data=(2, 3, 8, 8)),
        layer_text("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }"),
        'layer { name: "bn" type: "BatchNorm" bottom: "out" top: "out" }',
        'layer { name: "scale" type: "Scale" bottom: "out" top: "out" scale_param { bias_term: true } }',
        'layer { name: "relu" type: "ReLU" bottom: "out" top: "out" }',
        layer_text("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }", bottoms=("out",), name="pool"),
    ]
    graph = oracle.check("\n".join(text))
    states = [name for name in graph.consumers if graph.storage_name(name) == "out"]
    assert len(states) == 4
    found = OnnxSession(graph, outputs=states).run({"data": np.ones((2, 3, 8, 8), np.float32)})
    assert (found["out"] >= 0).all()
    assert any((found[name] < 0).any() for name in states)


RESIDUAL = "\n".join(
    [
        inputs_text(data=(1, 3, 17, 17)),
        layer_text("Convolution", "convolution_param { num_output: 8 kernel_size: 3 stride: 2 pad: 1 }", name="conv"),
        layer_text("BatchNorm", bottoms=("conv",), name="bn"),
        layer_text("Scale", "scale_param { bias_term: true }", bottoms=("bn",), name="scale"),
        layer_text("ReLU", bottoms=("scale",), name="relu"),
        layer_text(
            "Convolution",
            "convolution_param { num_output: 8 kernel_size: 3 pad: 1 group: 8 }",
            bottoms=("relu",),
            name="depthwise",
        ),
        layer_text("Eltwise", bottoms=("relu", "depthwise"), name="sum"),
        layer_text("Pooling", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }", bottoms=("sum",), name="pool"),
        layer_text(
            "Deconvolution",
            "convolution_param { num_output: 8 kernel_size: 4 stride: 2 pad: 1 }",
            bottoms=("pool",),
            name="up",
        ),
        layer_text("Crop", "crop_param { offset: 1 }", bottoms=("up", "sum"), name="crop"),
        layer_text("Concat", bottoms=("crop", "sum"), name="concat"),
        layer_text("Permute", "permute_param { order: [0, 2, 3, 1] }", bottoms=("concat",), name="permute"),
        layer_text("Reshape", "reshape_param { shape { dim: [0, -1, 4] } }", bottoms=("permute",), name="reshape"),
        layer_text("Softmax", "softmax_param { axis: 2 }", bottoms=("reshape",), name="softmax"),
        layer_text("Flatten", bottoms=("softmax",), name="flatten"),
        layer_text("InnerProduct", "inner_product_param { num_output: 6 }", bottoms=("flatten",), name="fc"),
    ]
)


@pytest.mark.parametrize("batch", [None, 1, 5])
def test_network_with_any_batch(oracle, batch):
    graph = oracle.check(RESIDUAL, batch=batch, rtol=1e-4, atol=1e-4)
    assert batch_problems(graph) == []
