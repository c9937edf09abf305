"""A few definitions of each kind; `make zoo` runs all."""

from __future__ import annotations

import pytest

from tests.zoo.judge import judge
from tests.zoo.table import GROUPS, zoo

SAMPLE = (
    "cifar10_full", "caffenet", "googlenet_aux", "se_inception_bn", "resnet_cifar20", "dpn_se",
    "mobilenet_v2_relu6", "shufflenet_v2", "ssd300", "rfcn_resnet50", "mtcnn_lnet", "lightcnn29", "triplet",
    "fcn_alexnet", "icnet", "unet_valid", "casenet", "fsrcnn", "style_transfer", "dispnet", "crnn_two_ways",
    "lrcn_factored", "c3d", "netvlad", "sentence_cnn",
)  # fmt: skip


WITHOUT_A_WAY_BACK = {"ssd300", "crnn_two_ways", "lrcn_factored"}
"""Caffe at hand has no layer for what their ONNX nodes do: NonMaxSuppression, and Scan."""


@pytest.mark.parametrize("name", SAMPLE)
def test_definition(name, tmp_path, caffe_process):
    verdict = judge(zoo()[name], tmp_path, caffe_process)
    assert not verdict.refused
    assert verdict.judge in {"Caffe", "OpenCV"}
    assert verdict.blobs
    assert bool(verdict.back_refused) == (name in WITHOUT_A_WAY_BACK)


def test_there_are_enough_of_every_kind():
    found = [entry.group for entry in zoo().values()]
    assert len(found) >= 150
    assert all(found.count(group) >= 15 for group in GROUPS)
