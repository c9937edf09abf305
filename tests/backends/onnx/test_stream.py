"""The bytes written piece by piece are those that protobuf writes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from nuqconv.backends.onnx.lower import lower_graph, to_onnx
from nuqconv.backends.onnx.stream import LoweredModel
from nuqconv.frontends.caffe import load_graph
from tests.support.nets import conv_net


def test_a_net(tmp_path):
    files = conv_net(tmp_path)
    graph = load_graph(files.model, files.weights)
    lowered = lower_graph(graph, dynamic_batch=True)
    helper.set_model_props(lowered.skeleton, {"some": "thing"})
    written = b"".join(lowered.chunks())
    assert written == lowered.whole().SerializeToString(deterministic=True)
    assert len(written) == lowered.size()
    onnx.checker.check_model(written, full_check=True)
    onnx.checker.check_model(lowered.for_checker(), full_check=True)
    assert to_onnx(graph) == lower_graph(graph).whole()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "i1", "u1", "<i4", "<i8", ">i8", "<f8", "?", "<f2"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 200), (1, 70000)])
def test_tensors(dtype, shape):
    rng = np.random.default_rng(0)
    array = (rng.standard_normal(shape) * 50).astype(dtype)
    strided = np.repeat(array, 2, axis=-1)[..., ::2] if shape else array
    skeleton = helper.make_model(helper.make_graph([], "name", [], [], doc_string="text"), doc_string="more")
    lowered = LoweredModel(skeleton, {"one": strided, "two": array})
    model = ModelProto.FromString(b"".join(lowered.chunks()))
    assert model == lowered.whole()
    for tensor in model.graph.initializer:
        found = numpy_helper.to_array(tensor)
        assert found.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, array)
