"""Weights that are exchanged between runs give what a session with those weights as constants gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, InnerProduct
from nuqconv.runtimes.onnxruntime import OnnxSession
from nuqconv.runtimes.onnxruntime.exchange import ExchangeSession
from tests.backends.onnx.graphs import everything

RNG = np.random.default_rng(3)
FREE = ("conv/w", "up/w", "up/b", "fc/w", "fct/w")
OUTPUTS = ("fc", "fct", "up")


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def close(found, wanted):
    # Constant weights are laid out for another convolution algorithm, which adds up in another order.
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5 * np.abs(array).max())


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_each_exchange_is_the_network_with_those_weights():
    graph, data = everything(), {"data": floats(2, 3, 9, 9)}
    session = ExchangeSession(graph, FREE, outputs=OUTPUTS)
    assert set(session.inputs) == {"data"}
    own = session.run(data)
    close(own, OnnxSession(graph, outputs=OUTPUTS).run(data))
    for name in FREE:
        others = {name: floats(*graph.params[name].shape)}
        other = replace(graph, params={**graph.params, **others})
        found = session.run(data, weights=others)
        assert any((found[value] != own[value]).any() for value in OUTPUTS), name
        close(found, OnnxSession(other, outputs=OUTPUTS).run(data))
        same(found, ExchangeSession(other, FREE, outputs=OUTPUTS).run(data))
        same(session.run(data), own)


@given(st.lists(st.sets(st.sampled_from(FREE)), min_size=1, max_size=4), st.integers(1, 3))
def test_exchanges_leave_nothing_behind(exchanges, size):
    graph, data = everything(), {"data": np.ones((size, 3, 9, 9), np.float32)}
    session = SESSIONS.setdefault("one", ExchangeSession(graph, FREE, outputs=OUTPUTS, threads=1))
    own = session.run(data)
    for names in exchanges:
        weights = {name: -graph.params[name] for name in names}
        found = session.run(data, weights=weights)
        same(session.run(data, weights=weights), found)
        with pytest.raises(ModelError):
            session.run(data, weights={**weights, "fc/w": np.zeros((1, 2), np.float32)})
        same(session.run(data), own)


SESSIONS: dict[str, ExchangeSession] = {}


def test_results_stay_when_the_session_runs_again():
    graph, data = everything(), {"data": floats(2, 3, 9, 9)}
    session = ExchangeSession(graph, FREE, outputs=OUTPUTS)
    first = session.run(data)
    kept = {name: array.copy() for name, array in first.items()}
    session.run({"data": floats(2, 3, 9, 9)}, weights={"conv/w": floats(4, 3, 3, 3)})
    same(first, kept)


def test_one_parameter_of_two_layers():
    line = Convolution(2, (3,), (1,), (1,), (1,), bias_term=False)
    nodes = (
        Node("a", line, ("x",), ("a",), ("w",)),
        Node("b", line, ("a",), ("b",), ("w",)),
    )
    graph = Graph("shared", (Input("x", (1, 2, 5)),), nodes, {"w": floats(2, 2, 3)}, ("b",)).verify()
    data, other = {"x": floats(3, 2, 5)}, floats(2, 2, 3)
    found = ExchangeSession(graph, ["w"]).run(data, weights={"w": other})
    close(found, OnnxSession(replace(graph, params={"w": other})).run(data))


def test_weights_at_an_odd_address():
    graph = dense()
    memory = bytearray(4 * 6 + 1)
    odd = np.frombuffer(memory, np.float32, offset=1).reshape(2, 3)
    odd[...] = graph.params["w"]
    data = {"x": floats(4, 3)}
    odd.flags.writeable = False
    found = ExchangeSession(replace(graph, params={"w": odd}), ["w"]).run(data)
    same(found, ExchangeSession(graph, ["w"]).run(data))
    same(ExchangeSession(graph, ["w"]).run(data, weights={"w": odd.T.copy().T}), found)


def dense(dtype=np.float32):
    node = Node("fc", InnerProduct(2, bias_term=False), ("x",), ("y",), ("w",))
    return Graph("dense", (Input("x", (1, 3)),), (node,), {"w": floats(2, 3).astype(dtype)}, ("y",))


def test_what_cannot_be_exchanged():
    graph = everything()
    with pytest.raises(ModelError, match="no parameters 'nothing'"):
        ExchangeSession(graph, ["nothing"])
    with pytest.raises(ModelError, match="'fc/w'"):
        ExchangeSession(graph, ["fc/w"], outputs=["conv"])
    with pytest.raises(UnsupportedError, match=r"'scale/w': .*'scale'"):
        ExchangeSession(graph, ["conv/w", "scale/w"], outputs=OUTPUTS)
    with pytest.raises(UnsupportedError, match="'w' is int8"):
        ExchangeSession(dense(np.int8), ["w"])


def test_what_a_run_refuses():
    session = ExchangeSession(everything(), ["conv/w"], outputs=["conv"])
    data = {"data": floats(2, 3, 9, 9)}
    with pytest.raises(ModelError, match="'fc/w' are constants"):
        session.run(data, weights={"fc/w": floats(5, 72)})
    with pytest.raises(ModelError, match=r"float64 of shape \(4, 3, 3, 3\)"):
        session.run(data, weights={"conv/w": np.zeros((4, 3, 3, 3))})
    with pytest.raises(ModelError, match=r"expected float32 of shape \(4, 3, 3, 3\)"):
        session.run(data, weights={"conv/w": floats(4, 27)})
    with pytest.raises(ModelError, match=r"input 'data' .* is missing"):
        session.run({})
    with pytest.raises(ModelError, match="no such input; the network has data"):
        session.run({**data, "conv/w": floats(4, 3, 3, 3)})
    with pytest.raises(ModelError, match="has shape 2x4x9x9"):
        session.run({"data": floats(2, 4, 9, 9)})


def test_weights_given_are_not_changed_and_stay_writeable():
    graph, data = everything(), {"data": floats(2, 3, 9, 9)}
    session = ExchangeSession(graph, FREE, outputs=OUTPUTS)
    weights = {name: floats(*graph.params[name].shape) for name in FREE}
    before = {name: array.copy() for name, array in weights.items()}
    session.run(data, weights=weights)
    same(weights, before)
    assert all(array.flags.writeable for array in weights.values())


def test_exchanges_in_several_threads():
    graph, data = everything(), {"data": floats(2, 3, 9, 9)}
    session = ExchangeSession(graph, FREE, outputs=OUTPUTS, threads=1)
    weights = [{"conv/w": floats(4, 3, 3, 3)} for _ in range(4)]
    wanted = [session.run(data, weights=item) for item in weights]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: session.run(data, weights=weights[number % 4]), range(80)))
    for number, run in enumerate(found):
        same(run, wanted[number % 4])
