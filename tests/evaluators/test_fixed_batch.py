"""A Caffe net whose layers fix the batch: the message names the remedy, and the remedy works."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import EvaluatorError
from tests.support.nets import write_net

NET = """name: "fixed"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 8, 8] } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 8 kernel_size: 3 pad: 1 } }
layer { name: "r" type: "Reshape" bottom: "c" top: "r" reshape_param { shape { dim: 1 dim: 512 } } }
layer { name: "f" type: "InnerProduct" bottom: "r" top: "f" inner_product_param { num_output: 5 } }
"""


def test_a_batch_that_layers_fix(tmp_path):
    rng = np.random.default_rng(0)
    weights = {
        "c": [rng.normal(size=(8, 3, 3, 3)), rng.normal(size=8)],
        "f": [rng.normal(size=(5, 512)) / 20, rng.normal(size=5)],
    }
    files = write_net(tmp_path, NET, weights)
    data = {"data": rng.standard_normal((6, 3, 8, 8)).astype(np.float32)}
    asked = {"data": data, "metric": "output_error", "max_error": 0.5}
    with pytest.raises(
        EvaluatorError, match=r"cannot run 6 samples at once, its layers fix 1; give batch_size=1 \(--batch-size 1\)"
    ):
        nuqconv.auto((files.model, files.weights), **asked)
    assert nuqconv.auto((files.model, files.weights), batch_size=1, **asked).layers
