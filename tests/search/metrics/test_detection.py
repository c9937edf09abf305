"""Boxes against pycocotools, against the rule of VOC's development kit in plain loops, and against the original net."""

from __future__ import annotations

import contextlib
import io
from fractions import Fraction

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nuqconv.errors import EvaluatorError
from nuqconv.search.metrics import Boxes, Tally, parse_metric
from tests.support.pictures import as_output, random_set


def measured(text, truths, rows, batch=5):
    tally = Tally(parse_metric(text))
    for start in range(0, len(truths), batch):
        part = slice(start, start + batch)
        tally.update({"found": as_output(rows[part])}, tuple(truths[part]))
    return tally.value()


def in_pycocotools(truths, rows, iou=None, most=100):
    """COCO's own evaluation, on pictures of one unit."""

    def sides(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    objects = [
        {"image_id": picture, "category_id": int(label), "bbox": sides(box), "iscrowd": int(crowd), "area": 1.0}
        for picture, truth in enumerate(truths)
        for label, box, crowd in zip(truth.classes, truth.boxes.tolist(), truth.crowd, strict=True)
    ]
    detections = [
        {"image_id": picture, "category_id": int(row[1]), "score": row[2], "bbox": sides(row[3:])}
        for picture, table in enumerate(rows)
        for row in table.astype(np.float64).tolist()
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": picture} for picture in range(len(truths))],
            "categories": [{"id": label} for label in range(1, 10)],
            "annotations": [{**item, "id": number + 1} for number, item in enumerate(objects)],
        }
        coco.createIndex()
        found = COCO()
        found.dataset = {
            **coco.dataset,
            "annotations": [
                {**item, "id": number + 1, "iscrowd": 0, "area": item["bbox"][2] * item["bbox"][3]}
                for number, item in enumerate(detections)
            ],
        }
        found.createIndex()
        evaluation = COCOeval(coco, found, "bbox")
        evaluation.params.maxDets = [most]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        if iou is not None:
            evaluation.params.iouThrs = np.array([iou])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    return precision[precision > -1].mean()


@pytest.mark.parametrize("grid", [True, False])
@pytest.mark.parametrize("seed", range(15))
def test_coco_ap_is_that_of_pycocotools(seed, grid):
    """On a grid boxes are equal and overlap exactly by a threshold; scores have eight values; a fifth are crowds; pictures are empty."""
    truths, rows = random_set(seed, grid=grid)
    assert any(len(truth) == 0 for truth in truths)
    assert any(truth.crowd.any() for truth in truths)
    expected = in_pycocotools(truths, rows)
    assert 0.05 < expected < 0.95
    assert measured("coco_ap", truths, rows) == pytest.approx(expected, abs=1e-12)
    assert measured("coco_ap:iou=0.5", truths, rows) == pytest.approx(in_pycocotools(truths, rows, 0.5), abs=1e-12)
    assert measured("coco_ap:most=1", truths, rows) == pytest.approx(in_pycocotools(truths, rows, most=1), abs=1e-12)


def test_coco_ap_of_a_large_set():
    truths, rows = random_set(77, pictures=300, classes=8, grid=False)
    assert measured("coco_ap", truths, rows, 64) == pytest.approx(in_pycocotools(truths, rows), abs=1e-12)


def overlap(one, two, pixel):
    """The development kit's: ends are inclusive where it counts in pixels."""
    width = min(one[2], two[2]) - max(one[0], two[0]) + pixel
    height = min(one[3], two[3]) - max(one[1], two[1]) + pixel
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (one, two)]
    return width * height / (areas[0] + areas[1] - width * height)


