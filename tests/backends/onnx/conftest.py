"""What judges the tests of this folder: real Caffe."""

from __future__ import annotations

import pytest

from tests.oracle.caffe_layers import Oracle


@pytest.fixture
def oracle(caffe_process, tmp_path):
    return Oracle(caffe_process, tmp_path)
