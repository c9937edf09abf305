"""Matrices for resizing against onnxruntime's Resize, in all modes."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from nuqconv.backends.caffe.emitting.parts.constructs import contract
from nuqconv.backends.caffe.emitting.parts.resampling import Resampling, weights

from .test_parts import floats, probe


def runtime_resize(x, how, sizes=None, scales=None, opset=18):
    attributes = {
        "mode": how.mode,
        "coordinate_transformation_mode": how.coordinates,
        "nearest_mode": how.nearest,
        "cubic_coeff_a": how.cubic,
        "exclude_outside": int(how.exclude_outside),
    }
    names = ["x", "", "scales" if scales else "", "sizes" if sizes else ""]
    node = helper.make_node("Resize", names if sizes else names[:3], ["y"], **attributes)
    tensors = []
    if sizes:
        tensors.append(helper.make_tensor("sizes", TensorProto.INT64, [len(sizes)], sizes))
    else:
        tensors.append(helper.make_tensor("scales", TensorProto.FLOAT, [len(scales)], scales))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)]
    graph = helper.make_graph([node], "g", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
MODES = [
    *(
        Resampling("nearest", where, rule)
        for where, rule in itertools.product(COORDINATES, ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
    ),
    *(Resampling("linear", where) for where in [*COORDINATES, "half_pixel_symmetric"]),
    *(Resampling("cubic", where, cubic=a) for where, a in itertools.product(COORDINATES, [-0.75, -0.5])),
    Resampling("cubic", exclude_outside=True),
]


@pytest.mark.parametrize("how", MODES, ids=lambda how: f"{how.mode} {how.coordinates} {how.nearest} {how.cubic}")
@pytest.mark.parametrize("sizes", [(10, 14), (15, 7), (3, 4), (1, 1), (5, 21), (8, 9)], ids=str)
def test_sizes(how, sizes):
    x = floats(1, 2, 5, 7)
    wanted = runtime_resize(x, how, sizes=[1, 2, *sizes])
    rows, columns = (weights(how, size, count, count / size) for size, count in zip(x.shape[2:], sizes, strict=True))
    found = np.einsum("yh,nchw,xw->ncyx", rows, x, columns)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", MODES, ids=lambda how: f"{how.mode} {how.coordinates} {how.nearest} {how.cubic}")
@pytest.mark.parametrize("scales", [(2.0, 1.5), (0.6, 0.3), (1.7, 3.0), (2.3, 0.8)], ids=str)
def test_scales(how, scales):
    x = floats(1, 2, 5, 7)
    wanted = runtime_resize(x, how, scales=[1.0, 1.0, *scales])
    rows, columns = (
        weights(how, size, count, scale)
        for size, count, scale in zip(x.shape[2:], wanted.shape[2:], scales, strict=True)
    )
    found = np.einsum("yh,nchw,xw->ncyx", rows, x, columns)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.caffe
@pytest.mark.parametrize("how", [Resampling("linear"), Resampling("nearest"), Resampling("cubic")], ids=str)
def test_in_real_caffe(judge, how):
    x = floats(2, 3, 5, 7)
    rows, columns = weights(how, 5, 10, 2.0), weights(how, 7, 9, 9 / 7)
    probe(
        judge,
        lambda b, x: contract(b, contract(b, x, 2, rows, "rows"), 3, columns, "columns"),
        lambda x: runtime_resize(x, how, sizes=[2, 3, 10, 9]),
        x,
        exact=how.mode == "nearest",
        rtol=1e-5,
        atol=1e-5,
    )