def by_vocs_rule(truths, rows, *, points, iou=0.5, pixels=False):
    """VOCevaldet of the development kits 2007 (11 points) and 2010 (area), as published, object by object; exact fractions."""
    averages = []
    for label in sorted({int(c) for truth in truths for c in truth.classes[~truth.difficult]}):
        wanted = sum(int(((truth.classes == label) & ~truth.difficult).sum()) for truth in truths)
        detections = [
            (-row[2], p, row[3:]) for p, table in enumerate(rows) for row in table.tolist() if row[1] == label
        ]
        taken, found, given, curve = set(), 0, 0, []
        for _, picture, box in sorted(detections, key=lambda item: item[0]):
            truth, best, place = truths[picture], 0.0, None
            scale = [640, 480, 640, 480] if pixels else [1, 1, 1, 1]
            for number, other in enumerate(truth.boxes.tolist()):
                if truth.classes[number] == label:
                    ends = [[a * b for a, b in zip(corners, scale, strict=True)] for corners in (box, other)]
                    size = overlap(*ends, int(pixels))
                    if size > best:
                        best, place = size, number
            if best >= iou:
                if truth.difficult[place]:
                    continue
                given += 1
                found += (picture, place) not in taken
                taken.add((picture, place))
            else:
                given += 1
            curve.append((Fraction(found, wanted), Fraction(found, given)))
        if points == 11:
            best = [max((p for r, p in curve if r >= Fraction(t, 10)), default=Fraction(0)) for t in range(11)]
            averages.append(sum(best) / 11)
        else:
            area, before = Fraction(0), Fraction(0)
            for recall in sorted({r for r, _ in curve}):
                area += (recall - before) * max(p for r, p in curve if r >= recall)
                before = recall
            averages.append(area)
    return float(sum(averages) / len(averages))


@pytest.mark.parametrize("grid", [True, False])
@pytest.mark.parametrize("seed", range(15))
def test_voc_map_is_by_the_rule(seed, grid):
    truths, rows = random_set(seed + 100, grid=grid)
    assert any(truth.difficult.any() for truth in truths)
    values = []
    for text, options in (
        ("voc_map", {"points": 0}),
        ("voc_map:points=11", {"points": 11}),
        ("voc_map:points=11,pixels", {"points": 11, "pixels": True}),
        ("voc_map:iou=0.75", {"points": 0, "iou": 0.75}),
    ):
        values.append(by_vocs_rule(truths, rows, **options))
        assert measured(text, truths, rows) == pytest.approx(values[-1], abs=1e-12)
    assert len(set(values)) > 1


def test_recalls_of_three_tenths_are_reached():
    """0.1 * 3 is more than 3 / 10 in floats."""
    truth = Boxes([1] * 10, [[x / 10, 0, (x + 1) / 10, 1] for x in range(10)])
    rows = [np.array([[0, 1, 1 - x / 20, x / 10, 0, (x + 1) / 10, 1] for x in range(3)], np.float32)]
    assert measured("voc_map:points=11", [truth], rows) == pytest.approx(4 / 11, abs=1e-12)


def test_detections_against_the_original_net():
    """Written out by hand: one found again, one moved too far, one of another class, one new, one too faint to count."""
    original = np.array(
        [
            [0, 1, 0.9, 0, 0, 0.5, 0.5],
            [0, 1, 0.8, 0.5, 0.5, 1, 1],
            [0, 2, 0.7, 0, 0, 0.5, 0.5],
            [1, 1, 0.2, 0, 0, 1, 1],
        ],
        np.float32,
    )
    other = np.array(
        [
            [0, 1, 0.7, 0, 0, 0.5, 0.4],
            [0, 1, 0.6, 0.8, 0.8, 1.3, 1.3],
            [0, 3, 0.9, 0, 0, 0.5, 0.5],
            [0, 1, 0.5, 0, 0, 0.5, 0.5],
        ],
        np.float32,
    )
    metric = parse_metric("detections")
    kept = metric.keep({"found": original[None, None]}, 2)
    assert len(kept["found"]) == 3
    tally = Tally(metric)
    tally.update({"found": other[None, None]}, reference=kept, count=2)
    assert tally.value() == pytest.approx(2 * 1 / (3 + 4))
    same = Tally(metric)
    same.update({"found": original[None, None]}, reference=kept, count=2)
    assert same.value() == 1
    # Both see nothing in the second picture; only the first one differs.
    assert metric.differing(same.terms, tally.terms).tolist() == [True, False]


