"""What each layer alone does to the outputs, against closed forms and against a session for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nuqconv.errors import CalibrationError, ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import (
    ArgMax,
    ArgReduce,
    Concat,
    Convolution,
    DetectionOutput,
    Eltwise,
    Filter,
    Flatten,
    Hardmax,
    Identity,
    InnerProduct,
    Opaque,
    Permute,
    ReLU,
    Reshape,
    Reverse,
    Softmax,
)
from nuqconv.job import sensitivity
from nuqconv.job.sensitivity import (
    Responses,
    default_samples,
    measure_responses,
    network_losses,
    watched_values,
)
from nuqconv.passes import fold_affine
from nuqconv.quantize.plan import LayerPlan, Precision
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from nuqconv.search import LayerSpace, Option, SearchSpace
from tests.support.nets import conv_net

LENET = Path(__file__).parents[2] / "examples" / "lenet"
RNG = np.random.default_rng(8)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def dense(name, size, value):
    return Node(name, InnerProduct(size, bias_term=False), (value,), (name,), (f"{name}/w",))


def chain():
    """x (3) -> a (4) -> b (2) -> prob."""
    nodes = (dense("a", 4, "x"), dense("b", 2, "a"), Node("prob", Softmax(), ("b",), ("prob",)))
    return Graph("chain", (Input("x", (1, 3)),), nodes, {"a/w": floats(4, 3), "b/w": floats(2, 4)}, ("prob",)).verify()


def perturbed(graph, *names):
    chosen = names or [node.name for node in graph.nodes if isinstance(node.op, Convolution | InnerProduct)]
    weights = {name: graph.params[graph.node[name].params[0]] for name in chosen}
    return {name: array + np.float32(0.1) * floats(*array.shape) for name, array in weights.items()}


def energy(array):
    return float(np.square(array, dtype=np.float64).sum())


def test_a_linear_network_in_closed_form():
    graph, x = chain(), floats(8, 3)
    first, second = (graph.params[name].astype(np.float64) for name in ("a/w", "b/w"))
    other = perturbed(graph)
    found = measure_responses(graph, other, [{"x": x[:5]}, {"x": x[5:]}], features=False)
    signal = energy(x @ first.T @ second.T)
    assert found.outputs == ("b",)
    assert found.samples == 8
    assert not found.unmeasured
    assert found.divergences["a"] == pytest.approx(energy(x @ (other["a"] - first).T @ second.T) / signal, rel=1e-4)
    assert found.divergences["b"] == pytest.approx(energy(x @ first.T @ (other["b"] - second).T) / signal, rel=1e-4)


def test_a_small_output_counts_with_the_features_that_it_is_made_of():
    graph, x = chain(), floats(8, 3)
    first = graph.params["a/w"].astype(np.float64)
    other = perturbed(graph)
    found = measure_responses(graph, other, [{"x": x}])
    plain = measure_responses(graph, other, [{"x": x}], features=False)
    feature = energy(x @ (other["a"] - first).T) / energy(x @ first.T)
    assert found.outputs == ("b",)
    assert found.divergences["a"] == pytest.approx((plain.divergences["a"] + feature) / 2, rel=1e-4)
    # The features do not depend on the layer that reads them.
    assert found.divergences["b"] == pytest.approx(plain.divergences["b"])
    wide = replace(graph, nodes=(dense("a", 300, "x"), dense("b", 256, "a")), outputs=("b",))
    wide = replace(wide, params={"a/w": floats(300, 3), "b/w": floats(256, 300)}).verify()
    other = perturbed(wide)
    assert measure_responses(wide, other, [{"x": x}]) == measure_responses(wide, other, [{"x": x}], features=False)


def test_a_real_kind_of_network_against_a_session_for_each_layer(tmp_path):
    files = conv_net(tmp_path)
    graph = fold_affine(load_graph(files.model, files.weights)).graph
    x, other = floats(6, 3, 12, 12), perturbed(graph)
    assert len(other) == 3
    found = measure_responses(graph, other, [{"data": x[:2]}, {"data": x[2:]}], features=False, samples=6)
    assert found.outputs == ("fc",)
    own = OnnxSession(graph, outputs=["fc"]).run({"data": x})
    for name, weights in other.items():
        changed = replace(graph, params={**graph.params, graph.node[name].params[0]: weights})
        new = OnnxSession(changed, outputs=["fc"]).run({"data": x})
        errors = [energy(new[value] - array) / energy(array) for value, array in own.items()]
        assert found.divergences[name] == pytest.approx(np.mean(errors), rel=1e-3), name


def test_lenet_against_real_caffe(caffe_python):
    files = (LENET / "deploy.prototxt", LENET / "lenet.caffemodel")
    graph = load_graph(*files)
    with np.load(LENET / "calibration.npz") as data:
        x = (data["data"][:6] * data["scale"]).astype(np.float32)
    layers = ("conv1", "conv2", "ip1", "ip2")
    other = perturbed(graph, *layers)
    found = measure_responses(graph, other, [{"data": x}])
    assert found.outputs == ("ip2",)
    with Net(*files, python=caffe_python) as net:
        own = net.run({"data": x}, ["ip1", "ip2"])
        for name in layers:
            net.params[name][0].data = other[name]
            new = net.run({"data": x}, ["ip1", "ip2"])
            net.params[name][0].data = graph.params[graph.node[name].params[0]]
            errors = {blob: energy(new[blob] - own[blob]) / energy(own[blob]) for blob in own}
            wanted = errors["ip2"] if name == "ip2" else (errors["ip1"] + errors["ip2"]) / 2
            assert found.divergences[name] == pytest.approx(wanted, rel=1e-4), name


def two_heads():
    nodes = (
        dense("trunk", 4, "x"),
        dense("left", 2, "trunk"),
        dense("right", 3, "trunk"),
        dense("idle", 3, "trunk"),
    )
    params = {"trunk/w": floats(4, 3), "left/w": floats(2, 4), "right/w": floats(3, 4), "idle/w": floats(3, 4)}
    return Graph("heads", (Input("x", (1, 3)),), nodes, params, ("left", "right")).verify()


def test_outputs_count_alike():
    graph, x = two_heads(), floats(4, 3)
    other = perturbed(graph, "trunk", "left", "right")
    found = measure_responses(graph, other, [{"x": x}], features=False)
    apart = [
        measure_responses(graph, other, [{"x": x}], outputs=[name], features=False).divergences
        for name in graph.outputs
    ]
    assert found.divergences["trunk"] == pytest.approx((apart[0]["trunk"] + apart[1]["trunk"]) / 2)
    assert found.divergences["left"] == pytest.approx(apart[0]["left"] / 2)
    assert "left" not in apart[1]


def test_layers_that_no_output_depends_on_are_named():
    graph = two_heads()
    found = measure_responses(
        graph, perturbed(graph, "trunk", "right", "idle"), [{"x": floats(4, 3)}], outputs=["left"]
    )
    assert list(found.divergences) == ["trunk"]
    assert sorted(found.unmeasured) == ["idle", "right"]
    assert "none of the outputs" in found.unmeasured["idle"]


def with_opaque():
    nodes = (
        dense("a", 4, "x"),
        Node("odd", Opaque("Strange", "nobody knows it"), ("a",), ("odd",)),
        dense("b", 2, "odd"),
        dense("c", 2, "a"),
        Node("sum", Eltwise(), ("b", "c"), ("sum",)),
    )
    params = {"a/w": floats(4, 3), "b/w": floats(2, 4), "c/w": floats(2, 4)}
    return Graph("opaque", (Input("x", (1, 3)),), nodes, params, ("sum",))


def test_layers_behind_an_opaque_one_are_named_and_the_others_measured_in_front_of_it():
    graph, x = with_opaque(), floats(4, 3)
    other = perturbed(graph)
    found = measure_responses(graph, other, [{"x": x}], features=False)
    assert found.outputs == ("a", "c")
    assert list(found.divergences) == ["a", "c"]
    assert found.unmeasured == {"b": "it lies behind layer 'odd' (Opaque): onnxruntime cannot run it"}
    own = x @ graph.params["a/w"].T
    error = energy(own @ (other["c"] - graph.params["c/w"]).T) / energy(own @ graph.params["c/w"].T)
    assert found.divergences["c"] == pytest.approx(error / 2, rel=1e-4)


def test_nothing_can_be_measured():
    graph = with_opaque()
    found = measure_responses(graph, perturbed(graph, "b"), [{"x": floats(4, 3)}])
    assert not found.divergences
    assert list(found.unmeasured) == ["b"]
    assert found.samples == 0


def test_values_that_are_watched():
    assert watched_values(chain()) == ("b",)
    assert watched_values(chain(), ["a", "prob"]) == ("a", "b")
    with pytest.raises(ModelError, match="no value 'none'"):
        watched_values(chain(), ["none"])
    # A Softmax in the middle is no end: what follows it computes with it.
    nodes = (Node("soft", Softmax(), ("x",), ("soft",)), dense("a", 4, "soft"))
    graph = Graph("attention", (Input("x", (1, 3)),), nodes, {"a/w": floats(4, 3)}, ("a",)).verify()
    assert watched_values(graph) == ("a",)


@pytest.mark.parametrize("op", [ArgMax(), ArgReduce("argmax", 1), Hardmax(1), Softmax()], ids=str)
@pytest.mark.parametrize("behind", [Flatten(), Reverse(0), Permute((0, 1)), Identity()], ids=str)
def test_decisions_of_every_framework_are_stepped_over_and_so_is_what_moves_them(op, behind):
    nodes = (dense("a", 4, "x"), Node("b", op, ("a",), ("b",)))
    graph = Graph("decides", (Input("x", (1, 3)),), nodes, {"a/w": floats(4, 3)}, ("b",)).verify()
    if len(graph.shapes["b"]) == 2:
        graph = replace(graph, nodes=(*nodes, Node("c", behind, ("b",), ("c",))), outputs=("c",)).verify()
    assert watched_values(graph) == ("a",)


def detector():
    """As in SSD: two heads, of which one goes through Reshape, Softmax, Flatten, and a DetectionOutput."""
    nodes = (
        dense("loc", 8, "x"),
        dense("conf", 4, "x"),
        Node("rows", Reshape((0, 2, 2)), ("conf",), ("rows",)),
        Node("soft", Softmax(2), ("rows",), ("soft",)),
        Node("flat", Flatten(), ("soft",), ("flat",)),
        Node("found", DetectionOutput(num_classes=2), ("loc", "flat", "prior"), ("found",)),
    )
    inputs = (Input("x", (1, 3)), Input("prior", (1, 2, 8)))
    return Graph("detector", inputs, nodes, {"loc/w": floats(8, 3), "conf/w": floats(4, 3)}, ("found",)).verify()


def test_a_detector_is_watched_in_front_of_its_decisions():
    graph = detector()
    assert watched_values(graph) == ("loc", "rows")
    data = {"x": floats(4, 3), "prior": floats(4, 2, 8)}
    found = measure_responses(graph, perturbed(graph), [data])
    assert list(found.divergences) == ["loc", "conf"]


def test_nothing_is_compared_behind_a_choice_of_items():
    nodes = (
        dense("a", 4, "x"),
        dense("choice", 1, "x"),
        Node("kept", Filter(), ("a", "choice"), ("kept",)),
        dense("b", 2, "kept"),
    )
    params = {"a/w": floats(4, 3), "choice/w": floats(1, 3), "b/w": floats(2, 4)}
    graph = Graph("filtered", (Input("x", (1, 3)),), nodes, params, ("b",)).verify()
    found = measure_responses(graph, perturbed(graph), [{"x": floats(4, 3)}])
    assert found.outputs == ("a", "choice")
    assert list(found.divergences) == ["a", "choice"]
    assert "'kept'" in found.unmeasured["b"]
    assert "how many items" in found.unmeasured["b"]


def test_rearranged_outputs_are_as_good_as_the_values_before():
    joined = Node("cat", Concat(), ("a", "b"), ("cat",))
    nodes = (dense("a", 4, "x"), dense("b", 2, "x"), joined)
    graph = Graph("cat", (Input("x", (1, 3)),), nodes, {"a/w": floats(4, 3), "b/w": floats(2, 3)}, ("cat",)).verify()
    assert watched_values(graph) == ("cat",)


def test_only_so_many_samples_are_taken():
    graph, x = chain(), floats(9, 3)
    other = perturbed(graph)
    asked = []

    def batches():
        for start in range(0, 9, 3):
            asked.append(start)
            yield {"x": x[start : start + 3]}

    found = measure_responses(graph, other, batches(), samples=4)
    assert found.samples == 4
    assert asked == [0, 3]
    # Batches of other sizes are multiplied in another order on some processors.
    whole = measure_responses(graph, other, [{"x": x[:4]}], samples=4)
    assert found.divergences == pytest.approx(whole.divergences, rel=1e-4)
    assert measure_responses(graph, other, batches(), samples=100).samples == 9


@pytest.mark.parametrize(
    ("layers", "samples"), [(0, 8), (1, 8), (64, 8), (65, 7), (128, 4), (256, 2), (257, 2), (1000, 2)]
)
def test_fewer_samples_for_more_layers(layers, samples):
    assert default_samples(layers, 1000) == samples


@pytest.mark.parametrize(
    ("numbers", "samples"), [(0, 8), (20_000_000, 8), (30_000_000, 5), (50_000_000, 4), (1 << 40, 4)]
)
def test_fewer_samples_for_large_networks(numbers, samples):
    assert default_samples(16, numbers) == samples
    assert default_samples(256, numbers) == 2


def test_perturbed_weights_are_asked_for_one_by_one():
    graph, asked = chain(), []
    whole = perturbed(graph)

    class Lazy(Mapping):
        def __getitem__(self, name):
            asked.append(name)
            return whole[name]

        def __iter__(self):
            return iter(whole)

        def __len__(self):
            return len(whole)

    found = measure_responses(graph, Lazy(), [{"x": floats(4, 3)}], on_layer=lambda *_: asked.append("done"))
    assert asked == ["a", "done", "b", "done"]
    assert list(found.divergences) == ["a", "b"]


def test_a_fixed_batch_size_takes_whole_batches():
    nodes = (dense("a", 4, "x"), Node("one", Reshape((2, 4)), ("a",), ("one",)), dense("b", 2, "one"))
    graph = Graph("fixed", (Input("x", (2, 3)),), nodes, {"a/w": floats(4, 3), "b/w": floats(2, 4)}, ("b",)).verify()
    x, other = floats(6, 3), perturbed(graph)
    found = measure_responses(graph, other, [{"x": x[start : start + 2]} for start in (0, 2, 4)], samples=3)
    assert found.samples == 4
    own = x[:4] @ graph.params["a/w"].T
    error = energy(own @ (other["b"] - graph.params["b/w"]).T) / energy(own @ graph.params["b/w"].T)
    assert found.divergences["b"] == pytest.approx(error, rel=1e-4)


def test_unchanged_weights_change_nothing_and_the_same_call_gives_the_same_numbers():
    graph, x = chain(), floats(8, 3)
    own = {"a": np.array(graph.params["a/w"]), **perturbed(graph, "b")}
    found = measure_responses(graph, own, [{"x": x}])
    assert found.divergences["a"] == 0
    assert found == measure_responses(graph, own, [{"x": x}], threads=1)


def test_progress():
    graph, seen = chain(), []
    measure_responses(graph, perturbed(graph), [{"x": floats(2, 3)}], on_layer=lambda *state: seen.append(state))
    assert seen == [(1, 2), (2, 2)]


def test_weights_that_blow_up_are_named():
    graph = chain()
    other = {"a": np.full((4, 3), np.inf, np.float32), **perturbed(graph, "b")}
    found = measure_responses(graph, other, [{"x": floats(2, 3)}])
    assert list(found.divergences) == ["b"]
    assert "not finite" in found.unmeasured["a"]


def test_what_is_refused():
    graph = chain()
    other = perturbed(graph)
    with pytest.raises(ModelError, match="no layers with weights 'prob', 'none'"):
        measure_responses(graph, {**other, "prob": floats(1), "none": floats(1)}, [])
    with pytest.raises(ModelError, match=r"'a/w' are float32 of shape \(2, 3\), expected float32 of shape \(4, 3\)"):
        measure_responses(graph, {"a": floats(2, 3)}, [{"x": floats(2, 3)}])
    with pytest.raises(CalibrationError, match="no calibration batch"):
        measure_responses(graph, other, [])
    with pytest.raises(CalibrationError, match="at least 1, found 0"):
        measure_responses(graph, other, [{"x": floats(2, 3)}], samples=0)
    with pytest.raises(CalibrationError, match=r"batch 1 cannot be run(.|\n)*shape 2x4"):
        measure_responses(graph, other, [{"x": floats(2, 3)}, {"x": floats(2, 4)}])
    for odd in ({}, {"x": "text"}, {"x": np.float32(1)}, 5, {"y": floats(2, 3)}):
        with pytest.raises(CalibrationError, match="batch 0 cannot be run"):
            measure_responses(graph, other, [odd])
    with pytest.raises(CalibrationError, match="all zero or not finite"):
        measure_responses(graph, other, [{"x": np.zeros((2, 3), np.float32)}])
    with pytest.raises(ModelError, match="no value 'none'"):
        measure_responses(graph, other, [{"x": floats(2, 3)}], outputs=["none"])


def test_values_that_no_perturbed_layer_reaches_do_not_count():
    nodes = (dense("a", 4, "x"), Node("y", ReLU(), ("x",), ("y",)))
    graph = Graph("aside", (Input("x", (1, 3)),), nodes, {"a/w": floats(4, 3)}, ("a", "y")).verify()
    found = measure_responses(graph, perturbed(graph), [{"x": floats(2, 3)}])
    assert found.outputs == ("a",)


def space(**losses):
    plans = (LayerPlan(Precision.INT8), LayerPlan(Precision.NUQ, (-1, 1), 2))
    return SearchSpace(
        tuple(
            LayerSpace(name, tuple(Option(plan, 9.0, loss) for plan, loss in zip(plans, pair, strict=False)), 40.0)
            for name, pair in losses.items()
        )
    )


def losses(found):
    return {layer.name: [option.loss for option in layer.options] for layer in found.layers}


def test_losses_are_those_of_the_layer_times_its_response():
    old = space(a=(0.25, 0.5), b=(0.125, 1.0), c=(0.0, 2.0), pool=(0.5,))
    measured = Responses({"a": 0.125, "b": 2.0, "c": 4.0}, {}, ("y",), 8)
    new = network_losses(old, measured, {"a": 0.5, "b": 0.5, "c": 2.0})
    # Responses 0.25, 4 and 2; a layer without one gets the median.
    assert losses(new) == {"a": [0.0625, 0.125], "b": [0.5, 4.0], "c": [0.0, 4.0], "pool": [1.0]}
    assert [(layer.name, layer.float_bytes) for layer in new.layers] == [(layer.name, 40.0) for layer in old.layers]
    assert new.plan((1, 1, 1, 0)) == old.plan((1, 1, 1, 0))


def test_responses_that_are_missing_or_tiny():
    old = space(
        dead=(0.25, 0.5),
        dust=(1e-15, 1e-15),
        same=(0.0, 0.0),
        tiny=(0.25, 0.5),
        a=(0.25, 0.5),
        b=(0.25, 0.5),
        c=(0.25, 0.5),
        behind=(1.0, 2.0),
    )
    divergences = {"dead": 0.0, "dust": 1e-9, "same": 0.0, "tiny": 1e-9, "a": 0.5, "b": 1.0, "c": 1.0}
    measured = Responses(divergences, {"behind": "it lies behind something"}, ("y",), 8)
    local = {"dead": 0.5, "dust": 1e-15, "same": 0.0, "tiny": 0.5, "a": 0.5, "b": 0.5, "c": 0.25}
    new = losses(network_losses(old, measured, local))
    # Responses 2e-9, 1, 2 and 4: the median is 1.5.
    assert new["dead"] == [0.375, 0.75]
    assert new["same"] == [0.0, 0.0]
    assert new["dust"] == pytest.approx([1.5e-15, 1.5e-15])
    assert new["tiny"] == pytest.approx([0.25 * 1.5e-3, 0.5 * 1.5e-3])
    assert new["behind"] == [1.5, 3.0]
    nothing = Responses({}, {"a": "it lies behind something"}, (), 0)
    assert network_losses(old, nothing, {}) is old


def test_the_response_predicts_the_other_options_of_a_linear_layer():
    """What the search relies on: a perturbation of half the size has a quarter of the divergence, as it has a quarter of the distortion."""
    graph, x = chain(), floats(8, 3)
    other = perturbed(graph, "a")
    half = {"a": (graph.params["a/w"] + other["a"]) / 2}
    full, less = (measure_responses(graph, weights, [{"x": x}]).divergences["a"] for weights in (other, half))
    assert less / full == pytest.approx(0.25, rel=1e-3)


def residual():
    """Blocks of two layers with a sum, the last with a projection: cuts between blocks, none behind a layer whose output is added."""
    nodes, value = [], "x"
    for block in range(4):
        first, second = dense(f"a{block}", 6, value), dense(f"b{block}", 6, f"r{block}")
        nodes += [first, Node(f"r{block}", ReLU(), (first.name,), (f"r{block}",)), second]
        side = value
        if block % 2:
            nodes.append(dense(f"side{block}", 6, value))
            side = f"side{block}"
        nodes.append(Node(f"sum{block}", Eltwise(), (second.name, side), (f"sum{block}",)))
        value = f"sum{block}"
    nodes.append(dense("last", 300, value))
    params = {node.params[0]: floats(node.op.num_output, 6) for node in nodes if node.params}
    return Graph("residual", (Input("x", (1, 6)),), tuple(nodes), params, ("last",)).verify()


def test_runs_from_the_middle_on_say_the_same_as_whole_ones(monkeypatch):
    graph, x = residual(), floats(3, 6)
    other = perturbed(graph)
    parts = sensitivity._tails(graph, [graph.node[name].params[0] for name in other])
    assert len(parts) >= 2
    assert [len(part.nodes) for part in parts.values()] == sorted(
        (len(part.nodes) for part in parts.values()), reverse=True
    )
    for part in parts.values():
        makers = [graph.producer.get(item.name) for item in part.inputs]
        assert all(maker is None or isinstance(maker.op, Eltwise | ReLU) for maker in makers)
    found = measure_responses(graph, other, [{"x": x}])
    monkeypatch.setattr(sensitivity, "_TAILS", 1)
    whole = measure_responses(graph, other, [{"x": x}])
    assert found.divergences == pytest.approx(whole.divergences, rel=1e-4)
    # Layers in another order than the graph's.
    back = measure_responses(graph, dict(reversed(other.items())), [{"x": x}])
    assert back.divergences == pytest.approx(whole.divergences, rel=1e-4)
