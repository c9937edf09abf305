"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
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
settings.register_profile("quick", derandomize=True, deadline=None, max_examples=10)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


_QUICK_CASES = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--quick``, which `make quick` gives."""
    parser.addoption(
        "--quick",
        action="store_true",
        help=f"every test, but for those marked slow, with the first {_QUICK_CASES} of its cases",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Lets property tests that say no number of their own draw fewer examples in a quick run."""
    if config.getoption("quick"):
        settings.load_profile("quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a quick run, leaves out slow tests and all but the first cases of each test."""
    if not config.getoption("quick"):
        return
    cases = Counter[str]()
    kept, left_out = [], []
    for item in items:
        test = item.nodeid.partition("[")[0]
        slow = item.get_closest_marker("slow") is not None
        (left_out if slow or cases[test] >= _QUICK_CASES else kept).append(item)
        cases[test] += not slow
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leaves what collecting ten thousand tests has made out of every later search for garbage."""
    del session
    gc.collect()
    gc.freeze()


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
    """One Caffe process for all tests of a worker, replaced after a crash."""
    if not _caffe_processes[-1].alive:
        _caffe_processes.append(CaffeProcess(caffe_python))
    return _caffe_processes[-1]