@pytest.mark.parametrize("seed", range(10))
def test_detections_are_the_f1_of_plain_loops(seed):
    _, rows = random_set(seed + 200)
    random = np.random.default_rng(seed)
    others = [table[random.random(len(table)) < 0.8] for table in rows]
    for table in others:
        table[:, 3:] += random.uniform(-0.05, 0.05, (len(table), 4))
    common = 0
    for one, two in zip(others, rows, strict=True):
        free = [row for row in two.tolist() if row[2] >= 0.25]
        for row in sorted((row for row in one.tolist() if row[2] >= 0.25), key=lambda row: -row[2]):
            fitting = [(overlap(row[3:], other[3:], 0), other) for other in free if other[1] == row[1]]
            best = max(fitting, key=lambda item: item[0], default=(0.0, None))
            if best[0] >= 0.5:
                free.remove(best[1])
                common += 1
    counts = [sum(int((table[:, 2] >= 0.25).sum()) for table in tables) for tables in (others, rows)]
    metric, tally = parse_metric("detections"), Tally(parse_metric("detections"))
    for start in range(0, len(rows), 5):
        kept = metric.keep({"f": as_output(rows[start : start + 5])}, 5)
        tally.update({"f": as_output(others[start : start + 5])}, reference=kept, count=len(rows[start : start + 5]))
    assert 0 < common < counts[0]
    assert tally.value() == pytest.approx(2 * common / sum(counts), abs=1e-12)


def test_nothing_found_in_any_picture():
    empty = as_output([np.zeros((0, 7), np.float32)] * 2)
    filled = np.zeros((1, 1, 2, 7), np.float32)
    truths = (Boxes([1], [[0, 0, 1, 1]]), Boxes([], []))
    for output in (empty, filled):
        for text in ("voc_map", "coco_ap"):
            tally = Tally(parse_metric(text))
            tally.update({"found": output}, truths)
            assert tally.value() == 0
        metric = parse_metric("detections")
        tally = Tally(metric)
        tally.update({"found": output}, reference=metric.keep({"found": output}, 2), count=2)
        assert tally.value() == 1


@pytest.mark.parametrize("text", ["voc_map", "coco_ap"])
def test_no_object_is_wanted(text):
    tally = Tally(parse_metric(text))
    hidden = Boxes([1], [[0, 0, 1, 1]], [True], [True])
    tally.update({"found": as_output([np.zeros((0, 7), np.float32)])}, (hidden,))
    with pytest.raises(EvaluatorError, match="no object is wanted in any of the pictures"):
        tally.value()


@pytest.mark.parametrize(
    ("text", "output", "truths", "words"),
    [
        ("voc_map", np.zeros((2, 10), np.float32), (Boxes([], []),), r"boxes of a DetectionOutput layer.*found \(2, 10\)"),
        ("voc_map", np.float32([[[[3, 1, 1, 0, 0, 1, 1]]]]), (Boxes([], []),), "detections are of picture 3, in a batch of 1"),
        ("coco_ap", np.float32([[[[0, 1, np.nan, 0, 0, 1, 1]]]]), (Boxes([], []),), "hold NaN"),
        ("coco_ap", np.float32([[[[0, 1, 1, 0, 0, 1, 1]]]]), (7,), "the label of sample 0 is int, expected the objects"),
        ("voc_map:pixels", np.float32([[[[0, 1, 1, 0, 0, 1, 1]]]]), (Boxes([1], [[0, 0, 1, 1]]),), "size of the picture is not known"),
    ],
)  # fmt: skip
def test_what_is_no_detection_is_refused(text, output, truths, words):
    with pytest.raises(EvaluatorError, match=words):
        Tally(parse_metric(text)).update({"found": output}, truths)
