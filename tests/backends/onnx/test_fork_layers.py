"""Layers that only some forks have.

Judges are real Caffe with stock layers that compute the same, OpenCV, onnx's reference implementation, and plain loops of the published rules.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from nuqconv.backends.onnx import batch_problems, to_onnx
from nuqconv.errors import ModelError
from nuqconv.ir.ops import ContinuationIndicator, CTCGreedyDecoder, MergeCrop, Opaque, ROIAlign, SequenceLSTM, Upsample
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.caffe_written import Judge, one
from tests.oracle.equivalents import against_stock, floats
from tests.oracle.opencv import graph_of, opencv_run, opsets


def net(kind, rest, **shapes):
    return inputs_text(**shapes) + "\n" + layer_text(kind, rest, bottoms=tuple(shapes))


# ROIAlign


def roi_align(x, regions, pooled, scale, samples):
    """The published rule, a place at a time."""
    _, channels, height, width = x.shape
    found = np.zeros((len(regions), channels, *pooled), np.float64)

    def between(image, y, x_place):
        if y < -1 or y > height or x_place < -1 or x_place > width:
            return np.zeros(channels)
        y, x_place = min(max(y, 0), height - 1), min(max(x_place, 0), width - 1)
        top, left = int(y), int(x_place)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x_place - left
        return (
            (1 - dy) * ((1 - dx) * image[:, top, left] + dx * image[:, top, right])
            + dy * ((1 - dx) * image[:, bottom, left] + dx * image[:, bottom, right])
        )  # fmt: skip

    for r, (number, *corners) in enumerate(regions):
        x1, y1, x2, y2 = (corner * scale for corner in corners)
        w, h = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
        down, across = h / pooled[0], w / pooled[1]
        parts = [samples or math.ceil(down), samples or math.ceil(across)]
        for i, j in np.ndindex(*pooled):
            places = [
                between(
                    x[int(number)], y1 + (i + (a + 0.5) / parts[0]) * down, x1 + (j + (b + 0.5) / parts[1]) * across
                )
                for a, b in np.ndindex(*parts)
            ]
            found[r, :, i, j] = np.mean(places, axis=0)
    return found


REGIONS = np.array(
    [[0, 3, 2, 30, 25], [1, 0, 0, 39, 47], [1, 10.3, 5.7, 11.1, 6.2], [0, 30, 30, 60, 70], [1, -9, -20, 12, 8]], np.float32
)  # fmt: skip


@pytest.mark.parametrize("samples", [2, 3, -1, 0])
@pytest.mark.parametrize("opset", opsets(13, 16, 21))
def test_roi_align(tmp_path, samples, opset):
    param = f"roi_align_param {{ pooled_h: 3 pooled_w: 2 spatial_scale: 0.25 sampling_ratio: {samples} }}"
    graph = graph_of(tmp_path, net("ROIAlign", param, data=(2, 4, 12, 10), rois=(5, 5)))
    x = floats(2, 4, 12, 10)
    expected = roi_align(x, REGIONS, (3, 2), 0.25, max(samples, 0))
    found = OnnxSession(to_onnx(graph, opset=opset)).run({"data": x, "rois": REGIONS})["out"]
    assert found.shape == graph.shapes["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_roi_align_is_the_reference_implementations():
    """ONNX's own, which onnxruntime has nothing to do with; without places more than a pixel outside, which it takes otherwise."""
    attributes = {"mode": "avg", "output_height": 3, "output_width": 2, "sampling_ratio": 2, "spatial_scale": 0.25}
    node = helper.make_node(
        "RoiAlign", ["x", "boxes", "which"], ["y"], coordinate_transformation_mode="output_half_pixel", **attributes
    )
    kinds = {"x": TensorProto.FLOAT, "boxes": TensorProto.FLOAT, "which": TensorProto.INT64}
    given = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph([node], "g", given, made), opset_imports=[helper.make_opsetid("", 16)])
    x, regions = floats(2, 4, 12, 10), REGIONS[:3]
    feeds = {"x": x, "boxes": regions[:, 1:], "which": regions[:, 0].astype(np.int64)}
    expected = ReferenceEvaluator(model).run(None, feeds)[0]
    np.testing.assert_allclose(roi_align(x, regions, (3, 2), 0.25, 2), expected, rtol=1e-4, atol=1e-5)
    assert ROIAlign((3, 2)).fixed_batch


