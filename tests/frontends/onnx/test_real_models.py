"""Published models read and written again give the file's own outputs in onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.backends.onnx import write_onnx
from nuqconv.frontends.onnx import read_onnx_model
from nuqconv.frontends.options import ReadOptions
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.backends.caffe.emitting.test_real_onnx_models import IMAGES, published
from tests.support.packages import real_file

pytestmark = pytest.mark.package


@pytest.mark.parametrize("name", IMAGES)
def test_read_and_written_again(name, tmp_path):
    path = real_file(name)
    data = np.ascontiguousarray(IMAGES[name](), np.float32)
    source, wanted = published(path, data)
    graph = read_onnx_model(path, ReadOptions(input_shapes={source: data.shape})).graph
    assert not [node for node in graph.nodes if isinstance(node.op, Opaque)]
    write_onnx(graph, tmp_path / "again.onnx")
    found = OnnxSession(tmp_path / "again.onnx").run({source: data})
    assert list(found) == list(wanted)
    for output, array in wanted.items():
        np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(array).max())))
