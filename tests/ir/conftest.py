"""One Caffe process for all tests of this folder, replaced after a crash."""

from __future__ import annotations

import pytest

from tests.oracle.caffe_shapes import Judge


@pytest.fixture(scope="package")
def judge(caffe_python, tmp_path_factory):
    found = Judge(caffe_python, tmp_path_factory.mktemp("ops"))
    yield found
    found.process.close()
