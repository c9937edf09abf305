"""Layers of forks.

Expected values come from real Caffe where it has the layer (Reverse), from OpenCV where that has it, and from plain loops of the published
definitions, which stand in this file.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.backends.onnx import batch_problems, to_onnx
from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.ir.ops import Opaque
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.opencv import graph_of, opencv_run, opsets


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def one(kind, rest, shape):
    return inputs_text(data=shape) + "\n" + layer_text(kind, rest)


def run(folder, text, **inputs):
    """Our output; its shape must be the inferred one."""
    graph = graph_of(folder, text)
    found = OnnxSession(graph).run(inputs)["out"]
    assert found.shape == graph.shapes["out"]
    assert found.dtype == np.float32
    return found


# Reverse


@pytest.mark.caffe
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 4, 5), axis) for axis in range(4)] + [((3, 7), 1), ((5,), 0)])
def test_reverse(oracle, shape, axis):
    oracle.check(one("Reverse", f"reverse_param {{ axis: {axis} }}", shape))


@pytest.mark.caffe
def test_reverse_by_default(oracle):
    oracle.check(one("Reverse", "", (3, 2)))


# ShuffleChannel and Reorg


@pytest.mark.parametrize("group", [1, 2, 3, 4, 12])
def test_shuffle_channel(tmp_path, group):
    text, data = one("ShuffleChannel", f"shuffle_channel_param {{ group: {group} }}", (2, 12, 3, 5)), noise(2, 12, 3, 5)
    found = run(tmp_path, text, data=data)
    size = 12 // group
    expected = np.empty_like(data)
    for part, channel in itertools.product(range(group), range(size)):
        expected[:, channel * group + part] = data[:, part * size + channel]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, opencv_run(tmp_path, text, {"data": data}))


def reorg(data, stride, *, reverse):
    """The published loop, on flat memory."""
    batch, channels, height, width = data.shape
    part = channels // stride**2
    flat, result = data.reshape(-1), np.empty(data.size, np.float32)
    for b, k, j, i in itertools.product(range(batch), range(channels), range(height), range(width)):
        inner = i + width * (j + height * (k + channels * b))
        offset = k // part
        column, row = i * stride + offset % stride, j * stride + offset // stride
        outer = column + width * stride * (row + height * stride * (k % part + part * b))
        if reverse:
            result[outer] = flat[inner]
        else:
            result[inner] = flat[outer]
    if reverse:
        return result.reshape(batch, part, height * stride, width * stride)
    return result.reshape(batch, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("stride", "shape"), [(2, (2, 8, 4, 6)), (2, (1, 4, 2, 2)), (3, (1, 18, 6, 3)), (1, (2, 3, 4, 5))]
)
def test_reorg(tmp_path, stride, shape, reverse):
    param = f"reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}"
    data = noise(*shape)
    found = run(tmp_path, one("Reorg", param, shape), data=data)
    np.testing.assert_array_equal(found, reorg(data, stride, reverse=reverse))


def test_reorg_is_opencvs(tmp_path):
    text, data = one("Reorg", "", (1, 64, 26, 26)), noise(1, 64, 26, 26)
    np.testing.assert_array_equal(run(tmp_path, text, data=data), opencv_run(tmp_path, text, {"data": data}))


# Interp and Upsample


def interp(data, height, width, crop=(0, 0)):
    """The published loop."""
    data = data[:, :, crop[0] : data.shape[2] - crop[1], crop[0] : data.shape[3] - crop[1]]
    steps = [
        np.float32(before - 1) / np.float32(after - 1) if after > 1 else np.float32(0)
        for before, after in zip(data.shape[2:], (height, width), strict=True)
    ]
    result = np.empty((*data.shape[:2], height, width), np.float32)
    for row, column in itertools.product(range(height), range(width)):
        y, x = steps[0] * np.float32(row), steps[1] * np.float32(column)
        top, left = int(y), int(x)
        below, right = int(top < data.shape[2] - 1), int(left < data.shape[3] - 1)
        dy, dx = y - np.float32(top), x - np.float32(left)
        result[:, :, row, column] = (1 - dy) * (
            (1 - dx) * data[:, :, top, left] + dx * data[:, :, top, left + right]
        ) + dy * ((1 - dx) * data[:, :, top + below, left] + dx * data[:, :, top + below, left + right])
    return result


INTERPS = [
    ("height: 9 width: 13", (9, 13), (0, 0)),
    ("height: 5 width: 7", (5, 7), (0, 0)),
    ("height: 3 width: 4", (3, 4), (0, 0)),
    ("height: 1 width: 1", (1, 1), (0, 0)),
    ("height: 1 width: 12", (1, 12), (0, 0)),
    ("height: 60 width: 71", (60, 71), (0, 0)),
    ("zoom_factor: 2", (9, 13), (0, 0)),
    ("zoom_factor: 8", (33, 49), (0, 0)),
    ("zoom_factor: 1", (5, 7), (0, 0)),
    ("shrink_factor: 2", (3, 4), (0, 0)),
    ("shrink_factor: 3", (2, 3), (0, 0)),
    ("shrink_factor: 2 zoom_factor: 3", (7, 10), (0, 0)),
    ("height: 9 width: 13 pad_beg: -1", (9, 13), (1, 0)),
    ("height: 9 width: 13 pad_end: -1", (9, 13), (0, 1)),
    ("zoom_factor: 2 pad_beg: -1 pad_end: -2", (3, 7), (1, 2)),
    # As in the published layer one factor goes before the size, and the size before two factors.
    ("height: 9 width: 13 zoom_factor: 3", (13, 19), (0, 0)),
    ("height: 9 width: 13 shrink_factor: 2", (3, 4), (0, 0)),
    ("height: 9 width: 13 shrink_factor: 2 zoom_factor: 3", (9, 13), (0, 0)),
]


@pytest.mark.parametrize(("param", "size", "crop"), INTERPS)
def test_interp(tmp_path, param, size, crop):
    data = noise(2, 3, 5, 7)
    found = run(tmp_path, one("Interp", f"interp_param {{ {param} }}", data.shape), data=data)
    np.testing.assert_allclose(found, interp(data, *size, crop), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("before", "after"), [((5, 7), (9, 13)), ((6, 6), (60, 60)), ((1, 1), (4, 5)), ((9, 8), (3, 2))]
)
def test_interp_is_opencvs(tmp_path, before, after):
    text = one("Interp", f"interp_param {{ height: {after[0]} width: {after[1]} }}", (2, 3, *before))
    data = noise(2, 3, *before)
    expected = opencv_run(tmp_path, text, {"data": data})
    np.testing.assert_allclose(run(tmp_path, text, data=data), expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.integers(1, 12)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(0, 2)] * 2))
def test_interp_of_any_size(tmp_path, before, after, crop):
    shape = (1, 2, *(size + sum(crop) for size in before))
    param = f"height: {after[0]} width: {after[1]} pad_beg: {-crop[0]} pad_end: {-crop[1]}"
    data = noise(*shape)
    found = run(tmp_path, one("Interp", f"interp_param {{ {param} }}", shape), data=data)
    np.testing.assert_allclose(found, interp(data, *after, crop), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("param", "scale"),
    [("", (2, 2)), ("scale: 3", (3, 3)), ("scale: 1", (1, 1)), ("scale_h: 2 scale_w: 5", (2, 5)), ("scale: 7", (7, 7))],
)
def test_upsample_without_a_mask_repeats(tmp_path, param, scale):
    data = noise(2, 3, 5, 7)
    found = run(tmp_path, one("Upsample", f"upsample_param {{ {param} }}", data.shape), data=data)
    np.testing.assert_array_equal(found, data.repeat(scale[0], axis=2).repeat(scale[1], axis=3))


@pytest.mark.parametrize(("param", "factor"), [("stride: 2", 2), ("stride: 3", 3), ("", 1)])
def test_upsample_darknet_repeats(tmp_path, param, factor):
    """A Deconvolution by ones puts each element into a block of its own; OpenCV runs it."""
    data = noise(2, 3, 5, 7)
    text = one("UpsampleDarknet", f"upsample_darknet_param {{ {param} }}", data.shape)
    found = run(tmp_path, text, data=data)
    np.testing.assert_array_equal(found, data.repeat(factor, axis=2).repeat(factor, axis=3))
    stock = one(
        "Deconvolution",
        f"convolution_param {{ num_output: 3 group: 3 kernel_size: {factor} stride: {factor} bias_term: false }}",
        data.shape,
    )
    weights = {"out": [np.ones((3, 1, factor, factor), np.float32)]}
    np.testing.assert_array_equal(found, opencv_run(tmp_path, stock, {"data": data}, weights=weights))


def test_upsample_darknet_of_nothing_is_kept(tmp_path):
    text = one("UpsampleDarknet", "upsample_darknet_param { stride: 0 }", (1, 2, 3, 3))
    assert isinstance(graph_of(tmp_path, text).node["out"].op, Opaque)


def pooled_text(param, shape, kernel=2, stride=2):
    """A pooling with its mask, some layer between, and the upsampling."""
    return "\n".join([
        inputs_text(data=shape),
        layer_text(
            "Pooling", f'top: "mask" pooling_param {{ pool: MAX kernel_size: {kernel} stride: {stride} }}', name="pool"
        ),
        layer_text("Power", "power_param { scale: 2 shift: 1 }", bottoms=("pool",), name="power"),
        layer_text("Upsample", f"upsample_param {{ {param} }}", bottoms=("power", "mask")),
    ])  # fmt: skip


def unpool(values, mask, height, width):
    """The published loop."""
    result = np.zeros((*values.shape[:2], height * width), np.float32)
    for n, c in itertools.product(*map(range, values.shape[:2])):
        for value, place in zip(values[n, c].ravel(), mask[n, c].ravel(), strict=True):
            result[n, c, int(place)] = value
    return result.reshape(*values.shape[:2], height, width)


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("param", "shape", "size"),
    [
        ("scale: 2", (2, 3, 6, 8), (6, 8)),
        ("", (2, 3, 6, 8), (6, 8)),
        ("scale_h: 2 scale_w: 2", (1, 3, 4, 8), (4, 8)),
        ("upsample_h: 6 upsample_w: 8", (2, 3, 6, 8), (6, 8)),
        ("upsample_h: 7 upsample_w: 9", (2, 3, 7, 9), (7, 9)),
        ("upsample_h: 12 upsample_w: 8", (1, 3, 6, 8), (12, 8)),
        ("scale: 2 pad_out_h: true pad_out_w: true", (2, 3, 7, 9), (7, 9)),
        ("scale: 2 pad_out_w: true", (2, 3, 6, 9), (6, 9)),
    ],
)
def test_upsample_with_the_mask_of_a_pooling(tmp_path, oracle, param, shape, size):
    """The pooling and its mask are held against real Caffe, which lacks the upsampling."""
    text = pooled_text(param, shape)
    oracle.check(text[: text.rindex("layer {")])
    data = noise(*shape)
    graph = graph_of(tmp_path, text)
    assert not batch_problems(graph)
    blobs = OnnxSession(graph, outputs=["power", "mask", "out"]).run({"data": data})
    assert blobs["out"].shape == graph.shapes["out"] == (*shape[:2], *size)
    np.testing.assert_array_equal(blobs["out"], unpool(blobs["power"], blobs["mask"], *size))


def test_upsample_with_any_mask(tmp_path):
    text = inputs_text(data=(1, 2, 3, 4), mask=(1, 2, 3, 4)) + layer_text("Upsample", bottoms=("data", "mask"))
    mask = np.random.default_rng(0).permuted(np.arange(96).reshape(2, 48), axis=1)[:, :12].reshape(1, 2, 3, 4)
    data, mask = noise(1, 2, 3, 4), (mask % 48).astype(np.float32)
    np.testing.assert_array_equal(run(tmp_path, text, data=data, mask=mask), unpool(data, mask, 6, 8))


def test_upsample_refuses_the_mask_of_overlapping_windows(tmp_path):
    graph = graph_of(tmp_path, pooled_text("upsample_h: 8 upsample_w: 8", (1, 2, 8, 8), kernel=3))
    with pytest.raises(UnsupportedError, match=r"out.*overlap"):
        to_onnx(graph)


# All of them


@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        ("Reverse", "reverse_param { axis: 2 }"),
        ("ShuffleChannel", "shuffle_channel_param { group: 2 }"),
        ("Reorg", "reorg_param { stride: 2 }"),
        ("Reorg", "reorg_param { stride: 2 reverse: true }"),
        ("Interp", "interp_param { height: 7 width: 9 pad_beg: -1 }"),
        ("Upsample", "upsample_param { scale: 3 }"),
    ],
)
def test_any_batch_and_every_opset(tmp_path, kind, rest):
    graph = graph_of(tmp_path, one(kind, rest, (2, 4, 6, 8)))
    assert not batch_problems(graph)
    data = noise(3, 4, 6, 8)
    expected = OnnxSession(graph).run({"data": data})["out"]
    single = OnnxSession(graph).run({"data": data[:1]})["out"]
    np.testing.assert_array_equal(expected[:1], single)
    for opset in opsets(13, 15, 18, 19, 22):
        model = to_onnx(graph, opset=opset, dynamic_batch=True)
        onnx.checker.check_model(model, full_check=True)
        found = OnnxSession(model).run({"data": data})["out"]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "rest", "bottoms", "reason"),
    [
        ("ShuffleChannel", "shuffle_channel_param { group: 0 }", 1, "group"),
        ("Reorg", "reorg_param { stride: 0 }", 1, "stride"),
        ("Interp", "", 1, "neither height"),
        ("Interp", "interp_param { height: 4 }", 1, "neither height"),
        ("Interp", "interp_param { height: 4 width: 0 }", 1, "positive"),
        ("Interp", "interp_param { zoom_factor: 0 }", 1, "positive"),
        ("Interp", "interp_param { zoom_factor: 2 pad_beg: 1 }", 1, "crop"),
        ("Interp", "interp_param { zoom_factor: 2 }", 2, "second bottom"),
        ("Upsample", "upsample_param { upsample_h: 4 upsample_w: 4 }", 1, "without a mask"),
        ("Upsample", "upsample_param { upsample_h: 4 }", 2, "go together"),
        ("Upsample", "upsample_param { upsample_h: 4 upsample_w: 0 }", 2, "positive"),
        ("Upsample", "upsample_param { scale_h: 4 }", 1, "go together"),
        ("Upsample", "upsample_param { scale: 2 scale_h: 4 scale_w: 4 }", 1, "without scale_h"),
        ("Upsample", "upsample_param { scale: 0 }", 1, "positive"),
        ("Upsample", "upsample_param { pad_out_h: true }", 1, "without a mask"),
        ("Upsample", "upsample_param { scale: 3 pad_out_h: true }", 2, "scale of 2"),
        ("ROIPooling", "", 2, "pooled_h"),
        ("PSROIPooling", "psroi_pooling_param { output_dim: 0 group_size: 2 spatial_scale: 1 }", 2, "output_dim"),
    ],
)
def test_refused(tmp_path, kind, rest, bottoms, reason):
    names = ("data", "other")[:bottoms]
    text = inputs_text(data=(1, 4, 4, 4), other=(1, 4, 4, 4)) + layer_text(kind, rest, bottoms=names)
    op = graph_of(tmp_path, text).node["out"].op
    assert isinstance(op, Opaque)
    assert reason in op.reason


@pytest.mark.parametrize(
    ("kind", "rest", "shapes", "reason"),
    [
        ("ShuffleChannel", "shuffle_channel_param { group: 3 }", [(1, 4, 2, 2)], "3 groups"),
        ("ShuffleChannel", "", [(1, 4)], "dimensions"),
        ("Reverse", "reverse_param { axis: 2 }", [(1, 4)], "axis 2"),
        ("Reorg", "", [(1, 3, 4, 4)], "channels"),
        ("Reorg", "", [(1, 4, 5, 4)], "does not divide"),
        ("Interp", "interp_param { zoom_factor: 2 pad_beg: -4 }", [(1, 4, 4, 4)], "nothing"),
        ("Upsample", "", [(1, 4, 4, 4), (1, 4, 4, 3)], "mask"),
        ("ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 1 }", [(1, 4, 4, 4), (3, 4)], "regions"),
        ("PSROIPooling", "psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 1 }",
         [(1, 4, 4, 4), (3, 5)], "expected 8"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(tmp_path, kind, rest, shapes, reason):
    names = tuple(f"in{number}" for number in range(len(shapes)))
    text = inputs_text(**dict(zip(names, shapes, strict=True))) + layer_text(kind, rest, bottoms=names)
    with pytest.raises(ModelError, match=reason):
        graph_of(tmp_path, text)
