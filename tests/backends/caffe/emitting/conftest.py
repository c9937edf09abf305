"""One Caffe process for all tests of this folder, replaced after a crash."""

from __future__ import annotations

import pytest

from nuqconv.backends.caffe.runtime import CaffeProcess

from .judge import Judge


@pytest.fixture(scope="package")
def _processes(caffe_python):
    living = [CaffeProcess(caffe_python)]
    yield living
    living[-1].close()


@pytest.fixture
def judge(_processes, caffe_python, tmp_path):
    if not _processes[-1].alive:
        _processes.append(CaffeProcess(caffe_python))
    return Judge(_processes[-1], tmp_path)
