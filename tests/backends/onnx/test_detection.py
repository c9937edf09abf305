"""DetectionOutput against OpenCV, and against a plain loop of the published layer for what OpenCV does otherwise or lacks."""

from __future__ import annotations

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
from tests.support.detections import assert_same_detections, in_caffes_order

from .test_detection_prior_box import prior_text

COUNT, CLASSES = 24, 4


def detection_text(param, batch=2, groups=1, count=COUNT, classes=CLASSES):
    text = [
        inputs_text(loc=(batch, count * groups * 4), conf=(batch, count * classes), priors=(1, 2, count * 4, 1)),
        layer_text(
            "DetectionOutput",
            f"detection_output_param {{ num_classes: {classes} {param} }}",
            bottoms=("loc", "conf", "priors"),
        ),
    ]
    return "\n".join(text)


def detection_inputs(batch=2, groups=1, count=COUNT, classes=CLASSES, seed=0):
    rng = np.random.default_rng(seed)
    middle, size = rng.uniform(0.2, 0.8, (count, 2)), rng.uniform(0.1, 0.5, (count, 2))
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    variances = np.broadcast_to([0.1, 0.12, 0.2, 0.25], boxes.shape)
    scores = rng.uniform(0, 1, (batch, count, classes))
    arrays = {
        "loc": rng.standard_normal((batch, count * groups * 4)) / 2,
        "conf": (scores / scores.sum(axis=2, keepdims=True)).reshape(batch, -1),
        "priors": np.stack([boxes.ravel(), variances.ravel()])[np.newaxis, ..., np.newaxis],
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def decode(code, loc, prior, variance, encoded):
    factors = np.ones(4, np.float32) if encoded else variance
    size = prior[2:] - prior[:2]
    if code == "CORNER":
        return prior + factors * loc
    if code == "CORNER_SIZE":
        return prior + factors * loc * np.tile(size, 2)
    centre = factors[:2] * loc[:2] * size + (prior[:2] + prior[2:]) / 2
    half = np.exp(factors[2:] * loc[2:]) * size / 2
    return np.concatenate([centre - half, centre + half])


def overlap(one, two):
    low, high = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    if (high - low).min() <= 0:
        return 0.0
    areas = [0.0 if (box[2:] < box[:2]).any() else float(np.prod(box[2:] - box[:2])) for box in (one, two)]
    inner = float(np.prod(high - low))
    return inner / (sum(areas) - inner)


def published(inputs, classes=CLASSES, *, shared=True, background=0, nms=0.3, top=-1, code="CORNER", encoded=False,
              keep=-1, confidence=-np.inf):  # fmt: skip
    """The published Caffe layer in plain loops."""
    batch = len(inputs["loc"])
    priors, variances = inputs["priors"].reshape(2, -1, 4)
    loc = inputs["loc"].reshape(batch, len(priors), 1 if shared else classes, 4)
    conf = inputs["conf"].reshape(batch, len(priors), classes)
    rows = []
    for image in range(batch):
        found = []
        for label in range(classes):
            if label == background:
                continue
            boxes = [
                decode(code, loc[image, n, 0 if shared else label], priors[n], variances[n], encoded)
                for n in range(len(priors))
            ]
            order = sorted((n for n in range(len(priors)) if conf[image, n, label] > confidence),
                           key=lambda n: -conf[image, n, label])  # fmt: skip
            kept = []
            for n in order[:top] if top > -1 else order:
                if all(overlap(boxes[n], boxes[other]) <= nms for other in kept):
                    kept.append(n)
            found += [(image, label, conf[image, n, label], *boxes[n]) for n in kept]
        if -1 < keep < len(found):
            best = sorted(range(len(found)), key=lambda n: -found[n][2])[:keep]
            found = [found[n] for n in sorted(best)]
        rows += found
    if not rows:
        rows = [(image, *[-1] * 6) for image in range(batch)]
    return np.array(rows, np.float32)[np.newaxis, np.newaxis]


NMS = "nms_param { nms_threshold: 0.45 top_k: 20 }"
CASES = [
    ("", {}),
    ("code_type: CENTER_SIZE", {"code": "CENTER_SIZE"}),
    ("code_type: CORNER_SIZE", {"code": "CORNER_SIZE"}),
    ("code_type: CORNER variance_encoded_in_target: true", {"encoded": True}),
    ("code_type: CENTER_SIZE variance_encoded_in_target: true", {"code": "CENTER_SIZE", "encoded": True}),
    ("code_type: CORNER_SIZE variance_encoded_in_target: true", {"code": "CORNER_SIZE", "encoded": True}),
    ("nms_param { nms_threshold: 0.6 }", {"nms": 0.6}),
    ("nms_param { nms_threshold: 0 }", {"nms": 0.0}),
    ("nms_param { nms_threshold: 1 }", {"nms": 1.0}),
    ("nms_param { top_k: 5 }", {"top": 5}),
    ("nms_param { top_k: 1000 eta: 1 }", {"top": 1000}),
    ("nms_param { top_k: -1 }", {}),
    ("keep_top_k: 7", {"keep": 7}),
    ("keep_top_k: 1", {"keep": 1}),
    ("keep_top_k: 1000", {"keep": 1000}),
    ("confidence_threshold: 0.3", {"confidence": 0.3}),
    ("confidence_threshold: 0.3 keep_top_k: 7 nms_param { top_k: 4 }", {"confidence": 0.3, "keep": 7, "top": 4}),
    ("confidence_threshold: 0.55 keep_top_k: 30", {"confidence": 0.55, "keep": 30}),
    ("background_label_id: 2", {"background": 2}),
    ("background_label_id: 7", {"background": 7}),
    ("background_label_id: 3 keep_top_k: 9", {"background": 3, "keep": 9}),
    (f"{NMS} code_type: CENTER_SIZE keep_top_k: 15 confidence_threshold: 0.1",
     {"nms": 0.45, "top": 20, "code": "CENTER_SIZE", "keep": 15, "confidence": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("param", "meaning"), CASES)
def test_detection_output(tmp_path, param, meaning, shared):
    groups = 1 if shared else CLASSES
    text = detection_text(f"share_location: {str(shared).lower()} {param}", groups=groups)
    inputs = detection_inputs(groups=groups)
    session = OnnxSession(graph_of(tmp_path, text))
    found = session.run(inputs)["out"]
    expected = published(inputs, shared=shared, **meaning)
    assert found.shape == expected.shape
    assert (found[0, 0, :, 0] == 1).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    "param",
    [
        "code_type: CENTER_SIZE",
        "code_type: CORNER",
        "code_type: CENTER_SIZE variance_encoded_in_target: true",
        "code_type: CORNER variance_encoded_in_target: true",
        "code_type: CENTER_SIZE confidence_threshold: 0.3 nms_param { nms_threshold: 0.45 top_k: 4 }",
        "code_type: CENTER_SIZE background_label_id: 2",
        "code_type: CENTER_SIZE background_label_id: 7",
    ],
)
@pytest.mark.parametrize("keep", [11, 400])
def test_detection_output_is_opencvs(tmp_path, param, keep, shared):
    groups = 1 if shared else CLASSES
    nms = "" if "nms_param" in param else NMS
    if "background_label_id" not in param:
        param += " background_label_id: 0"
    text = detection_text(f"share_location: {str(shared).lower()} {param} keep_top_k: {keep} {nms}", groups=groups)
    inputs = detection_inputs(groups=groups, seed=1)
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    if "variance_encoded" in param:
        # OpenCV then wants the boxes alone.
        text, inputs = text.replace("dim: 1 dim: 2", "dim: 1 dim: 1"), {**inputs, "priors": inputs["priors"][:, :1]}
    expected = in_caffes_order(opencv_run(tmp_path, text, inputs))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_nothing_found(tmp_path, batch):
    """The published layer then makes one row of -1 for each image; OpenCV gives zeros."""
    text = detection_text("confidence_threshold: 0.99", batch=batch)
    inputs = detection_inputs(batch=batch)
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    np.testing.assert_array_equal(found, published(inputs, confidence=0.99))
    assert found.shape == (1, 1, batch, 7)


def test_an_image_without_detections_beside_one_with(tmp_path):
    text, inputs = detection_text("confidence_threshold: 0.5"), detection_inputs()
    inputs["conf"][0] = 0.1
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    assert set(found[0, 0, :, 0]) == {1.0}
    np.testing.assert_allclose(found, published(inputs, confidence=0.5), rtol=1e-5, atol=1e-6)


def test_equal_confidences_go_by_number(tmp_path):
    text, inputs = detection_text("nms_param { top_k: 6 nms_threshold: 0.5 }"), detection_inputs()
    inputs["conf"][:] = np.float32(0.25)
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    np.testing.assert_allclose(found, published(inputs, top=6, nms=0.5), rtol=1e-5, atol=1e-6)


def test_boxes_that_end_before_they_begin_overlap_nothing(tmp_path):
    text, inputs = detection_text("confidence_threshold: 0"), detection_inputs()
    priors = inputs["priors"].reshape(2, -1, 4)
    priors[0, ::2] = priors[0, ::2][:, [2, 1, 0, 3]]
    priors[0, ::3] = priors[0, ::3][:, [0, 3, 2, 1]]
    inputs["loc"] *= np.float32(0.1)
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    np.testing.assert_allclose(found, published(inputs, confidence=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_any_batch_and_every_opset(tmp_path, shared):
    groups = 1 if shared else CLASSES
    text = "\n".join([
        inputs_text(loc=(1, COUNT * groups * 4), conf=(1, COUNT * CLASSES)),
        layer_text("Reshape", f"reshape_param {{ shape {{ dim: [0, {4 * groups}, 12, 2] }} }}", bottoms=("loc",), name="map"),
        layer_text("PriorBox", "prior_box_param { min_size: 20 step: 7 }", bottoms=("map", "map"),
                   name="priors"),
        layer_text("DetectionOutput", f"detection_output_param {{ num_classes: {CLASSES} {NMS} keep_top_k: 9 "
                   f"share_location: {str(shared).lower()} code_type: CENTER_SIZE }}",
                   bottoms=("loc", "conf", "priors")),
    ])  # fmt: skip
    graph = graph_of(tmp_path, text)
    assert not batch_problems(graph)
    inputs = {name: array for name, array in detection_inputs(3, groups).items() if name != "priors"}
    priors = OnnxSession(graph, outputs=["priors"]).run(inputs)["priors"]
    expected = published({**inputs, "priors": priors}, shared=shared, nms=0.45, top=20, keep=9, code="CENTER_SIZE")
    for opset in opsets(13, 15, 17, 18, 20, 22):
        model = to_onnx(graph, opset=opset, dynamic_batch=True)
        assert [dim.dim_param or dim.dim_value for dim in model.graph.output[-1].type.tensor_type.shape.dim] == [
            1, 1, "detections", 7,
        ]  # fmt: skip
        found = OnnxSession(model).run(inputs)["out"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("param", "reason"),
    [
        ("nms_param { eta: 0.9 }", "eta 0.9"),
        ("nms_param { nms_threshold: 1.5 }", "nms_threshold"),
        ("nms_param { nms_threshold: -1 }", "nms_threshold"),
        ("nms_param { top_k: 0 }", "top_k 0"),
        ("keep_top_k: 0", "keep_top_k 0"),
        ("background_label_id: -1", "decodes no box"),
    ],
)
def test_detection_output_refused(tmp_path, param, reason):
    graph = graph_of(tmp_path, detection_text(param))
    assert reason in graph.node["out"].op.reason
    with pytest.raises(UnsupportedError, match=r"out.*DetectionOutput"):
        to_onnx(graph)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ({"loc": (2, 95), "conf": (2, 96), "priors": (1, 2, 96)}, "locations have shape"),
        ({"loc": (2, 96), "conf": (2, 95), "priors": (1, 2, 96)}, "confidences have shape"),
        ({"loc": (2, 96), "conf": (2, 96), "priors": (1, 1, 96)}, "default boxes have shape"),
        ({"loc": (2, 96), "conf": (1, 96), "priors": (1, 2, 96)}, "of 2 images"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, shapes, reason):
    layer = layer_text("DetectionOutput", "detection_output_param { num_classes: 4 }", bottoms=tuple(shapes))
    with pytest.raises(ModelError, match=reason):
        graph_of(tmp_path, inputs_text(**shapes) + "\n" + layer)


def test_nothing_behind_detections_has_a_shape(tmp_path):
    text = detection_text("") + "\n" + layer_text("Flatten", bottoms=("out",), name="flat")
    graph = graph_of(tmp_path, text)
    assert graph.shapes["out"] is graph.shapes["flat"] is None
    with pytest.raises(UnsupportedError, match="not known"):
        to_onnx(graph)


def test_fields_that_only_say_where_to_save_change_nothing(tmp_path):
    saving = (
        'save_output_param { label_map_file: "map.prototxt" } visualize: true visualize_threshold: 0.6 save_file: "x"'
    )
    graph = graph_of(tmp_path, detection_text(saving))
    assert graph.node["out"].op == graph_of(tmp_path, detection_text("")).node["out"].op
    assert saving in graph.node["out"].origin.text


@pytest.mark.parametrize(("param", "name"), [("no_permute: true", "no_permute"), ("nms_param { soft: true }", "soft")])
def test_fields_of_other_forks_make_the_layer_opaque(tmp_path, param, name):
    op = graph_of(tmp_path, detection_text(param)).node["out"].op
    assert isinstance(op, Opaque)
    assert name in op.reason


def test_the_objectness_of_three_bottoms_changes_nothing(tmp_path):
    """RefineDet's layer looks at it with the bottoms behind them only."""
    op = graph_of(tmp_path, detection_text("objectness_score: 0.5")).node["out"].op
    assert op == graph_of(tmp_path, detection_text("")).node["out"].op


def test_whole_models_pass_the_full_check(tmp_path):
    text = (
        prior_text("min_size: 60", (3, 5), (50, 70))
        + "\n"
        + detection_text("keep_top_k: 7 nms_param { top_k: 5 }").replace('"out"', '"found"')
    )
    graph = graph_of(tmp_path, text)
    for opset in opsets(13):
        onnx.checker.check_model(to_onnx(graph, opset=opset), full_check=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_parameters(tmp_path, data):
    """Random parameters and boxes; OpenCV agrees with the loop where it has the parameters (above)."""
    draw = data.draw
    batch, count, classes = draw(st.integers(1, 3)), draw(st.integers(1, 40)), draw(st.integers(2, 5))
    code, shared = draw(st.sampled_from(["CORNER", "CENTER_SIZE", "CORNER_SIZE"])), draw(st.booleans())
    background, encoded = draw(st.integers(0, classes)), draw(st.booleans())
    nms, confidence = draw(st.sampled_from([0.0, 0.2, 0.45, 0.9])), draw(st.sampled_from([0.0, 0.1, 0.3, 0.6]))
    top, keep = (draw(st.sampled_from([-1, 1, 3, 10, 200])) for _ in range(2))
    groups = 1 if shared else classes
    param = (
        f"share_location: {str(shared).lower()} background_label_id: {background} code_type: {code} keep_top_k: {keep} "
        f"variance_encoded_in_target: {str(encoded).lower()} confidence_threshold: {confidence} "
        f"nms_param {{ nms_threshold: {nms} top_k: {top} }}"
    )
    inputs = detection_inputs(batch, groups, count, classes, seed=draw(st.integers(0, 10**6)))
    text = detection_text(param, batch, groups, count, classes)
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    expected = published(inputs, classes, shared=shared, background=background, nms=np.float32(nms), top=top, code=code,
                         encoded=encoded, keep=keep, confidence=np.float32(confidence))  # fmt: skip
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_default_boxes_of_several_images_are_those_of_the_first(tmp_path):
    inputs = detection_inputs()
    expected = published(inputs)
    inputs["priors"] = np.concatenate([inputs["priors"], inputs["priors"][::-1] + np.float32(0.3)])
    text = detection_text("").replace("dim: 1 dim: 2 dim: 96", "dim: 2 dim: 2 dim: 96")
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rest", ["nms_threshold: 0.6 top_k: 5", "nms_param { nms_threshold: 0.6 } top_k: 5",
                                  "nms_param { top_k: 5 } nms_threshold: 0.6"])  # fmt: skip
def test_limits_beside_nms_param_are_read_as_opencv_reads_them(tmp_path, rest):
    text, inputs = detection_text(f"{rest} keep_top_k: 200 confidence_threshold: 0.01"), detection_inputs()
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    np.testing.assert_allclose(found, published(inputs, nms=0.6, top=5, confidence=0.01), rtol=1e-5, atol=1e-6)
    theirs = in_caffes_order(opencv_run(tmp_path, text, inputs))
    assert_same_detections(found, theirs)


def test_limits_that_contradict_each_other_are_kept_to_the_letter(tmp_path):
    text = detection_text("nms_param { top_k: 5 } top_k: 6")
    assert isinstance(graph_of(tmp_path, text).node["out"].op, Opaque)


@pytest.mark.parametrize("code", ["CENTER_SIZE", "CORNER"])
def test_refined_boxes(tmp_path, code):
    """RefineDet: default boxes are moved by the first step's locations, and boxes without an object have no class."""
    inputs = detection_inputs()
    rng = np.random.default_rng(5)
    sure = rng.uniform(0, 1, (2, COUNT)).astype(np.float32)
    inputs["arm_conf"] = np.stack([1 - sure, sure], -1).reshape(2, -1)
    inputs["arm_loc"] = (rng.standard_normal((2, COUNT * 4)) / 3).astype(np.float32)
    shapes = {name: array.shape for name, array in inputs.items()}
    param = f"num_classes: {CLASSES} code_type: {code} confidence_threshold: 0.01 objectness_score: 0.4"
    layer = layer_text("DetectionOutput", f"detection_output_param {{ {param} }}", bottoms=tuple(shapes))
    text = inputs_text(**shapes) + "\n" + layer
    found = OnnxSession(graph_of(tmp_path, text)).run(inputs)["out"]
    priors, variances = inputs["priors"].reshape(2, -1, 4)
    expected = []
    for image in range(2):
        first = inputs["arm_loc"][image].reshape(-1, 4)
        moved = np.stack([decode(code, first[n], priors[n], variances[n], False) for n in range(COUNT)])
        conf = inputs["conf"][image].reshape(COUNT, CLASSES).copy()
        conf[sure[image] < np.float32(0.4)] = [1, *[0] * (CLASSES - 1)]
        one = {
            "loc": inputs["loc"][image : image + 1], "conf": conf.reshape(1, -1),
            "priors": np.stack([moved.ravel(), variances.ravel()])[np.newaxis],
        }  # fmt: skip
        rows = published(one, code=code, confidence=0.01)[0, 0]
        rows[:, 0] = image
        expected.append(rows)
    np.testing.assert_allclose(found[0, 0], np.concatenate(expected), rtol=1e-4, atol=1e-5)


YOLO_V3 = (
    "yolov3_detection_output_param {{ num_classes: 3 confidence_threshold: {} nms_threshold: 0.45 "
    "biases: [10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319] mask: [3, 4, 5, 0, 1, 2] anchors_scale: [32, 16] mask_group_num: 2 }}"
)
YOLO_V2 = (
    "yolo_detection_output_param {{ num_classes: 3 num_box: 2 coords: 4 confidence_threshold: {} nms_threshold: 0.45 "
    "biases: [1.08, 1.19, 3.42, 4.41] }}"
)


def sigmoid(value):
    return 1 / (1 + np.exp(-np.float64(value)))


def yolo(maps, anchors, confidence, *, exclusive):
    """The published layers, a box at a time; anchors are parts of the image."""
    found = []
    for data, boxes in zip(maps, anchors, strict=True):
        height, width = data.shape[2:]
        rows = data[0].reshape(len(boxes), -1, height, width)
        for y in range(height):
            for x in range(width):
                for n, anchor in enumerate(boxes):
                    tx, ty, tw, th, sure, *classes = rows[n, :, y, x].astype(np.float64)
                    middle = ((x + sigmoid(tx)) / width, (y + sigmoid(ty)) / height)
                    size = (np.exp(tw) * anchor[0], np.exp(th) * anchor[1])
                    box = [
                        middle[0] - size[0] / 2,
                        middle[1] - size[1] / 2,
                        middle[0] + size[0] / 2,
                        middle[1] + size[1] / 2,
                    ]
                    if exclusive:
                        parts = np.exp(np.array(classes)) / np.exp(np.array(classes)).sum()
                        score = sigmoid(sure) * parts.max()
                        found += [(score, int(parts.argmax()), box)] if score >= confidence else []
                    else:
                        scores = [sigmoid(sure) * sigmoid(one) for one in classes]
                        found += [(score, label, box) for label, score in enumerate(scores) if score > confidence]
    found.sort(key=lambda item: -item[0])
    kept = []
    for score, label, box in found:
        if all(overlap(np.array(box), np.array(other)) < 0.45 for _, _, other in kept):
            kept.append((score, label, box))
    rows = [(0, label + 1, score, *box) for score, label, box in kept] or [(0, *[-1] * 6)]
    return np.array(rows, np.float32)[np.newaxis, np.newaxis]


@pytest.mark.parametrize("opset", opsets(13, 17))
@pytest.mark.parametrize("confidence", [0.35, 0.9999])
@pytest.mark.parametrize("version", [2, 3])
def test_yolo(tmp_path, version, confidence, opset):
    rng = np.random.default_rng(version)
    if version == 3:
        shapes = {"coarse": (1, 24, 4, 4), "fine": (1, 24, 8, 8)}
        text = layer_text("Yolov3DetectionOutput", YOLO_V3.format(confidence), bottoms=tuple(shapes))
        pixels = [(10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)]
        anchors = [[(w / 128, h / 128) for w, h in group] for group in (pixels[3:], pixels[:3])]
    else:
        shapes = {"map": (1, 16, 5, 5)}
        text = layer_text("YoloDetectionOutput", YOLO_V2.format(confidence), bottoms=tuple(shapes))
        anchors = [[(1.08 / 5, 1.19 / 5), (3.42 / 5, 4.41 / 5)]]
    inputs = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    graph = graph_of(tmp_path, inputs_text(**shapes) + "\n" + text)
    model = to_onnx(graph, opset=opset)
    onnx.checker.check_model(model)
    found = OnnxSession(model).run(inputs)["out"]
    expected = yolo(list(inputs.values()), anchors, confidence, exclusive=version == 2)
    assert (len(expected[0, 0]) > 3) == (confidence < 0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", [
    YOLO_V3.format(0.3).replace("mask_group_num: 2", "mask_group_num: 3"),
    YOLO_V3.format(0.3).replace("[32, 16]", "[32]"),
    YOLO_V3.format(0.3).replace("[3, 4, 5, 0, 1, 2]", "[3, 4, 5, 0, 1, 9]"),
    YOLO_V3.format(7),
])  # fmt: skip
def test_yolo_that_is_not_understood_is_kept_to_the_letter(tmp_path, text):
    net = (
        inputs_text(a=(1, 24, 2, 2), b=(1, 24, 4, 4))
        + "\n"
        + layer_text("Yolov3DetectionOutput", text, bottoms=("a", "b"))
    )
    assert isinstance(graph_of(tmp_path, net).node["out"].op, Opaque)


def test_yolo_of_several_images_is_refused(tmp_path):
    net = (
        inputs_text(a=(2, 24, 2, 2), b=(2, 24, 4, 4))
        + "\n"
        + layer_text("Yolov3DetectionOutput", YOLO_V3.format(0.3), bottoms=("a", "b"))
    )
    with pytest.raises(ModelError, match="expected 1 x 24"):
        graph_of(tmp_path, net)
