"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from nuqconv.runtimes.caffe import CaffeProcess, find_caffe

# A shell that starts the tests in the background has them ignore interrupts, and Python then leaves it at that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, so that a change is to blame for a new failure; `make explore` draws others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def caffe_python() -> str:
    """Interpreter with real Caffe; without one the test is skipped, or fails where NUQCONV_REQUIRE_CAFFE=1."""
    found = find_caffe()
    if found is None:
        message = "real Caffe is not there; `make caffe` gets it"
        if os.environ.get("NUQCONV_REQUIRE_CAFFE") == "1":
            pytest.fail(message + ", and NUQCONV_REQUIRE_CAFFE=1 demands it")
        pytest.skip(message)
    return found.python


@pytest.fixture(scope="session")
def _caffe_processes(caffe_python: str) -> Iterator[list[CaffeProcess]]:
    living = [CaffeProcess(caffe_python)]
    yield living
    living[-1].close()


@pytest.fixture
def caffe_process(_caffe_processes: list[CaffeProcess], caffe_python: str) -> CaffeProcess:
    """One Caffe process for all tests, replaced after a crash."""
    if not _caffe_processes[-1].alive:
        _caffe_processes.append(CaffeProcess(caffe_python))
    return _caffe_processes[-1]