# PriorBoxClustered


@pytest.mark.parametrize(
    ("param", "cells", "image"),
    [
        ("width: [9.4, 25.1, 14] height: [15, 39.6, 25.5]", (3, 5), (50, 70)),
        ("width: 86 height: 13.3 clip: true variance: [0.1, 0.1, 0.2, 0.2]", (3, 5), (50, 70)),
        ("width: [7, 8] height: [9, 4] step: 16 variance: 0.3", (4, 4), (64, 64)),
        ("width: [7, 8] height: [9, 4] step_h: 16 step_w: 12.5 offset: 0.25", (2, 3), (100, 90)),
    ],
)
@pytest.mark.parametrize("kind", ["PriorBoxClustered", "PriorBox"])
def test_boxes_of_their_own_sizes(tmp_path, kind, param, cells, image):
    shapes = {"feature": (1, 2, *cells), "image": (1, 3, *image)}
    graph = graph_of(tmp_path, net(kind, f"prior_box_param {{ {param} }}", **shapes))
    inputs = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for name, value in (("variance", "0.1"), ("clip", "false")):
        param += "" if name in param else f" {name}: {value}"
    expected = opencv_run(tmp_path, net("PriorBox", f"prior_box_param {{ {param} }}", **shapes), inputs)
    found = OnnxSession(graph).run(inputs)["out"]
    assert found.shape == expected.shape == graph.shapes["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


# MergeCrop


@pytest.mark.caffe
@pytest.mark.parametrize(
    "shapes", [((2, 3, 5, 4), (2, 2, 8, 4)), ((1, 2, 3, 3, 4), (1, 2, 6, 3, 9)), ((2, 3, 4), (2, 3, 4))]
)
@pytest.mark.parametrize("add", [False, True])
def test_merge_crop(tmp_path, caffe_process, shapes, add):
    if add and shapes[0][1] != shapes[1][1]:
        shapes = (shapes[0], (shapes[1][0], shapes[0][1], *shapes[1][2:]))
    a, b = floats(*shapes[0]), floats(*shapes[1], seed=2)
    starts = [(large - small) // 2 for small, large in zip(a.shape[2:], b.shape[2:], strict=True)]
    middle = b[(..., *(slice(start, start + size) for start, size in zip(starts, a.shape[2:], strict=True)))]
    expected = a + middle if add else np.concatenate([a, middle], axis=1)
    param = f"mergecrop_param {{ forward: [1, 1] backward: [1, 0] operation: {'ADD' if add else 'STACK'} }}"
    graph = graph_of(tmp_path, net("MergeCrop", param, x=a.shape, y=b.shape))
    assert not batch_problems(graph)
    assert graph.shapes["out"] == expected.shape
    np.testing.assert_array_equal(OnnxSession(graph).run({"x": a, "y": b})["out"], expected)
    Judge(caffe_process, tmp_path).check(
        one(MergeCrop(add), *shapes), {"y0": expected}, feeds={"x0": a, "x1": b}, exact=True
    )


# Unpooling and ResizeNearestNeighbor


@pytest.mark.caffe
@pytest.mark.parametrize(("param", "size"), [("unpool_size: 8", (8, 8)), ("unpool_h: 9 unpool_w: 8", (9, 8))])
def test_unpooling_puts_values_where_the_mask_of_real_caffes_pooling_says(tmp_path, caffe_process, param, size):
    pooling = layer_text("Pooling", 'top: "mask" pooling_param { pool: MAX kernel_size: 2 stride: 2 }', name="pool")
    head = inputs_text(data=(2, 3, 8, 8)) + "\n" + pooling
    text = layer_text(
        "Unpooling", f"unpooling_param {{ unpool: MAX kernel_size: 2 stride: 2 {param} }}", bottoms=("pool", "mask")
    )
    graph = graph_of(tmp_path, f"{head}\n{text}")
    data = floats(2, 3, 8, 8)
    (tmp_path / "head.prototxt").write_text(head)
    with Net(tmp_path / "head.prototxt", process=caffe_process) as caffe:
        theirs = caffe.run({"data": data}, ["pool", "mask"])
    expected = np.zeros((2, 3, math.prod(size)), np.float32)
    for n, c in np.ndindex(2, 3):
        for value, place in zip(theirs["pool"][n, c].ravel(), theirs["mask"][n, c].ravel(), strict=True):
            expected[n, c, int(place)] = value
    found = OnnxSession(graph, outputs=["out"]).run({"data": data})["out"]
    np.testing.assert_array_equal(found, expected.reshape(2, 3, *size))


def test_deconvnets_generation_of_files_is_read(tmp_path):
    old = """name: "old" input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
    layers { bottom: "data" top: "pool" top: "mask" name: "pool" type: POOLING
             pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
    layers { bottom: "pool" bottom: "mask" top: "up" name: "up" type: UNPOOLING
             unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_size: 4 } }
    """
    assert graph_of(tmp_path, old).node["up"].op == Upsample(size=(4, 4))


@pytest.mark.parametrize("factors", [(2, 2), (3, 1), (7, 5), (1, 64)])
def test_resize_nearest_neighbor(tmp_path, factors):
    param = f"resize_nearest_neighbor_param {{ scale_height: {factors[0]} scale_width: {factors[1]} }}"
    data = floats(2, 3, 4, 5)
    graph = graph_of(tmp_path, net("ResizeNearestNeighbor", param, data=data.shape))
    # The published rule: each place times the input's size by the output's in float32, cut.
    places = [
        (np.arange(size * factor).astype(np.float32) * (np.float32(size) / np.float32(size * factor))).astype(int)
        for size, factor in zip(data.shape[2:], factors, strict=True)
    ]
    expected = data[:, :, places[0]][:, :, :, places[1]]
    np.testing.assert_array_equal(OnnxSession(graph).run({"data": data})["out"], expected)
    assert not batch_problems(graph)


# What reads text


@pytest.mark.caffe
@pytest.mark.parametrize("continued", [False, True])
def test_lstm_is_stock_caffes_with_its_parameters_in_another_order(oracle, tmp_path, caffe_process, continued):
    weight, again, bias = floats(20, 6), floats(20, 5, seed=8) * np.float32(0.5), floats(20, seed=9)
    head = inputs_text(data=(4, 3, 6))
    # Inputs are random numbers, so whatever tells where sequences go on is made of them.
    going = layer_text("Slice", 'slice_param { axis: 2 slice_point: 1 } top: "rest"', name="one") + "\n"
    going += (
        layer_text("Flatten", bottoms=("one",), name="flat")
        + "\n"
        + layer_text("Threshold", bottoms=("flat",), name="cont")
    )
    going += "\n" + layer_text("Silence", bottoms=("rest",), name="unused").replace('top: "unused"', "")
    indicator = layer_text(
        "ContinuationIndicator", "continuation_indicator_param { time_step: 4 batch_size: 3 }", bottoms=(), name="cont"
    )
    stock = f"{head}\n{going if continued else indicator}\n" + layer_text(
        "LSTM", "recurrent_param { num_output: 5 }", bottoms=("data", "cont")
    )
    fork = f"{head}\n{going if continued else ''}\n" + layer_text(
        "Lstm",
        "lstm_param { num_output: 5 clipping_threshold: 0.1 }",
        bottoms=("data", "cont") if continued else ("data",),
    )
    blobs = {"out": ("LSTM", [weight, bias, again])}
    against_stock(oracle, fork, stock, fork_blobs={"out": ("Lstm", [weight, again, bias])}, stock_blobs=blobs)
    shapes = ((4, 3, 6), (4, 3))[: 1 + int(continued)]
    feeds = {"x0": floats(4, 3, 6), "x1": (floats(4, 3, seed=1) > 0).astype(np.float32)}
    feeds = {name: feeds[name] for name in ("x0", "x1")[: len(shapes)]}
    Judge(caffe_process, tmp_path).check(one(SequenceLSTM(5), *shapes, params=[weight, again, bias]), feeds=feeds)


@pytest.mark.caffe
def test_continuation_indicator_is_real_caffes(oracle, tmp_path, caffe_process):
    text = inputs_text(data=(2, 3)) + "\n" + layer_text("Power", name="copy") + "\n"
    text += layer_text(
        "ContinuationIndicator", "continuation_indicator_param { time_step: 5 batch_size: 3 }", bottoms=()
    )
    oracle.check(text)
    written = one(ContinuationIndicator(4, 2))
    Judge(caffe_process, tmp_path).check(written, {"y0": np.array([[0, 0], *[[1, 1]] * 3], np.float32)}, exact=True)


def greedy(x, going, blank, *, merge):
    """The published loop."""
    steps, streams, labels = x.shape
    found, scores = np.full((streams, steps, 1, 1), -1, np.float32), np.zeros((streams, 1, 1, 1), np.float32)
    for n in range(streams):
        last, kept = -1, []
        for t in range(steps):
            best = int(np.argmax(x[t, n]))
            scores[n] -= x[t, n, best]
            if best != blank % labels and not (merge and best == last):
                kept.append(best)
            last = best
            if t + 1 == steps or going[t + 1, n] == 0:
                break
        found[n, : len(kept), 0, 0] = kept
    return found, scores


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("blank", [0, 2, -1])
@pytest.mark.parametrize("opset", opsets(13, 18))
def test_ctc_greedy_decoder(tmp_path, merge, blank, opset):
    param = (
        f"ctc_decoder_param {{ blank_index: {blank} ctc_merge_repeated: {str(merge).lower()} }} top: 'scores'".replace(
            "'", '"'
        )
    )
    graph = graph_of(tmp_path, net("CTCGreedyDecoder", param, data=(12, 6, 4), going=(12, 6)))
    assert graph.outputs == ("out", "scores")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((12, 6, 4)).astype(np.float32)
    x[3:5], x[7] = x[2], x[6]
    going = np.ones((12, 6), np.float32)
    going[0], going[5:, 1], going[1:, 2], going[6, 3], going[11, 4] = 0, 0, 0, 0, 0
    found = OnnxSession(to_onnx(graph, opset=opset)).run({"data": x, "going": going})
    expected, scores = greedy(x, going, blank, merge=merge)
    np.testing.assert_array_equal(found["out"], expected)
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5)
    assert len({int((row >= 0).sum()) for row in expected}) > 2


# What is refused


@pytest.mark.parametrize(
    ("kind", "rest", "bottoms", "reason"),
    [
        ("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 }", 2, "forks differ in it"),
        ("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 sampling_ratio: 2 roi_end_mode: 1 }", 2, "roi_end_mode 1"),
        ("ROIAlign", "roi_align_param { pooled_h: 2 sampling_ratio: 2 }", 2, "positive"),
        ("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 sampling_ratio: 65 }", 2, "up to 64"),
        ("PriorBoxClustered", "prior_box_param { min_size: 3 }", 2, "0 width"),
        ("PriorBoxClustered", "prior_box_param { width: 3 height: [3, 4] }", 2, "1 width for 2 height"),
        ("PriorBoxClustered", "prior_box_param { width: 3 height: 0 }", 2, "not positive"),
        ("PriorBox", "prior_box_param { width: 3 height: 2 min_size: 3 }", 2, "beside min_size"),
        ("MergeCrop", "mergecrop_param { forward: [1, 0] }", 2, "not handed on"),
        ("Unpooling", "unpooling_param { unpool: MAX kernel_size: 2 unpool_size: 8 }", 1, "places of a mask"),
        ("Unpooling", "unpooling_param { unpool: AVE kernel_size: 2 unpool_size: 8 }", 2, "places of a mask"),
        ("Unpooling", "unpooling_param { kernel_size: 2 }", 2, "unpool_size"),
        ("Unpooling", "unpooling_param { kernel_size: 2 unpool_size: 8 pad: 1 }", 2, "pad"),
        ("ResizeNearestNeighbor", "resize_nearest_neighbor_param { output_height: 8 output_width: 8 }", 1, "channels last"),
        ("ResizeNearestNeighbor", "resize_nearest_neighbor_param { scale_height: 1.5 scale_width: 2 }", 1, "1.5"),
        ("ResizeNearestNeighbor", "resize_nearest_neighbor_param { scale_height: 2 scale_width: 2 align_corners: true }", 1, "half"),
        ("Lstm", "lstm_param { num_output: 3 batch_size: 2 }", 1, "batch_size"),
        ("Lstm", "", 1, "num_output"),
        ("ContinuationIndicator", "continuation_indicator_param { time_step: 3 }", 0, "positive"),
        ("ContinuationIndicator", "continuation_indicator_param { time_step: 9000 batch_size: 9000 }", 0, "up to 16777216"),
        ("ContinuationIndicator", "continuation_indicator_param { time_step: 3 batch_size: 2 }", 1, "bottom"),
        ("CTCGreedyDecoder", "", 3, "3 bottoms"),
        ("DetectionOutput", "detection_output_param { num_classes: 3 soft_nms: true }", 3, "soft_nms"),
        ("DetectionOutput", "detection_output_param { num_classes: 3 no_permute: true }", 3, "no_permute"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_kept_and_says_why(tmp_path, kind, rest, bottoms, reason):
    names = tuple(f"in{number}" for number in range(bottoms))
    text = inputs_text(spare=(1, 4), **dict.fromkeys(names, (1, 4, 4, 4))) + layer_text(kind, rest, bottoms=names)
    op = graph_of(tmp_path, text).node["out"].op
    assert isinstance(op, Opaque)
    assert reason in op.reason


@pytest.mark.parametrize("flags", ["soft_nms: false", "no_permute: false soft_nms: false"])
def test_flags_of_forks_that_are_off_change_nothing(tmp_path, flags):
    shapes = {"a": (1, 8), "b": (1, 6), "c": (1, 2, 8)}
    plain, flagged = (
        graph_of(tmp_path, net("DetectionOutput", f"detection_output_param {{ num_classes: 3 {rest} }}", **shapes))
        for rest in ("", flags)
    )
    assert plain.node["out"].op == flagged.node["out"].op


@pytest.mark.parametrize(
    ("kind", "rest", "shapes", "reason"),
    [
        ("MergeCrop", "", [(1, 2, 4, 4), (1, 2, 3, 4)], "larger"),
        ("MergeCrop", "mergecrop_param { operation: ADD }", [(1, 2, 4, 4), (1, 3, 5, 4)], "cannot be added"),
        ("MergeCrop", "", [(1, 2), (1, 2)], "3 at least"),
        ("CTCGreedyDecoder", "", [(4, 3, 2), (3, 4)], "indicators"),
        ("CTCGreedyDecoder", "ctc_decoder_param { blank_index: 9 }", [(4, 3, 2), (4, 3)], "blank is label 9"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, kind, rest, shapes, reason):
    names = tuple(f"in{number}" for number in range(len(shapes)))
    with pytest.raises(ModelError, match=reason):
        graph_of(tmp_path, net(kind, rest, **dict(zip(names, shapes, strict=True))))


@pytest.mark.parametrize(("shapes", "reason"), [([(4, 3)], "at least 3"), ([(4, 3, 2), (4, 2)], "cont has shape")])
def test_lstms_of_shapes_that_do_not_fit(shapes, reason):
    with pytest.raises(ModelError, match=reason):
        SequenceLSTM(3).infer(shapes, [(12, 2), (12, 3), (12,)])


def test_all_are_checked_by_onnx(tmp_path):
    texts = [
        net("MergeCrop", "", a=(1, 2, 3, 4), b=(1, 2, 5, 7)),
        net("CTCGreedyDecoder", "", a=(5, 2, 4), b=(5, 2)),
        net("ROIAlign", "roi_align_param { pooled_h: 2 pooled_w: 2 sampling_ratio: 1 }", a=(1, 2, 6, 6), b=(3, 5)),
    ]
    for text, opset in itertools.product(texts, opsets(13, 16, 20)):
        onnx.checker.check_model(to_onnx(graph_of(tmp_path, text), opset=opset), full_check=True)
    assert CTCGreedyDecoder().output_count(2) == 1
