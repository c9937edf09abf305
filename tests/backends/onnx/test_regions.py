"""Proposals against a plain loop of the published layers, and region pooling over them."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

from nuqconv.backends.onnx import to_onnx
from nuqconv.frontends.caffe.layers.regions import python_settings
from nuqconv.frontends.caffe.layers.registry import CannotReadError
from nuqconv.ir.ops import Opaque, Proposal
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text
from tests.oracle.opencv import graph_of, opencv_run, opsets

PYTHON = "python_param { module: 'rpn.proposal_layer' layer: 'ProposalLayer' param_str: \"%s\" }"
BOTTOMS = ("prob", "deltas", "im_info")
# What py-faster-rcnn prints in the comment at the head of rpn/generate_anchors.py, less one since Matlab counts from 1.
PUBLISHED_ANCHORS = np.array(
    [[-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200], [-55, -55, 72, 72], [-119, -119, 136, 136],
     [-247, -247, 264, 264], [-35, -79, 52, 96], [-79, -167, 96, 184], [-167, -343, 184, 360]]
) - 1  # fmt: skip


def proposal_text(kind, rest, anchors=9, size=(5, 6), columns=3, tops=1):
    shapes = {"prob": (1, 2 * anchors, *size), "deltas": (1, 4 * anchors, *size), "im_info": (1, columns)}
    text = layer_text(kind, rest, bottoms=BOTTOMS, name="rois")
    return (
        inputs_text(**shapes) + "\n" + (text.replace('top: "rois"', 'top: "rois" top: "scores"') if tops == 2 else text)
    )


def proposal_inputs(anchors=9, size=(5, 6), info=(80, 96, 1.0), seed=0):
    rng = np.random.default_rng(seed)
    arrays = {
        "prob": rng.permutation(2 * anchors * size[0] * size[1]).reshape(1, 2 * anchors, *size)
        / (2 * anchors * size[0] * size[1]),
        "deltas": rng.standard_normal((1, 4 * anchors, *size)) * 0.3,
        "im_info": np.array([info]),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def inner(one, two):
    width = min(one[2], two[2]) - max(one[0], two[0]) + 1
    height = min(one[3], two[3]) - max(one[1], two[1]) + 1
    return max(0.0, width) * max(0.0, height)


def area(box):
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def published(inputs, anchors, *, stride=16, least=16, before=6000, after=300, nms=0.7, small_last=False):
    """The published layers, a box at a time."""
    prob, deltas, (height, width, *scales) = inputs["prob"][0], inputs["deltas"][0], inputs["im_info"][0]
    found = []
    for y in range(prob.shape[1]):
        for x in range(prob.shape[2]):
            for k, anchor in enumerate(anchors):
                left, top, right, bottom = (value + stride * (x if n % 2 == 0 else y) for n, value in enumerate(anchor))
                w, h = right - left + 1, bottom - top + 1
                dx, dy, dw, dh = deltas[4 * k : 4 * k + 4, y, x]
                middle = (dx * w + left + 0.5 * w, dy * h + top + 0.5 * h)
                half = (0.5 * math.exp(dw) * w, 0.5 * math.exp(dh) * h)
                box = [
                    max(min(middle[0] - half[0], width - 1), 0), max(min(middle[1] - half[1], height - 1), 0),
                    max(min(middle[0] + half[0], width - 1), 0), max(min(middle[1] + half[1], height - 1), 0),
                ]  # fmt: skip
                scale_w = scales[1] if small_last and len(scales) > 1 else scales[0]
                small = box[2] - box[0] + 1 < least * scale_w or box[3] - box[1] + 1 < least * scales[0]
                score = float(prob[len(anchors) + k, y, x])
                if not small:
                    found.append((score, box))
                elif small_last:
                    found.append((0.0, box))
    found.sort(key=lambda item: -item[0])
    kept = []
    for score, box in found[:before]:
        if len(kept) < after and all(
            inner(box, other) / (area(box) + area(other) - inner(box, other)) <= nms for _, other in kept
        ):
            kept.append((score, box))
    return np.array([[0, *box] for _, box in kept], np.float32), np.array([[score] for score, _ in kept], np.float32)


def test_anchors_are_the_published_ones(tmp_path):
    graph = graph_of(tmp_path, proposal_text("Python", PYTHON % "'feat_stride': 16"))
    np.testing.assert_array_equal(graph.node["rois"].op.anchors, PUBLISHED_ANCHORS)


@pytest.mark.parametrize("opset", opsets(13, 17))
@pytest.mark.parametrize("info", [(80, 96, 1.0), (77, 90, 1.6), (200, 300, 3.0)])
def test_proposals_of_the_python_layer(tmp_path, info, opset):
    graph = graph_of(tmp_path, proposal_text("Python", PYTHON % "'feat_stride': 16", tops=2))
    inputs = proposal_inputs(info=info)
    expected, scores = published(inputs, PUBLISHED_ANCHORS)
    model = to_onnx(graph, opset=opset)
    onnx.checker.check_model(model)
    found = OnnxSession(model).run(inputs)
    assert 1 < len(expected) < 300
    np.testing.assert_allclose(found["rois"], expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-6)


CPP = "proposal_param {{ ratio: [0.5, 0.667, 1.5] scale: [2, 3.5] base_size: 16 feat_stride: 16 {} }}"


@pytest.mark.parametrize("columns", [3, 4])
@pytest.mark.parametrize(("rest", "meaning"), [
    ("min_size: 12 pre_nms_topn: 50 post_nms_topn: 9 nms_thresh: 0.4", {"least": 12, "before": 50, "after": 9, "nms": 0.4}),
    ("min_size: 40", {"least": 40}),
])  # fmt: skip
def test_proposals_of_the_cpp_layer(tmp_path, rest, meaning, columns):
    graph = graph_of(tmp_path, proposal_text("Proposal", CPP.format(rest), anchors=6, columns=columns))
    op = graph.node["rois"].op
    # int(x + 0.5), ratio by ratio, as the published layer's loop has it.
    widths = [int(math.sqrt(256 / ratio) + 0.5) for ratio in (0.5, 0.667, 1.5)]
    assert [box[2] - box[0] + 1 for box in op.anchors] == pytest.approx([w * s for w in widths for s in (2, 3.5)])
    inputs = proposal_inputs(anchors=6, info=(80, 96, 1.0, 1.5)[:columns])
    expected, _ = published(inputs, op.anchors, small_last=True, **meaning)
    np.testing.assert_allclose(OnnxSession(graph).run(inputs)["rois"], expected, rtol=1e-5, atol=1e-4)


def test_the_layer_whose_settings_stand_apart_has_the_published_ones(tmp_path):
    graph = graph_of(tmp_path, proposal_text("FrcnnProposal", ""))
    assert (
        graph.node["rois"].op
        == graph_of(tmp_path, proposal_text("Python", PYTHON % "'feat_stride': 16")).node["rois"].op
    )


def test_proposals_are_opencvs(tmp_path):
    """OpenCV leaves small boxes in and fills up with zeros, and takes ends for places between pixels: one large image, few boxes, no small ones."""
    rest = "proposal_param { ratio: 1 scale: [8, 16] base_size: 16 feat_stride: 16 min_size: 1 post_nms_topn: 12 pre_nms_topn: 40 nms_thresh: 0.7 }"
    text = proposal_text("Proposal", rest, anchors=2)
    inputs = proposal_inputs(anchors=2, info=(600, 800, 1.0))
    inputs["deltas"] *= 0.2
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["rois"]
    theirs = opencv_run(tmp_path, text, inputs, "rois")
    theirs = theirs.reshape(-1, 5)[: len(found)]
    close = [np.abs(found[:, 1:] - row[1:]).max(axis=1).min() for row in theirs]
    assert np.quantile(close, 0.5) < 1.5


def test_a_whole_detector_runs_on_as_many_regions_as_there_are(tmp_path):
    pooling = "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 }"
    text = "\n".join([
        proposal_text("Python", PYTHON % "'feat_stride': 16"),
        'layer { name: "map" type: "Input" top: "map" input_param { shape { dim: [1, 4, 5, 6] } } }',
        layer_text("ROIPooling", pooling, bottoms=("map", "rois"), name="pooled"),
        layer_text("Flatten", bottoms=("pooled",), name="flat"),
        layer_text("Softmax", bottoms=("flat",), name="out"),
    ])  # fmt: skip
    graph = graph_of(tmp_path, text)
    assert graph.shapes["out"] == (270, 16)
    inputs = {**proposal_inputs(), "map": np.random.default_rng(1).standard_normal((1, 4, 5, 6)).astype(np.float32)}
    session = OnnxSession(graph, outputs=["rois", "out"])
    found = session.run(inputs)
    assert found["out"].shape == (len(found["rois"]), 16)
    assert found["out"].sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("'feat_stride': 16", {"feat_stride": (16,)}),
        ("feat_stride: 16\nscales: [4, 8.5]", {"feat_stride": (16,), "scales": (4, 8.5)}),
        ("{'feat_stride': 8, \"ratios\": (0.5, 1)}", {"feat_stride": (8,), "ratios": (0.5, 1)}),
        ("", {}),
    ],
)
def test_settings_of_python_layers(text, found):
    assert python_settings(text) == found


@pytest.mark.parametrize("text", ["feat_stride", "a: b", "a: [1", "a: {b: 1}", "a: 1e", "a: !!python/x 1"])
def test_settings_that_are_not_numbers(text):
    with pytest.raises(CannotReadError):
        python_settings(text)


@pytest.mark.parametrize(("kind", "rest"), [
    ("Python", "python_param { module: 'mine' layer: 'ProposalLayer' param_str: \"'feat_stride': 16\" }"),
    ("Python", PYTHON % "'feat_stride': 16, 'other': 1"),
    ("Python", PYTHON % ""),
    ("Proposal", "proposal_param { feat_stride: 16 }"),
    ("Proposal", "proposal_param { ratio: 1 scale: 8 rpn_nms_post_top_n: 3 }"),
])  # fmt: skip
def test_what_is_not_the_published_layer_is_kept_to_the_letter(tmp_path, kind, rest):
    assert isinstance(graph_of(tmp_path, proposal_text(kind, rest)).node["rois"].op, Opaque)


def test_several_images_are_refused(tmp_path):
    text = proposal_text("Python", PYTHON % "'feat_stride': 16").replace("dim: 1 dim: 18", "dim: 2 dim: 18")
    with pytest.raises(Exception, match="scores have shape"):
        graph_of(tmp_path, text)
    assert Proposal(((0, 0, 1, 1),)).fixed_batch
