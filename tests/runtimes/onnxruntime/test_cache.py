"""A model that differs from the last one in numbers only runs in its sessions, and gives what a new session gives."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Convolution, Dequantize, InnerProduct, Quantize
from nuqconv.runtimes.onnxruntime import OnnxSession
from nuqconv.runtimes.onnxruntime.cache import load
from nuqconv.runtimes.onnxruntime.exchange import ExchangeSession

RNG = np.random.default_rng(6)


def net() -> Graph:
    conv = Convolution(16, (3, 3), (1, 1), (1, 1), (1, 1), bias_term=False)
    nodes = (
        Node("q1", Quantize(20.0, 0), ("data",), ("u1",)),
        Node("first", conv, ("u1",), ("s1",), ("w1",)),
        Node("d1", Dequantize(), ("s1",), ("r1",), ("t1",)),
        Node("q2", Quantize(3.0, -7), ("r1",), ("u2",)),
        Node("second", conv, ("u2",), ("s2",), ("w2",)),
        Node("d2", Dequantize(), ("s2",), ("r2",), ("t2",)),
        Node("fc", InnerProduct(3), ("r2",), ("out",), ("w3", "b3")),
    )
    params = {
        "w1": RNG.integers(-9, 9, (16, 3, 3, 3)).astype(np.float32),
        "t1": np.full(16, 0.01, np.float32),
        "w2": RNG.integers(-9, 9, (16, 16, 3, 3)).astype(np.float32),
        "t2": np.full(16, 0.01, np.float32),
        "w3": RNG.standard_normal((3, 16 * 25)).astype(np.float32),
        "b3": np.zeros(3, np.float32),
    }
    return Graph("net", (Input("data", (1, 3, 5, 5)),), nodes, params, ("out",)).verify()


def changed(graph, **arrays):
    return replace(graph, params={**graph.params, **{name: array.astype(np.float32) for name, array in arrays.items()}})


@pytest.fixture
def sessions(monkeypatch):
    """Counts the sessions that are made."""
    made = []
    whole = ExchangeSession.__init__

    def counted(self, *args, **options):
        made.append(self)
        whole(self, *args, **options)

    monkeypatch.setattr(ExchangeSession, "__init__", counted)
    return made


def agrees(model, graph, size=2):
    data = {"data": RNG.standard_normal((size, 3, 5, 5)).astype(np.float32)}
    np.testing.assert_allclose(model.run(data)["out"], OnnxSession(graph).run(data)["out"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "arrays",
    [
        {"w1": RNG.integers(-9, 9, (16, 3, 3, 3))},
        {"w2": RNG.integers(-128, 127, (16, 16, 3, 3))},
        {"t2": np.full(16, 0.03)},
        {"w2": RNG.integers(-9, 9, (16, 16, 3, 3)), "t1": np.full(16, 0.02), "t2": np.full(16, 0.02)},
    ],
)
def test_numbers_that_are_exchanged(sessions, arrays):
    graph = net()
    model = load(graph)
    agrees(model, graph)
    other = changed(graph, **arrays)
    following = model.of(other)
    agrees(following, other)
    agrees(following, other, 5)
    agrees(model, graph)
    assert len(sessions) == 1


@pytest.mark.parametrize(
    "arrays",
    [
        {"w3": RNG.standard_normal((3, 400))},
        {"b3": np.ones(3)},
        {"w2": np.full((16, 16, 3, 3), 0.5)},
        {"w2": np.full((16, 16, 3, 3), 300.0)},
    ],
)
def test_numbers_that_need_a_new_session(arrays):
    graph = net()
    assert load(graph).of(changed(graph, **arrays)) is None


def test_the_same_numbers_are_the_same_model():
    graph = net()
    model = load(graph)
    assert model.of(changed(graph)) is model


@pytest.mark.parametrize(
    "other", [{"name": "other"}, {"outputs": ("out", "r1")}, {"inputs": (Input("data", (2, 3, 5, 5)),)}]
)
def test_another_structure_is_another_model(other):
    graph = net()
    assert load(graph).of(replace(graph, **other)) is None


def test_models_run_at_once_with_their_own_numbers():
    graph = net()
    graphs = [graph, *(changed(graph, w2=RNG.integers(-9, 9, (16, 16, 3, 3))) for _ in range(3))]
    models = [load(graph)]
    agrees(models[0], graph)
    for other in graphs[1:]:
        models.append(models[-1].of(other))
    data = {"data": RNG.standard_normal((2, 3, 5, 5)).astype(np.float32)}
    wanted = [OnnxSession(item).run(data)["out"] for item in graphs]
    wrong = []

    def work(number):
        runs = (models[number].run(data)["out"] for _ in range(50))
        wrong.extend(number for found in runs if not np.allclose(found, wanted[number], rtol=1e-5, atol=1e-6))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
