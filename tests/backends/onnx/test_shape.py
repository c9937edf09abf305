"""InnerProduct and the layers that only move elements, every parameter, against real Caffe."""

from __future__ import annotations

import pytest

from nuqconv.frontends.caffe import load_graph
from nuqconv.ir.ops import Opaque
from tests.oracle.caffe_layers import inputs_text, layer_text, write_weights


def one(kind, rest="", shape=(2, 4, 7, 9)):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("param", "shape"),
    [
        ("axis: 3", (2, 4, 7, 9)),
        ("axis: -2", (2, 4, 7, 9)),
        ("axis: -3 bias_term: false", (2, 4, 7, 9)),
        ("axis: -4", (2, 4, 7, 9)),
        ("axis: 2 transpose: true", (2, 4, 7, 9)),
        ("axis: 0 transpose: true bias_term: false", (2, 4, 3)),
        ("axis: -1", (3, 2, 2, 1, 5)),
        ("transpose: true", (3, 6)),
        ("axis: 0", (6,)),
    ],
)
def test_inner_product(oracle, param, shape):
    oracle.check(one("InnerProduct", f"inner_product_param {{ num_output: 5 {param} }}", shape))


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("param", "shapes"),
    [
        ("concat_dim: 0", [(2, 3, 4), (1, 3, 4), (5, 3, 4)]),
        ("concat_dim: 1", [(2, 3), (2, 4), (2, 1)]),
        ("axis: -2", [(2, 3, 4), (2, 1, 4), (2, 5, 4)]),
        ("axis: -3", [(2, 3, 4), (1, 3, 4), (2, 3, 4)]),
        ("axis: 3", [(2, 3, 4, 1), (2, 3, 4, 5), (2, 3, 4, 2)]),
        ("axis: 0", [(2,), (3,), (1,)]),
    ],
)
def test_concat(oracle, param, shapes):
    names = ("data", "other", "third")
    text = inputs_text(**dict(zip(names, shapes, strict=True)))
    oracle.check(text + "\n" + layer_text("Concat", f"concat_param {{ {param} }}", bottoms=names))


@pytest.mark.caffe
def test_concat_of_one(oracle):
    oracle.check(one("Concat", "concat_param { axis: 2 }"))


@pytest.mark.parametrize("param", ["axis: 1 concat_dim: 1", "axis: 0 concat_dim: 2"])
def test_concat_with_both_names_of_the_axis(tmp_path, param):
    (tmp_path / "net.prototxt").write_text(one("Concat", f"concat_param {{ {param} }}"))
    write_weights(tmp_path / "net.caffemodel", {"none": ("ReLU", [])})
    op = load_graph(tmp_path / "net.prototxt", tmp_path / "net.caffemodel").node["out"].op
    assert isinstance(op, Opaque)
    assert "concat_dim" in op.reason


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("kind", "rest", "shape"),
    [
        ("Flatten", "flatten_param { axis: 1 end_axis: 0 }", (2, 4, 7)),
        ("Flatten", "flatten_param { axis: 3 end_axis: 2 }", (2, 4, 7, 9)),
        ("Flatten", "flatten_param { axis: -1 }", (2, 4, 7)),
        ("Flatten", "flatten_param { axis: 0 end_axis: 0 }", (2, 4, 7)),
        ("Flatten", "flatten_param { axis: 0 end_axis: -2 }", (2, 4, 7, 3)),
        ("Flatten", "flatten_param { axis: 0 }", (5,)),
        ("Flatten", "", (2, 3, 2, 2, 3)),
        ("Permute", "permute_param { order: [2, 0, 1] }", (2, 4, 7)),
        ("Permute", "permute_param { order: [1, 0] }", (2, 4)),
        ("Permute", "permute_param { order: [4] }", (2, 3, 2, 2, 3)),
        ("Permute", "permute_param { }", (2, 4, 7, 9)),
        ("Permute", "permute_param { order: [0, 1, 2, 3] }", (2, 4, 7, 9)),
        ("Reshape", "reshape_param { shape { dim: [-1, 8] } axis: 0 num_axes: 2 }", (2, 4, 3)),
        ("Reshape", "reshape_param { shape { } axis: 1 num_axes: 1 }", (2, 1, 3)),
        ("Reshape", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }", (2, 4, 3)),
        ("Reshape", "reshape_param { shape { dim: 1 } axis: 0 num_axes: 0 }", (2, 4, 3)),
        ("Reshape", "reshape_param { shape { dim: [0, 0, 0] } }", (2, 4, 3)),
    ],
)
def test_moving_elements(oracle, kind, rest, shape):
    oracle.check(one(kind, rest, shape))


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("param", "data", "like"),
    [
        ("axis: 0", (4, 5), (2, 3)),
        ("axis: 1 offset: 1", (2, 5, 4), (7, 3, 3)),
        ("axis: -1 offset: 2", (2, 5, 4), (1, 1, 2)),
        ("axis: 2", (2, 3, 6, 7), (2, 3, 4, 5, 9)),
        ("axis: 1 offset: [1, 2, 0, 3]", (2, 4, 5, 6, 7), (2, 3, 3, 6, 4)),
        ("axis: 0 offset: 3", (5,), (2,)),
    ],
)
def test_crop(oracle, param, data, like):
    text = inputs_text(data=data, like=like)
    oracle.check(text + "\n" + layer_text("Crop", f"crop_param {{ {param} }}", bottoms=("data", "like")))
