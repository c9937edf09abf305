"""Long work loses neither memory nor descriptors; ``make soak`` does it at full length and shows the numbers."""

from __future__ import annotations

import os

import pytest

from soak import FORWARDS, SEARCHES, TRIALS, caffe_forwards, onnx_forwards, pycaffe_forwards, search

WHOLE = os.environ.get("NUQCONV_WHOLE_SOAK") == "1"
# What allocators may still take after the first half.
SLACK = 8 << 20


def check(soak, kept):
    """Memory must stay but for the bytes that are kept of each trial."""
    print(f"\n{soak}")  # noqa: T201  (shown by make soak)
    assert soak.lost_descriptors == 0
    for samples, each in ((soak.resident, kept), (soak.child, 0)):
        if samples:
            half = len(samples) // 2
            assert max(samples[half:]) - samples[half] < SLACK + each * soak.count / 2
            if WHOLE:
                assert soak.slope(samples) < max(each, 1024)


@pytest.mark.slow
@pytest.mark.caffe
@pytest.mark.usefixtures("caffe_python")
def test_forward_passes_in_real_caffe():
    check(caffe_forwards(FORWARDS if WHOLE else 500), 0)


def test_forward_passes_in_the_onnxruntime_process():
    check(onnx_forwards(FORWARDS if WHOLE else 500), 0)


def test_forward_passes_through_pycaffes_face():
    check(pycaffe_forwards(FORWARDS if WHOLE else 1000), 0)


@pytest.mark.slow
@pytest.mark.parametrize("where", SEARCHES)
def test_trials(where, request):
    if "Caffe" in where:
        request.getfixturevalue("caffe_python")
    check(search(where, TRIALS if WHOLE else 200), 6000)
