"""Every quantized layer of published models has a row, whatever was folded into it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nuqconv.api import load
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.backends.onnx import write_onnx
from nuqconv.backends.onnx.styles import PACKED
from nuqconv.comparison.layer_errors import measure_layer_errors
from nuqconv.comparison.quantized import pair_layers
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from photos import EVALUATION, photos
from real_models import PackageUnavailableError, model_files
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data
from tests.support.plans import strongest_plan


def model(name):
    """The files, and a few of the inputs that the model is for."""
    if name == "lenet":
        return (LENET_MODEL, LENET_WEIGHTS), lenet_data(4).inputs
    try:
        files = model_files(name)
    except PackageUnavailableError as error:
        if os.environ.get("NUQCONV_REQUIRE_PACKAGES") == "1":
            raise
        pytest.skip(str(error))
    if name == "nsfw":
        mean = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
        return files, {"data": photos(EVALUATION, 224, 2)[:, ::-1] - mean}
    return files, {"data": (photos(EVALUATION, 300, 2)[:, ::-1] - np.float32(127.5)) * np.float32(0.007843)}


@pytest.mark.package
@pytest.mark.parametrize(
    ("name", "form", "folded"),
    [
        ("lenet", Style.DEPLOY, 0),
        ("nsfw", Style.FAKE_QUANT, 50),
        ("mobilenet_ssd", Style.DEPLOY, 30),
        ("nsfw", PACKED, 50),
    ],
    ids=["lenet", "nsfw", "mobilenet_ssd", "nsfw packed"],
)
def test_every_quantized_layer_has_a_row(name, form, folded, tmp_path):
    files, data = model(name)
    original = load(*files)
    fold = fold_affine(original)
    assert len(fold.folded) >= folded
    quantizer = Quantizer(fold.graph)
    plan = strongest_plan(quantizer, data, steps=32)
    if isinstance(form, Style):
        write_caffe(quantizer.apply(plan), tmp_path / "net.prototxt", tmp_path / "net.caffemodel", form)
        quantized = load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    else:
        write_onnx(quantizer.apply(plan), tmp_path / "net.onnx", style=form)
        quantized = load(tmp_path / "net.onnx")
    pair = pair_layers(original, quantized)
    assert (set(pair.layers), pair.unpaired) == (set(plan), ())
    found = measure_layer_errors(pair, [data])
    assert [layer.layer for layer in found.layers] == list(plan)
    assert found.unmeasured == {}
    assert sorted(layer.rank for layer in found.layers) == list(range(1, len(plan) + 1))
    # Codebooks of 32 keep each layer near to what it was.
    assert all(layer.single.cosine > 0.97 for layer in found.layers)
    assert all(layer.weights is None or layer.weights.relative > 0 for layer in found.layers)
