"""Faults seeded into a deep net: runtimes that compute a layer wrongly, changed weights, commands that fail."""

from __future__ import annotations

import json
import math
import shlex
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import nuqconv
from nuqconv import runtimes
from nuqconv.comparison.reduction.cut import CuttableGraph
from nuqconv.comparison.reduction.pieces import Pieces
from nuqconv.errors import ConfigError, ModelError, NothingToReduceError
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.loaded import Side
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.onnxruntime.runtime import OnnxRuntime
from tests.support.deep_net import deep_net
from tests.support.nets import write_net

FAULTS = 30
WRONG: dict[str, float] = {}


@dataclass(frozen=True)
class _Wrong(OnnxRuntime):
    """onnxruntime, but for the layers in `WRONG`, whose first weights are multiplied."""

    name = "wrong"
    title = "a runtime with a fault"
    own_of = frozenset()

    def side(self, model: Runnable) -> Side:
        graph = model.graph
        params = dict(graph.params)
        for layer, factor in WRONG.items():
            if layer in graph.node:
                name = graph.node[layer].params[0]
                params[name] = params[name] * np.float32(factor)
        return super().side(Runnable.of_graph(replace(graph, params=params)))


@pytest.fixture(scope="module", autouse=True)
def wrong_runtime() -> Iterator[None]:
    runtimes.register(_Wrong())
    yield
    runtimes.unregister("wrong")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return deep_net(tmp_path_factory.mktemp("deep"))


@pytest.fixture(scope="module")
def model(net):
    return (net.model, net.weights)


@pytest.fixture(scope="module")
def graph(model):
    return nuqconv.load(*model)


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    target = tmp_path_factory.mktemp("onnx") / "deep.onnx"
    nuqconv.convert(*model, target)
    return target


@pytest.fixture(scope="module")
def inputs():
    return {"data": np.random.default_rng(5).standard_normal((2, 3, 8, 8)).astype(np.float32)}


def changed(onnx_file, target, layer, rng):
    """One weight of one layer is another one."""
    proto = onnx.load(onnx_file)
    tensor = next(item for item in proto.graph.initializer if item.name.startswith(f"{layer}/") and item.dims)
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[rng.integers(array.size)] += 1.0
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(proto, target)
    return target


def finds(*texts: str) -> str:
    """A command that ends with 3 where all texts are in the model's file, and with 0 elsewhere."""
    every = " && ".join(f"grep -aqF {shlex.quote(text)} {{model}}" for text in texts)
    return f"sh -c {shlex.quote(f'if {every}; then exit 3; fi')}"


def seeded(number, model, graph, onnx_file, inputs, folder):
    """Seeds one of `FAULTS` faults; returns what was found and the layers to blame."""
    rng = np.random.default_rng(number)
    layers = [node.name for node in graph.nodes]
    with_weights = [node.name for node in graph.nodes if node.params]
    if number % 3 == 0:
        layer = str(rng.choice(with_weights))
        WRONG.clear()
        WRONG[layer] = 1.5
        return nuqconv.reduce(model, runtimes=("onnxruntime", "wrong"), inputs=inputs), {layer}
    if number % 3 == 1:
        layer = str(rng.choice([name for name in with_weights if "bn" not in name and "scale" not in name]))
        bad = changed(onnx_file, folder / f"{number}.onnx", layer, rng)
        return nuqconv.reduce(model, bad, runtimes=("onnxruntime", "onnxruntime"), inputs=inputs), {layer}
    # The input that stands for a layer has its name, but another type.
    told = {name: f'name: "{name}" type: "{graph.node[name].origin.layer_type}"' for name in layers}
    blamed = rng.choice(layers, 1 + number % 2, replace=False).tolist()
    if number % 4 == 1:
        nodes = [node.name for node in onnx.load(onnx_file).graph.node]
        blamed = rng.choice(nodes, 1, replace=False).tolist()
        # Behind a node's name the file has the tag of its type, which is a quotation mark.
        return nuqconv.reduce(onnx_file, command=finds(f'{blamed[0]}"'), inputs=inputs), set(blamed)
    return nuqconv.reduce(model, command=finds(*(told[name] for name in blamed)), inputs=inputs), set(blamed)


