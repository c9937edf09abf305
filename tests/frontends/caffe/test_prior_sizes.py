"""PriorBox with sizes that are no whole numbers: the published layer holds them as integers, as its source says; OpenCV takes them as they stand."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

import nuqconv
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import write_net

NET = """layer {{ name: "f" type: "Input" top: "f" input_param {{ shape {{ dim: [1, 4, 2, 2] }} }} }}
layer {{ name: "i" type: "Input" top: "i" input_param {{ shape {{ dim: [1, 3, 512, 512] }} }} }}
layer {{ name: "p" type: "PriorBox" bottom: "f" bottom: "i" top: "p" prior_box_param {{ {} }} }}
"""


def published(least, most, ratios):
    """Widths and heights around one centre, by a loop over what the published layer's own loop does with ``int`` sizes."""
    found = []
    for number, size in enumerate(least):
        low = int(size)
        found.append((low, low))
        if most:
            found.append((np.sqrt(low * int(most[number])),) * 2)
        found += [(low * np.sqrt(ratio), low / np.sqrt(ratio)) for ratio in ratios]
    return np.array(found)


@pytest.mark.parametrize(
    ("least", "most", "ratio"), [([35.84], [76.8], 2), ([20.48, 61.9], [51.2, 133.12], 3), ([30.5], [], 2)]
)
def test_sizes_are_cut(tmp_path, least, most, ratio):
    words = [f"min_size: {size}" for size in least] + [f"max_size: {size}" for size in most]
    text = NET.format(" ".join([*words, f"aspect_ratio: {ratio} flip: true variance: 0.1"]))
    files = write_net(tmp_path, text, {})
    notes: list[str] = []
    graph = nuqconv.load(files.model, files.weights, notes=notes)
    assert any("cut to whole pixels" in note and f"{least[0]:g} to {int(least[0])}" in note for note in notes)
    given = {"f": np.zeros((1, 4, 2, 2), np.float32), "i": np.zeros((1, 3, 512, 512), np.float32)}
    boxes = OnnxSession(graph).run(given)["p"][0, 0].reshape(2, 2, -1, 4)[1, 0] * 512
    found = np.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], 1)
    expected = published(least, most, [ratio, 1 / ratio])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    if least == [35.84]:
        # What the published layer gives on 512 pixels.
        np.testing.assert_allclose(found[:, 0], [35, 51.5752, 49.4975, 24.7487], rtol=1e-4)


def test_less_than_a_pixel_is_kept_to_the_letter(tmp_path):
    files = write_net(tmp_path, NET.format("min_size: 0.5"), {})
    assert isinstance(nuqconv.load(files.model, files.weights).node["p"].op, Opaque)


@pytest.mark.parametrize(
    "words",
    [
        "min_size: 35.84 max_size: 76.8 aspect_ratio: 2",
        "min_size: 0.5",
        "min_size: 20.48 min_size: 61.9 aspect_ratio: 3",
    ],
)
def test_exact_sizes_are_those_of_opencv(tmp_path, words):
    files = write_net(tmp_path, NET.format(f"{words} flip: true variance: 0.1"), {})
    notes: list[str] = []
    graph = nuqconv.load(files.model, files.weights, exact_sizes=True, notes=notes)
    given = {"f": np.zeros((1, 4, 2, 2), np.float32), "i": np.zeros((1, 3, 512, 512), np.float32)}
    net = cv2.dnn.readNetFromCaffe(str(files.model), str(files.weights))
    for name, array in given.items():
        net.setInput(array, name)
    np.testing.assert_allclose(OnnxSession(graph).run(given)["p"], net.forward("p"), rtol=1e-6, atol=1e-7)
    assert any("not cut" in note for note in notes)


def test_the_choice_is_written_into_the_record(tmp_path):
    files = write_net(tmp_path, NET.format("min_size: 35.84"), {})
    for exact in (False, True):
        nuqconv.convert(files.model, files.weights, tmp_path / "m.onnx", exact_sizes=exact, force=True)
        found = {item.key: item.value for item in onnx.load(tmp_path / "m.onnx").metadata_props}
        assert found.get("prior_box_sizes") == ("exact" if exact else None)
    again = nuqconv.load(tmp_path / "m.onnx")
    assert again.outputs == ("p",)
