"""Models evaluated in what caffe2onnx makes of them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nuqconv import BatchEvaluator
from nuqconv.errors import ModelError
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.caffe2onnx import VARIABLE
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data
from tests.support.fake_caffe2onnx import install
from tests.support.nets import write_net

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "blob" inner_product_param { num_output: 4 } }
layer { name: "relu" type: "ReLU" bottom: "blob" top: "blob" }
"""


def evaluator(inputs, **options):
    return BatchEvaluator(inputs, metric="output_error", max_error=1, runtime="caffe2onnx", **options)


def test_batches_are_run_in_pieces_of_the_size_of_the_prototxt(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch)
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((4, 3)), rng.standard_normal(4)
    files = write_net(tmp_path, NET, {"fc": [weight, bias]})
    model = str(files.model), str(files.weights)
    x = rng.standard_normal((6, 3)).astype(np.float32)
    with evaluator({"data": x}, batch_size=4) as one:
        runs = list(one.run(*model, one.calibration_batches(2)))
        assert [run["blob"].shape for run in runs] == [(4, 4), (2, 4)]
        wanted = np.maximum(x @ weight.T + bias, 0)
        np.testing.assert_allclose(np.concatenate([run["blob"] for run in runs]), wanted, rtol=1e-4, atol=1e-5)
    with (
        evaluator({"data": x[:3]}) as one,
        pytest.raises(ModelError, match=r"runs batches of 2 only, as the \.prototxt says, and cannot run one of 3"),
    ):
        one.eval_model(*model, 1)


@pytest.mark.caffe
@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no Python with caffe2onnx")
def test_the_real_one_gives_what_real_caffe_gives(caffe_python):
    inputs = lenet_data(20).inputs
    files = str(LENET_MODEL), str(LENET_WEIGHTS)
    with evaluator(inputs, batch_size=8) as one:
        found = np.concatenate([run["prob"] for run in one.run(*files, one.calibration_batches(3))])
    with Net(*files, python=caffe_python) as net:
        np.testing.assert_allclose(found, net.run(inputs)["prob"], rtol=1e-4, atol=1e-6)
