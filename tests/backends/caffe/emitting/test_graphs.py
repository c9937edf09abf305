"""Whole graphs: names, outputs that are read, values that nobody reads, refusals, batches."""

import numpy as np
import pytest

import nuqconv
from nuqconv.backends.caffe import CaffeWriter, write_caffe
from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import (
    Clip,
    Convolution,
    Eltwise,
    Interp,
    Opaque,
    Pad,
    Permute,
    Pooling,
    Power,
    ReLU,
    ROIPooling,
    Slice,
    Upsample,
)
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_written import random_feeds

pytestmark = pytest.mark.caffe


def graph_of(nodes, outputs, shape=(2, 4, 6, 6), params=None):
    return Graph("net", (Input("x", shape),), tuple(nodes), params or {}, tuple(outputs)).verify()


def test_outputs_that_are_read_and_values_that_are_not(judge):
    nodes = [
        Node("a", Power(scale=2.0), ("x",), ("a",)),
        Node("b", ReLU(), ("a",), ("b",)),
        Node("parts", Slice(2), ("b",), ("left", "right")),
        Node("c", Power(shift=1.0), ("left",), ("c",)),
    ]
    graph = graph_of(nodes, ["c", "a", "b"])
    judge.check(graph, exact=True)


def test_an_input_that_is_an_output_and_is_read_is_refused(judge):
    graph = graph_of([Node("a", ReLU(), ("x",), ("a",))], ["a", "x"])
    with pytest.raises(UnsupportedError, match="input 'x'"):
        judge.run(graph, {})


def test_names_of_helpers_keep_away_from_the_graphs(judge):
    nodes = [
        Node("clip/high", Clip(0.0, 6.0), ("x",), ("clip/high_max",)),
        Node("clip", Clip(-1.0, 1.0), ("clip/high_max",), ("clip/low",)),
        Node("unused", Power(scale=3.0), ("clip/low",), ("clip/high_negative",)),
        Node("dead", ReLU(), ("x",), ("dead",)),
    ]
    judge.check(graph_of(nodes, ["clip/high_negative"]), exact=True)


def test_names_with_quotes_and_other_alphabets(judge):
    nodes = [
        Node('say "hi"\\', Clip(0.0, 6.0), ("x",), ("größe '1'",)),
        Node("层/1:0", ReLU(0.5), ("größe '1'",), ("out put",)),
    ]
    judge.check(graph_of(nodes, ["out put"]), exact=True)


def test_names_with_control_characters_are_refused(tmp_path):
    nodes = [Node("a\nb", ReLU(), ("x",), ("y",)), Node("c", ReLU(), ("y",), ("z\x00",))]
    with pytest.raises(UnsupportedError) as caught:
        nuqconv.save(graph_of(nodes, ["z\x00"]), tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
    assert len(caught.value.problems) == 2


def test_everything_without_a_form_is_told_at_once(judge):
    nodes = [
        Node("conv", ReLU(), ("x",), ("conv",)),
        Node("roi", ROIPooling((2, 2)), ("conv", "rois"), ("roi",)),
        Node("odd", Opaque("NonMaxSuppression", "it is not known"), ("conv",), ("odd",)),
        Node("behind", Interp((3, 3)), ("odd",), ("behind",)),
        Node("pool", Pooling("MAX", (2, 2), (2, 2), mask=True), ("x",), ("pool", "mask")),
        Node("unpool", Upsample((2, 2)), ("pool", "mask"), ("unpool",)),
    ]
    graph = Graph(
        "net", (Input("x", (1, 4, 6, 6)), Input("rois", (1, 5))), tuple(nodes), {}, ("roi", "behind", "unpool")
    )
    with pytest.raises(UnsupportedError) as caught:
        judge.run(graph, {})
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    for part in (
        "'roi' (ROIPooling)",
        "Fast R-CNN",
        "NonMaxSuppression",
        "it is not known",
        "DetectionOutput",
        "'behind'",
        "SegNet",
    ):
        assert part in told


@pytest.mark.parametrize("batch", [1, 5])
def test_other_batch_sizes_run(judge, batch):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 4, 3, 3)).astype(np.float32)
    nodes = [
        Node("conv", Convolution(3, (3, 3), (1, 1), (1, 1), (1, 1), bias_term=False), ("x",), ("conv",), ("w",)),
        Node("clip", Clip(-1.0, 6.0), ("conv",), ("clip",)),
        Node("up", Interp((12, 11)), ("clip",), ("up",)),
        Node("turn", Permute((0, 2, 3, 1)), ("up",), ("turn",)),
        Node("sum", Eltwise(), ("turn", "turn"), ("sum",)),
    ]
    graph = graph_of(nodes, ["sum"], params={"w": weight})
    feeds = random_feeds(graph)
    whole = judge.check(graph, feeds=feeds)["sum"]
    data = np.resize(feeds["x"], (batch, 4, 6, 6))
    with Net(judge.model, judge.weights, process=judge.process) as net:
        found = net.run({"x": data}, ["sum"])["sum"]
    np.testing.assert_allclose(found, np.resize(whole, (batch, *whole.shape[1:])), rtol=1e-5, atol=1e-5)


def test_a_writer_that_keeps_layers_writes_the_same(tmp_path):
    def written(write, graph, stem):
        files = tmp_path / f"{stem}.prototxt", tmp_path / f"{stem}.caffemodel"
        write(graph, *files)
        return tuple(path.read_bytes() for path in files)

    keeping = CaffeWriter()
    for size, other in ((6, "y"), (8, "y"), (8, "clip/high"), (8, "y")):
        nodes = [
            Node("clip", Clip(-1.0, 6.0), ("x",), ("clip",)),
            Node("pool", Pooling("MAX", (3, 3), (2, 2), round_up=False), ("clip",), (other,)),
        ]
        graph = graph_of(nodes, [other], shape=(1, 4, size, size))
        assert written(keeping.write, graph, "a") == written(write_caffe, graph, "b")


def test_what_is_read_again_computes_the_same(judge):
    nodes = [
        Node("clip", Clip(-1.0, 6.0), ("x",), ("clip",)),
        Node("up", Interp((12, 11)), ("clip",), ("up",)),
    ]
    graph = graph_of(nodes, ["up"])
    feeds = random_feeds(graph)
    first = judge.check(graph, feeds=feeds)["up"]
    again = load_graph(judge.model, judge.weights)
    np.testing.assert_array_equal(judge.check(again, feeds=feeds)["up"], first)


def test_padding_goes_into_convolutions(judge):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 4, 3, 3)).astype(np.float32)
    nodes = [
        Node("pad", Pad((0, 0, 0, 0), (0, 0, 1, 1)), ("x",), ("padded",)),
        Node("conv", Convolution(5, (3, 3), (2, 2), (0, 0), (1, 1), bias_term=False), ("padded",), ("y",), ("w",)),
    ]
    graph = graph_of(nodes, ["y"], params={"w": weight})
    nuqconv.save(graph, judge.model, judge.weights)
    assert [node.name for node in load_graph(judge.model, judge.weights).nodes] == ["conv"]
    data = random_feeds(graph)["x"]
    with Net(judge.model, judge.weights, process=judge.process) as net:
        found = net.run({"x": data})["y"]
    np.testing.assert_allclose(found, OnnxSession(graph, threads=1).run({"x": data})["y"], rtol=1e-5, atol=1e-5)