@pytest.fixture(scope="module")
def found(model, graph, onnx_file, inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    return [seeded(number, model, graph, onnx_file, inputs, folder) for number in range(FAULTS)]


@pytest.mark.slow
def test_30_seeded_faults_are_reduced_to_at_most_3_layers(found, graph):
    for reduced, blamed in found:
        names = {name for name, _ in reduced.layers}
        assert blamed <= names
        assert len(names) <= 3
        assert reduced.total >= len(graph.nodes)


@pytest.mark.slow
def test_30_seeded_faults_take_few_runs(found, graph):
    runs = [len(reduced.attempts) for reduced, _ in found]
    assert statistics.median(runs) <= 2 * math.log2(len(graph.nodes)) + 10
    # Commands alone, of which nothing is known but that they fail, do no worse.
    assert statistics.median(runs[2::3]) <= 2 * math.log2(len(graph.nodes)) + 10
    # None of them is far from that.
    assert max(runs) <= 6 * math.log2(len(graph.nodes)) + 10


@pytest.mark.slow
def test_of_the_inputs_one_sample_is_left(found):
    assert all(array.shape[0] == 1 for reduced, _ in found for array in reduced.inputs.values())


def test_what_is_written_shows_it_by_the_command_that_it_tells(model, inputs, tmp_path):
    WRONG.clear()
    WRONG["b4/a_scale"] = 1.5
    seen = []
    reduced = nuqconv.reduce(model, runtimes=("onnxruntime", "wrong"), inputs=inputs, on_attempt=seen.append)
    files = reduced.save(tmp_path / "bug")
    assert tuple(seen) == reduced.attempts
    assert [path.name for path in files] == [
        "model.prototxt",
        "model.caffemodel",
        "inputs.npz",
        "README.txt",
        "reduced.json",
    ]
    assert sorted(path.name for path in (tmp_path / "bug").iterdir()) == sorted(path.name for path in files)
    assert reduced.layers == (("b4/a_scale", "Scale"),)
    with np.load(files[2]) as arrays:
        report = nuqconv.compare(tuple(files[:2]), inputs=dict(arrays), runtimes=("onnxruntime", "wrong"))
    assert report.first.layer == "b4/a_scale"
    told = json.loads(files[4].read_text())
    words = shlex.split(told["command"])
    assert words[:4] == ["nuqconv", "compare", "model.prototxt", "model.caffemodel"]
    assert words[4:8] == ["--data", "inputs.npz", "--runtime", "onnxruntime,wrong"]
    assert told["inputs"] == {"b4/a": {"shape": [1, 4, 8, 8], "made_by": "b4/a_bn"}}
    assert told["command"] in files[3].read_text()
    assert told["versions"]["nuqconv"] == metadata.version("nuqconv")
    again = nuqconv.reduce(model, runtimes=("onnxruntime", "wrong"), inputs=inputs).save(tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in files]


def test_values_on_the_way_are_those_of_real_caffe(model, inputs, caffe_process):
    WRONG.clear()
    WRONG["b2/a_bn"] = 3.0
    reduced = nuqconv.reduce(model, runtimes=("caffe", "wrong"), inputs=inputs, process=caffe_process)
    assert [name for name, _ in reduced.layers] == ["b2/a_bn"]
    (value,) = reduced.inputs.values()
    with Net(*model, process=caffe_process) as caffe:
        whole = caffe.run(inputs, ["b2/a"], end="b2/a")["b2/a"]
    sample = next(k for k in range(2) if np.array_equal(whole[k], value[0]))
    assert np.array_equal(whole[sample : sample + 1], value)


@pytest.mark.parametrize("seed", range(8))
def test_any_layers_cut_out_compute_in_real_caffe_what_they_did_in_the_whole(
    model, graph, inputs, caffe_process, tmp_path, seed
):
    rng = np.random.default_rng(seed)
    pieces = Pieces([CuttableGraph(graph)])
    part = tuple(sorted(rng.choice(len(pieces), rng.integers(1, 30), replace=False).tolist()))
    cut = pieces.cut(part)
    makers = graph.producer
    with Net(*model, process=caffe_process) as caffe:

        def state(value):
            if value not in makers:
                return inputs[graph.storage_name(value)]
            blob = graph.storage_name(value)
            return caffe.run(inputs, [blob], end=makers[value].name)[blob]

        files = pieces.write(cut, {value: state(value) for value in cut.fed}, tmp_path)
        nodes = [graph.nodes[number] for number in cut.cuttings[0].steps]
        assert {pieces.elements[element][0] for element in part} <= set(cut.cuttings[0].steps)
        with Net(*files.models[0], process=caffe_process) as small:
            for node in nodes:
                tops = next(layer.tops for layer in small.layers if layer.name == node.name)
                made = small.run(files.inputs, tops, end=node.name)
                for value, top in zip(node.outputs, tops, strict=True):
                    assert np.array_equal(made[top], state(value)), value


def test_what_agrees_is_not_reduced(model, onnx_file, inputs):
    with pytest.raises(
        NothingToReduceError,
        match=r"there is nothing to reduce: 0 of 61 common blobs differ \(rtol 0.001, atol 1e-05\)",
    ):
        nuqconv.reduce(model, onnx_file, runtimes=("onnxruntime", "onnxruntime"), inputs=inputs)


def test_a_command_that_succeeds_is_not_reduced(model):
    with pytest.raises(NothingToReduceError, match=r"the command succeeds \(exit code 0\)"):
        nuqconv.reduce(model, command="true {model}")


def test_a_command_fails_the_same_way_or_not_at_all(model, inputs, tmp_path):
    script = tmp_path / "check.py"
    # Without "b5/b" it fails in another way, which is no part of the fault.
    script.write_text(
        "import sys\n"
        "text = open(sys.argv[1]).read()\n"
        "if 'b5/b\\\"' not in text: sys.exit(1)\n"
        "print('Bad thing'); sys.exit(7)\n"
    )
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {{model}}"
    reduced = nuqconv.reduce(model, command=command, inputs=inputs)
    assert [name for name, _ in reduced.layers] == ["b5/b"]
    assert reduced.seen == "the command ends with exit code 7"
    assert reduced.command.endswith("check.py model.prototxt")
    reduced = nuqconv.reduce(model, command=command, inputs=inputs, text="Bad thing", exit_code=7)
    assert [name for name, _ in reduced.layers] == ["b5/b"]
    with pytest.raises(NothingToReduceError, match="its output has not 'Other'"):
        nuqconv.reduce(model, command=command, inputs=inputs, text="Other")


def test_a_command_that_does_not_end_is_ended(model, inputs):
    with pytest.raises(NothingToReduceError, match=r"ran for more than 0.3 seconds"):
        nuqconv.reduce(model, command="sh -c 'sleep 60 && false {model}'", inputs=inputs, timeout=0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"command": "true"}, "does not say where the model goes"),
        ({"command": "true '{model}"}, "cannot be split"),
        ({"command": "/nowhere/x {model}"}, "cannot be started"),
        ({"text": "x"}, "there is no command"),
        ({"command": "true {model}", "max_runs": 0}, "at least 1"),
    ],
)
def test_wrong_usage(model, arguments, message):
    with pytest.raises(ConfigError, match=message):
        nuqconv.reduce(model, **arguments)


