"""What judges the tests of this folder: real Caffe."""

from __future__ import annotations

import pytest

from tests.oracle.caffe_written import Judge


@pytest.fixture
def judge(caffe_process, tmp_path):
    return Judge(caffe_process, tmp_path)
