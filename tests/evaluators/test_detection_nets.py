"""MobileNetSSD, judged by boxes of photographed objects and by its own, each from one command."""

from __future__ import annotations

import json
import os

import pytest

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
