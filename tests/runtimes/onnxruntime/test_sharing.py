"""Sessions in this process read large weights where the graph has them, and give the very numbers of sessions that copy them."""

from __future__ import annotations

import numpy as np
import pytest

from nuqconv.frontends.caffe import load_graph
from nuqconv.runtimes.onnxruntime import OnnxSession, session
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS, lenet_data


@pytest.fixture(scope="module")
def lenet():
    return load_graph(LENET_MODEL, LENET_WEIGHTS)


def test_large_weights_are_not_copied(lenet):
    made = OnnxSession(lenet)
    places = {value.data_ptr() for value in made._session.tensors}
    large = [array for array in lenet.params.values() if array.nbytes >= 1 << 16]
    assert len(large) == 2
    assert places == {array.ctypes.data for array in large}


def copying(model, threads, subject):
    """As sessions in other processes are made: of all bytes."""
    return session.session_maker(["CPUExecutionProvider"])(model, threads, subject)


def test_the_numbers_are_the_same(lenet, monkeypatch):
    inputs = {"data": lenet_data(16).inputs["data"]}
    copied = OnnxSession(lenet, create=copying).run(inputs)["prob"]
    assert np.array_equal(OnnxSession(lenet).run(inputs)["prob"], copied)
    monkeypatch.setattr(session, "_LARGE", 1)
    assert np.allclose(OnnxSession(lenet).run(inputs)["prob"], copied, rtol=1e-5, atol=1e-6)
