"""ROIPooling and PSROIPooling against plain loops of the published definitions, and against OpenCV."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import pytest

from nuqconv.backends.onnx import batch_problems, to_onnx
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.opencv import graph_of, opencv_run, opsets

from .test_forks import noise, run

REGIONS = np.array(
    [
        [0, 0, 0, 15, 11], [1, 3, 2, 9, 10], [0, 7.5, 2.5, 8.5, 4.5], [1, -6, -4, 5, 30], [0, 14, 10, 40, 44],
        [1, 30, 30, 50, 50], [0, 5, 5, 5, 5], [0, 9, 9, 4, 2], [1, 0.49, 0.51, 12.49, 9.51], [0, -30, -30, -20, -20],
    ],
    np.float32,
)  # fmt: skip


def regions_text(kind, rest, shape, count=10):
    layer = layer_text(kind, rest, bottoms=("data", "rois"))
    return inputs_text(data=shape, rois=(count, 5)) + "\n" + layer


def away(value):
    """C's round."""
    return np.float32(math.copysign(math.floor(abs(float(value)) + 0.5), float(value)))


def roi_pooling(data, regions, pooled, scale):
    """The published loop."""
    height, width = data.shape[2:]
    result = np.zeros((len(regions), data.shape[1], *pooled), np.float32)
    for number, (image, *corners) in enumerate(regions):
        left, top, right, bottom = (int(away(corner * np.float32(scale))) for corner in corners)
        rows, columns = max(bottom - top + 1, 1), max(right - left + 1, 1)
        step_h, step_w = np.float32(rows) / np.float32(pooled[0]), np.float32(columns) / np.float32(pooled[1])
        for i, j in itertools.product(*map(range, pooled)):
            low_h = min(max(int(np.floor(np.float32(i) * step_h)) + top, 0), height)
            high_h = min(max(int(np.ceil(np.float32(i + 1) * step_h)) + top, 0), height)
            low_w = min(max(int(np.floor(np.float32(j) * step_w)) + left, 0), width)
            high_w = min(max(int(np.ceil(np.float32(j + 1) * step_w)) + left, 0), width)
            if high_h > low_h and high_w > low_w:
                window = data[int(image), :, low_h:high_h, low_w:high_w]
                result[number, :, i, j] = window.max(axis=(1, 2))
    return result


def psroi_pooling(data, regions, channels, group, scale):
    """The published loop."""
    height, width = data.shape[2:]
    scale = np.float32(scale)
    result = np.zeros((len(regions), channels, group, group), np.float32)
    for number, (image, *corners) in enumerate(regions):
        left, top = (away(corner) * scale for corner in corners[:2])
        right, bottom = ((away(corner) + np.float32(1)) * scale for corner in corners[2:])
        step_h, step_w = (max(size, np.float32(0.1)) / np.float32(group) for size in (bottom - top, right - left))
        for c, i, j in itertools.product(range(channels), range(group), range(group)):
            low_h = min(max(int(np.floor(np.float32(i) * step_h + top)), 0), height)
            high_h = min(max(int(np.ceil(np.float32(i + 1) * step_h + top)), 0), height)
            low_w = min(max(int(np.floor(np.float32(j) * step_w + left)), 0), width)
            high_w = min(max(int(np.ceil(np.float32(j + 1) * step_w + left)), 0), width)
            if high_h > low_h and high_w > low_w:
                window = data[int(image), (c * group + i) * group + j, low_h:high_h, low_w:high_w]
                result[number, c, i, j] = window.mean(dtype=np.float64)
    return result


@pytest.mark.parametrize("pooled", [(1, 1), (2, 3), (7, 7), (6, 4)])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0625, 0.3])
def test_roi_pooling(tmp_path, pooled, scale):
    param = f"roi_pooling_param {{ pooled_h: {pooled[0]} pooled_w: {pooled[1]} spatial_scale: {scale} }}"
    data = noise(2, 3, 12, 16)
    text, expected = regions_text("ROIPooling", param, data.shape), roi_pooling(data, REGIONS, pooled, scale)
    np.testing.assert_array_equal(run(tmp_path, text, data=data, rois=REGIONS), expected)
    for opset in opsets(13, 21):
        model = to_onnx(graph_of(tmp_path, text), opset=opset)
        onnx.checker.check_model(model, full_check=True)
        session = OnnxSession(model)
        np.testing.assert_array_equal(session.run({"data": data, "rois": REGIONS})["out"], expected)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_pooling_is_opencvs(tmp_path, scale):
    param = f"roi_pooling_param {{ pooled_h: 3 pooled_w: 4 spatial_scale: {scale} }}"
    data, rois = noise(1, 3, 12, 16), REGIONS[[0, 2, 4, 6, 8]] * np.array([0, 1, 1, 1, 1], np.float32)
    text = regions_text("ROIPooling", param, data.shape, len(rois))
    expected = opencv_run(tmp_path, text, {"data": data, "rois": rois})
    np.testing.assert_array_equal(run(tmp_path, text, data=data, rois=rois), expected)


@pytest.mark.parametrize("group", [1, 2, 3, 7])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0625])
def test_psroi_pooling(tmp_path, group, scale):
    param = f"psroi_pooling_param {{ output_dim: 2 group_size: {group} spatial_scale: {scale} }}"
    data = noise(2, 2 * group**2, 12, 16)
    found = run(tmp_path, regions_text("PSROIPooling", param, data.shape), data=data, rois=REGIONS)
    np.testing.assert_allclose(found, psroi_pooling(data, REGIONS, 2, group, scale), rtol=1e-5, atol=1e-5)
    onnx.checker.check_model(
        to_onnx(graph_of(tmp_path, regions_text("PSROIPooling", param, data.shape))), full_check=True
    )


def test_psroi_pooling_is_opencvs(tmp_path):
    param = "psroi_pooling_param { output_dim: 3 group_size: 3 spatial_scale: 0.5 }"
    data = noise(1, 27, 12, 16)
    rois = np.array([[0, 0, 0, 31, 23], [0, 4, 6, 19, 17], [0, 3, 1, 12, 20]], np.float32)
    text = regions_text("PSROIPooling", param, data.shape, len(rois))
    expected = opencv_run(tmp_path, text, {"data": data, "rois": rois})
    np.testing.assert_allclose(run(tmp_path, text, data=data, rois=rois), expected, rtol=1e-5, atol=1e-5)


def test_regions_of_one_image_keep_its_number_fixed(tmp_path):
    """With as many regions as images axis 0 would look like a batch."""
    param = "psroi_pooling_param { output_dim: 1 group_size: 2 spatial_scale: 1 }"
    graph = graph_of(tmp_path, regions_text("PSROIPooling", param, (1, 4, 5, 5), 1))
    assert any("regions pick their image" in problem for problem in batch_problems(graph))
