"""PriorBox against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.backends.onnx import to_onnx
from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.opencv import graph_of, opencv_run
from tests.support.nets import write_net

PRIORS = [
    ("min_size: 60", (3, 5), (50, 70)),
    ("min_size: 60 max_size: 110", (3, 5), (50, 70)),
    ("min_size: 60 aspect_ratio: 2", (3, 5), (50, 70)),
    ("min_size: 60 max_size: 110 aspect_ratio: [2, 3]", (3, 5), (50, 70)),
    ("min_size: 60 max_size: 110 aspect_ratio: [2, 3] flip: false", (3, 5), (50, 70)),
    ("min_size: 60 aspect_ratio: [1, 2, 2, 0.5, 3] flip: true", (3, 5), (50, 70)),
    ("min_size: [20, 40] max_size: [40, 90] aspect_ratio: 2", (2, 3), (100, 90)),
    ("min_size: [20, 40, 7]", (2, 3), (100, 90)),
    ("min_size: 60 clip: true", (3, 5), (50, 70)),
    ("min_size: 60 max_size: 110 aspect_ratio: 3 clip: true", (3, 5), (50, 70)),
    ("min_size: 60 variance: 0.2", (3, 5), (50, 70)),
    ("min_size: 60 variance: [0.1, 0.15, 0.2, 0.25]", (3, 5), (50, 70)),
    ("min_size: 60 step: 16", (3, 5), (50, 70)),
    ("min_size: 60 step_h: 16 step_w: 12.5", (3, 5), (50, 70)),
    ("min_size: 60 offset: 0.25", (3, 5), (50, 70)),
    ("min_size: 60 offset: 0 step: 8", (3, 5), (50, 70)),
    ("min_size: 30 max_size: 60 aspect_ratio: 2 variance: [0.1, 0.1, 0.2, 0.2] step: 8", (38, 38), (300, 300)),
    ("min_size: 13 max_size: 17 aspect_ratio: [1.7, 2.3, 0.4] offset: 0.3", (7, 4), (61, 83)),
]


def prior_text(param, cells, image):
    text = [
        inputs_text(feature=(1, 2, *cells), image=(1, 3, *image)),
        layer_text("PriorBox", f"prior_box_param {{ {param} }}", bottoms=("feature", "image")),
    ]
    return "\n".join(text)


def prior_inputs(cells, image):
    return {"feature": np.zeros((1, 2, *cells), np.float32), "image": np.zeros((1, 3, *image), np.float32)}


def for_opencv(param):
    """The published layer's defaults: OpenCV knows none for the variance, and clips if it is not told."""
    for name, value in (("variance", "0.1"), ("clip", "false")):
        param += "" if name in param else f" {name}: {value}"
    return param


@pytest.mark.parametrize(("param", "cells", "image"), PRIORS)
def test_prior_box(tmp_path, param, cells, image):
    text, inputs = prior_text(param, cells, image), prior_inputs(cells, image)
    graph = graph_of(tmp_path, text)
    found = OnnxSession(graph).run(inputs)["out"]
    expected = opencv_run(tmp_path, prior_text(for_opencv(param), cells, image), inputs)
    assert found.shape == expected.shape == graph.shapes["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("size", "image"), [("img_size: 64", (64, 64)), ("img_h: 90 img_w: 31", (90, 31))])
@pytest.mark.parametrize("param", ["min_size: 20 max_size: 31 aspect_ratio: 2", "min_size: 20 step: 5 clip: true"])
def test_prior_box_of_a_given_image_size(tmp_path, size, image, param):
    """OpenCV does not read img_size; it stands for an image of that size."""
    given, real = graph_of(tmp_path, prior_text(f"{param} {size}", (3, 5), (50, 70))), prior_inputs((3, 5), (50, 70))
    text = prior_text(for_opencv(param), (3, 5), image)
    expected = opencv_run(tmp_path, text, prior_inputs((3, 5), image))
    np.testing.assert_allclose(OnnxSession(given).run(real)["out"], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        ("", "min_size"),
        ("min_size: 0", "min_size"),
        ("min_size: 0.5", "less than a pixel"),
        ("min_size: 30 max_size: [40, 50]", "max_size"),
        ("min_size: 30 max_size: 30", "larger"),
        ("min_size: 30 variance: [0.1, 0.2]", "variance"),
        ("min_size: 30 variance: -1", "variance"),
        ("min_size: 30 aspect_ratio: 0", "aspect_ratio"),
        ("min_size: 30 img_size: 3 img_h: 4", "img_size"),
        ("min_size: 30 img_h: 4", "img_w"),
        ("min_size: 30 step: 3 step_h: 4", "step"),
        ("min_size: 30 step_h: 4", "step_w"),
    ],
)
def test_prior_box_refused(tmp_path, param, reason):
    graph = graph_of(tmp_path, prior_text(param, (2, 2), (9, 9)))
    assert isinstance(graph.node["out"].op, Opaque)
    assert reason in graph.node["out"].op.reason


def test_a_constant_that_would_fill_the_memory_is_refused(tmp_path):
    text = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 10000 dim: 10000 } } }\n'
        'layer { name: "p" type: "PriorBox" bottom: "data" bottom: "data" top: "p" prior_box_param { min_size: 3 } }'
    )
    files = write_net(tmp_path, text, {})
    with pytest.raises(UnsupportedError, match=r"layer 'p' \(PriorBox\): its 800000000 numbers are a constant"):
        to_onnx(load_graph(files.model, files.weights))