def test_inputs_that_do_not_fit(model, inputs):
    with pytest.raises(ModelError, match="'more', which is no input"):
        nuqconv.reduce(model, command="false {model}", inputs={**inputs, "more": inputs["data"]})
    with pytest.raises(ModelError, match="input 'data' is missing"):
        nuqconv.reduce(model, command="false {model}", inputs={})


IN_PLACE = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 } } }
layer { name: "cut" type: "ReLU" bottom: "data" top: "data" }
layer { name: "twice" type: "Power" bottom: "data" top: "data" power_param { scale: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
"""


@pytest.mark.parametrize("layer", ["cut", "twice", "fc"])
def test_layers_in_place_on_the_input_of_a_caffe_and_an_onnx_model(tmp_path, layer):
    rng = np.random.default_rng(3)
    files = write_net(tmp_path, IN_PLACE, {"fc": [rng.normal(size=(3, 6)), rng.normal(size=3)]})
    text = files.model.read_text()
    changes = {"cut": ('"ReLU"', '"AbsVal"'), "twice": ("scale: 2", "scale: 3"), "fc": ("", "")}
    (tmp_path / "other.prototxt").write_text(text.replace(*changes[layer]) if layer != "fc" else text)
    nuqconv.convert(tmp_path / "other.prototxt", files.weights, tmp_path / "other.onnx")
    if layer == "fc":
        changed(tmp_path / "other.onnx", tmp_path / "other.onnx", "fc", rng)
    x = {"data": rng.standard_normal((2, 6)).astype(np.float32)}
    both = ("onnxruntime", "onnxruntime")
    reduced = nuqconv.reduce((files.model, files.weights), tmp_path / "other.onnx", runtimes=both, inputs=x)
    assert [name for name, _ in reduced.layers] == [layer]
    reduced = nuqconv.reduce(tmp_path / "other.onnx", (files.model, files.weights), runtimes=both, inputs=x)
    assert len(reduced.layers) <= 2
    assert any(layer in name for name, _ in reduced.layers)


def test_the_smallest_so_far_is_given_when_there_may_be_no_more_runs(model, inputs):
    reduced = nuqconv.reduce(model, command=finds('name: "b7/b" type: "Convolution"'), inputs=inputs, max_runs=4)
    assert len(reduced.attempts) == 4
    assert 1 < len(reduced.layers) < reduced.total
    assert "b7/b" in [name for name, _ in reduced.layers]


def test_where_no_part_shows_it_nothing_is_given(model, inputs):
    command = f"sh -c {shlex.quote(f'test {{model}} != {model[0].absolute()}')}"
    with pytest.raises(NothingToReduceError, match="no part of the model shows it"):
        nuqconv.reduce(model, command=command, inputs=inputs, max_runs=15)
