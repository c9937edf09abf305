"""MobileNetSSD, judged by boxes of photographed objects and by its own, each from one command."""

from __future__ import annotations

import json
import os

import pytest

import nuqconv
from real_models import PackageUnavailableError, model_files
from tests.support.scenes import write_scenes

pytestmark = pytest.mark.package

PREP = "bgr, resize 300x300, mean 127.5, scale 0.007843"


@pytest.fixture(scope="module")
def net():
    try:
        return [str(path) for path in model_files("mobilenet_ssd")]
    except PackageUnavailableError as error:
        if os.environ.get("NUQCONV_REQUIRE_PACKAGES") == "1":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Twelve pictures and the names of VOC's classes."""
    return [str(path) for path in write_scenes(tmp_path_factory.mktemp("scenes"), 12)]


def test_the_net_finds_the_objects_in_every_runtime(run, net, scenes, tmp_path):
    report = tmp_path / "report.json"
    values = []
    for metric in ("voc_map", "voc_map:points=11,pixels", "coco_ap"):
        ended = run(
            "evaluate", *net, "--data", scenes[0], "--labels", scenes[1], "--prep", PREP, "--metric", metric,
            "--runtime", "onnxruntime,opencv", "--batch-size", 5, "--json", report,
        )  # fmt: skip
        assert (ended.code, ended.err) == (0, "")
        one, other = json.loads(report.read_text())["sides"]
        assert one["value"] == pytest.approx(other["value"], abs=1e-6)
        assert one["differing"] == other["differing"] == []
        values.append(one["value"])
    assert values[:2] == [1, 1]
    assert 0.7 < values[2] < 0.95


@pytest.mark.parametrize("metric", ["output_error", "top1"])
def test_what_needs_a_fixed_length_is_refused_at_once(run, net, scenes, metric):
    ended = run("evaluate", *net, "--data", scenes[0], "--labels", scenes[1], "--prep", PREP, "--metric", metric)
    assert ended.code == 2
    assert (
        "take 'mbox_loc', 'mbox_conf_flatten' with outputs= (--outputs), or judge the boxes by detections, voc_map, coco_ap"
        in (" ".join(ended.err.split()))
    )


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.slow
def test_a_search_that_is_judged_by_boxes(net, scenes, tmp_path, labelled):
    """By VOC's rule with the objects of the pictures, and by the original net's boxes without labels."""
    data = nuqconv.data.ImageList(scenes[0], PREP, labels=scenes[1])
    metric = "voc_map" if labelled else "detections"
    config = tmp_path / "config.json"
    nuqconv.create_quant_config(config, *net, batch_num=2)
    with nuqconv.BatchEvaluator(data, metric=metric, max_drop=0.2, batch_size=6) as evaluator:
        result = nuqconv.auto_nuq(
            *(*net, evaluator, config, tmp_path / "record.txt", tmp_path / "out" / "net"),
            max_evaluations=2,
            journal=False,
            # The nearest levels, which are there at once: what is tried here is the metric.
            weight_method=None,
        )
    assert result.original_metric == 1
    assert result.metric >= 0.8
    assert result.difference.units == 12
    assert result.difference.estimate == pytest.approx(result.metric - 1)
    files = (result.files.fake_quant_model, result.files.fake_quant_weights)
    report = nuqconv.evaluate([tuple(net), files], data=data, metric=metric, batch_size=6)
    assert [side.value for side in report.sides] == pytest.approx([1, result.metric], abs=1e-9)
