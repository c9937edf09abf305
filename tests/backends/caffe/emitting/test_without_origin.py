"""Caffe models whose layers are written from what they compute, as if they came from elsewhere, next to the models themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nuqconv
from nuqconv.backends.caffe import Style, write_caffe
from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph
from nuqconv.ir.ops import Clip, Convolution, Identity
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.caffe import Net
from photos import EVALUATION, photos
from tests.support.nets import conv_net
from tests.support.packages import real_files
from tests.support.plans import strongest_plan

pytestmark = pytest.mark.caffe
LENET = Path(__file__).parents[4] / "examples" / "lenet"


def stripped(graph: Graph) -> Graph:
    """The graph without a trace of Caffe."""
    nodes = tuple(replace(node, origin=None) for node in graph.nodes)
    return replace(graph, nodes=nodes)


def outputs_of(judge, files, feeds):
    with Net(*files, process=judge.process) as net:
        return net.run(feeds)


def check(judge, files, feeds):
    """Writes a model from its graph alone and compares all outputs with the model's own, to the bit."""
    wanted = outputs_of(judge, files, feeds)
    graph = stripped(load_graph(*files))
    nuqconv.save(graph, judge.model, judge.weights)
    assert set(load_graph(judge.model, judge.weights).node) == set(graph.node)
    found = outputs_of(judge, (judge.model, judge.weights), feeds)
    assert wanted.keys() == found.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_lenet(judge):
    with np.load(LENET / "test_set.npz") as arrays:
        images = next(array for array in arrays.values() if array.ndim >= 3)[:4]
    check(judge, (LENET / "deploy.prototxt", LENET / "lenet.caffemodel"), {"data": feed(judge, images)})


def feed(judge, images):
    """Images in the shape of LeNet's input."""
    return (images.reshape(len(images), 1, 28, 28) / np.float32(255)).astype(np.float32)


@pytest.mark.package
@pytest.mark.parametrize("name", ["nsfw", "super_resolution"])
def test_real_models(judge, name):
    data = photos(EVALUATION, 224, 1)
    if name == "nsfw":
        data = data[:, ::-1] - np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    else:
        data = data.mean(axis=1, keepdims=True) / np.float32(255)
    check(judge, real_files(name), {"data": data})


@pytest.mark.package
def test_detection_layers_are_refused_by_name(tmp_path):
    graph = stripped(load_graph(*real_files("mobilenet_ssd")))
    with pytest.raises(UnsupportedError) as caught:
        nuqconv.save(graph, tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
    (problem,) = caught.value.problems
    assert "'detection_out' (DetectionOutput)" in problem
    assert "SSD" in problem


@pytest.mark.package
def test_a_detector_up_to_its_detections(judge):
    """Default boxes are stored, so that what is left runs in a Caffe without SSD's layers."""
    graph = load_graph(*real_files("mobilenet_ssd"))
    part = stripped(graph.up_to(graph.node["detection_out"].inputs))
    data = (photos(EVALUATION, 300, 1)[:, ::-1] - np.float32(127.5)) * np.float32(0.007843)
    judge.check(part, feeds={"data": data}, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("style", Style)
def test_quantized(judge, style):
    """What the search writes does not depend on where the float model came from, but for the layers' spelling."""
    files = conv_net(judge.folder)
    feeds = {"data": np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)}
    graph = fold_affine(load_graph(*files.__dict__.values())).graph
    plan = strongest_plan(Quantizer(graph), feeds)
    models = []
    for stem, source in (("a", graph), ("b", stripped(graph))):
        written = judge.folder / f"{stem}.prototxt", judge.folder / f"{stem}.caffemodel"
        write_caffe(Quantizer(source).apply(plan), *written, style)
        models.append(load_graph(*written))
    first, second = models
    assert [(node.name, node.op) for node in first.nodes] == [(node.name, node.op) for node in second.nodes]
    for name, array in first.params.items():
        assert second.params[name].dtype == array.dtype
        np.testing.assert_array_equal(second.params[name], array)
    if style is Style.FAKE_QUANT:
        wanted, found = (
            outputs_of(judge, (judge.folder / f"{stem}.prototxt", judge.folder / f"{stem}.caffemodel"), feeds)
            for stem in "ab"
        )
        np.testing.assert_array_equal(found["prob"], wanted["prob"])


def test_new_nodes_among_layers_that_work_in_place(judge):
    """A pass may put operators into a Caffe net whose blobs are written several times."""
    files = conv_net(judge.folder)
    graph = load_graph(files.model, files.weights)
    changed = {"relu1": Clip(0.0, 0.5), "bn1": Identity(), "relu2": Clip(-1.0, 6.0)}
    nodes = [
        replace(node, op=changed[node.name], origin=None, params=()) if node.name in changed else node
        for node in graph.nodes
    ]
    mixed = graph.with_nodes(nodes).verify()
    assert any(isinstance(node.op, Convolution) and node.origin for node in mixed.nodes)
    judge.check(mixed)
