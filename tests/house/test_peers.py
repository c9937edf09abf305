"""The benchmark against other tools gives them what it says: the same activations, as many bits, and the outputs that follow from theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import peers
import pytest
from peer_graphs import bits_of, clustered, replaced, rounded, tail
from tasks import TASKS

import nuqconv
from cases import LENET
from nuqconv.frontends.caffe import load_graph
from nuqconv.passes import fold_affine
from nuqconv.runtimes.default import load_graph as load
from nuqconv.search.metrics import Interval

RESULTS = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.fixture(scope="module")
def lenet():
    graph = fold_affine(load_graph(LENET / "deploy.prototxt", LENET / "lenet.caffemodel")).graph
    images = next(task for task in TASKS if task.name == "LeNet").draw(32, True, 0)
    result = nuqconv.quantize(graph, {"*": 16, "conv1": "int8"}, data={"data": images}, batch_size=32)
    return graph, images, result


def test_a_peer_with_the_same_weights_gives_the_same_answers(lenet):
    graph, images, result = lenet
    quantizer = result.model.job.quantizer
    weights = {
        graph.node[name].params[0]: quantizer.layer_integers(name, layer).as_floats(
            graph.node[name].op.weight_output_axis
        )
        for name, layer in result.plan.items()
    }
    # The integers' biases were corrected; peers have those of the float network.
    biases = {
        graph.node[name].params[1]: (
            found.bias * np.float64(layer.activation.scale) * np.broadcast_to(found.scales, found.bias.shape)
        ).astype(np.float32)
        for name, layer in result.plan.items()
        if (found := quantizer.layer_integers(name, layer)).bias is not None
    }
    wanted = load(result.model.graph, ["ip2"]).run({"data": images})["ip2"]
    found = load(replaced(graph, result.plan, weights | biases), ["ip2"]).run({"data": images})["ip2"]
    # Sums in floats let a few inputs of layers fall on the other side of a half.
    exact = load(graph, ["ip2"]).run({"data": images})["ip2"]
    assert np.median(np.abs(found - wanted)) < 1e-5
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(exact - wanted)


@pytest.mark.parametrize("method", [rounded, clustered])
def test_peers_have_as_many_levels(lenet, method):
    graph, _, result = lenet
    bits = bits_of(graph, result.plan)
    assert sorted(bits.values()) == [4, 4, 4, 8]
    for name, weights in method(graph, bits).items():
        channel = weights[int(np.argmax(np.abs(weights).reshape(len(weights), -1).max(axis=1)))]
        assert len(np.unique(channel)) <= 2 ** bits[name]
        error = np.linalg.norm(weights - graph.params[name]) / np.linalg.norm(graph.params[name])
        assert error < (0.01 if bits[name] == 8 else 0.25)


def test_outputs_follow_from_inner_values(lenet):
    graph, images, _ = lenet
    inner = load(graph, ["ip2", "prob"]).run({"data": images})
    rest = tail(graph, ("ip2",))
    assert [item.name for item in rest.inputs] == ["ip2"]
    found = load(rest).run({"ip2": inner["ip2"]})
    np.testing.assert_array_equal(found["prob"], inner["prob"])


@pytest.mark.parametrize(
    ("low", "high", "error", "words"),
    [
        (-0.2, -0.1, 0.3, "metric, error"),
        (-0.2, 0.0, 0.3, "error"),
        (0.0, 0.0, 0.2, ""),
        (0.1, 0.2, 0.1, "**behind by metric**, **behind by error**"),
        (-0.2, -0.1, 0.1, "metric, **behind by error**"),
    ],
)
def test_who_is_ahead(low, high, error, words):
    interval = replace(Interval(0, 0, 0, 0.95, 8), low=low, high=high)
    assert peers.verdict(interval, 0.2, error) == words


def test_rows_that_are_not_measured_stay(tmp_path):
    target, text = tmp_path / "results.md", RESULTS.read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    peers.write_section(target, [])
    assert target.read_text(encoding="utf-8") == text
    line = "| LeNet | int8 | round to nearest | 0.5 | | 0.5 | |"
    peers.write_section(target, [line])
    found = target.read_text(encoding="utf-8")
    assert line in found
    assert found.count("| LeNet | int8 | round to nearest |") == 1
    assert len(found.splitlines()) == len(text.splitlines())
