"""A model argument: a path, a pair of paths, or a graph; files are told by their content, whatever they are called."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ConfigError, FormatError, NuqconvError
from nuqconv.formats import CAFFE, ONNX, ReadOptions, open_model, open_models, shared
from nuqconv.formats.argument import group_files
from nuqconv.formats.table import kind_of
from nuqconv.frontends.caffe.schema import NetParameter
from tests.support.auto import Judge
from tests.support.nets import conv_net, write_net


@pytest.fixture
def files(tmp_path):
    return conv_net(tmp_path)


@pytest.fixture
def onnx_file(files, tmp_path):
    nuqconv.save(nuqconv.load(files.model, files.weights), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


PAIRS = [
    ("net.prototxt.txt", "net.caffemodel"),
    ("net.pbtxt", "net.CaffeModel"),
    ("NET.PROTOTXT", "weights"),
    ("definition", "weights.bin"),
    ("net.onnx", "net.prototxt"),
]


@pytest.mark.parametrize("names", PAIRS)
def test_caffe_files_by_any_name(files, tmp_path, names):
    model, weights = (tmp_path / "renamed" / name for name in names)
    model.parent.mkdir()
    shutil.copy(files.model, model)
    shutil.copy(files.weights, weights)
    wanted = nuqconv.load(files.model, files.weights)
    for graph in (nuqconv.load(model, weights), nuqconv.load((model, weights)), nuqconv.load([str(model), weights])):
        assert graph.nodes == wanted.nodes or [node.op for node in graph.nodes] == [node.op for node in wanted.nodes]
    assert open_model(model, weights).format is CAFFE
    (one,) = open_models([model, weights])
    assert one.paths == (model, weights)
    nuqconv.convert(model, weights, tmp_path / "out.onnx")
    report = nuqconv.compare((model, weights), tmp_path / "out.onnx", runtimes=("onnxruntime", "onnxruntime"))
    assert report.agrees


@pytest.mark.parametrize("name", ["NET.ONNX", "net", "net.prototxt", "net.caffemodel", "net.txt"])
def test_onnx_files_by_any_name(files, onnx_file, tmp_path, name):
    path = tmp_path / "renamed" / name
    path.parent.mkdir()
    shutil.copy(onnx_file, path)
    assert open_model(path).format is ONNX
    assert [node.op for node in nuqconv.load(path).nodes] == [node.op for node in nuqconv.load(onnx_file).nodes]
    nuqconv.convert(path, tmp_path / "back.prototxt.txt")
    assert (tmp_path / "back.caffemodel").exists()
    report = nuqconv.compare((files.model, files.weights), path, runtimes=("onnxruntime", "onnxruntime"))
    assert report.agrees


def test_old_generations_of_weights_are_told(tmp_path):
    for number, net in enumerate((NetParameter(name="n"), NetParameter())):
        net.layers.add(name="a", type=4)
        path = tmp_path / f"old{number}"
        path.write_bytes(net.SerializeToString())
        assert kind_of(path) == (CAFFE, CAFFE.kinds[1])


TEXTS = ["# a licence\n\n  layer { }", "layers: {", 'name: "x"', "input:'data'", "\ufefflayer {", "layer <"]


@pytest.mark.parametrize("text", TEXTS)
def test_beginnings_of_a_definition(tmp_path, text):
    path = tmp_path / "net.onnx"
    path.write_text(text, encoding="utf-8")
    assert kind_of(path) == (CAFFE, CAFFE.kinds[0])


STRANGERS = [
    b"",
    b"net: 'train.prototxt'",
    b"conv1;fc1\n",
    b"layer;name",
    b"record { key: 'a' }",
    b"{}",
    b"PK\x03\x04",
    bytes(range(255, 0, -1)),
]


@pytest.mark.parametrize("content", STRANGERS)
def test_what_does_not_tell_itself_goes_by_its_name(tmp_path, content):
    for name, kind in (("x.bin", None), ("x.ONNX", (ONNX, ONNX.kinds[0])), ("x.pbtxt", (CAFFE, CAFFE.kinds[0]))):
        path = tmp_path / name
        path.write_bytes(content)
        assert kind_of(path) == kind


def test_files_that_cannot_be_looked_at(tmp_path, files):
    (tmp_path / "folder.onnx").mkdir()
    for name in ("folder.onnx", "missing.onnx", "\0.onnx"):
        assert kind_of(tmp_path / name) == (ONNX, ONNX.kinds[0])
        with pytest.raises(FormatError, match="cannot be read"):
            nuqconv.load(tmp_path / name)
    with pytest.raises(FormatError, match="cannot be read"):
        nuqconv.load(tmp_path / "missing", files.weights)


def test_a_pipe_is_read_once(onnx_file, tmp_path):
    """What is looked at in a pipe would be gone."""
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(onnx_file.read_bytes()))
    writer.start()
    graph = nuqconv.load(pipe)
    writer.join()
    assert [node.op for node in graph.nodes] == [node.op for node in nuqconv.load(onnx_file).nodes]


@pytest.mark.parametrize("cut", [1, 7, 30, 200, -1])
def test_a_file_that_is_cut_is_refused_as_what_it_is(onnx_file, tmp_path, cut):
    path = tmp_path / "cut.onnx"
    path.write_bytes(onnx_file.read_bytes()[:cut])
    with pytest.raises(NuqconvError, match=r"cut\.onnx"):
        nuqconv.load(path)


def test_files_that_do_not_belong_together(files, onnx_file, tmp_path):
    with pytest.raises(ConfigError, match=r"an ONNX model holds its weights; .*net\.caffemodel does not go with it"):
        open_model(onnx_file, files.weights)
    with pytest.raises(ConfigError, match=r"a \.prototxt needs its \.caffemodel; only an \.onnx model stands alone"):
        open_model(files.model)
    with pytest.raises(ConfigError, match=r"a \.prototxt needs its \.caffemodel"):
        open_model((files.model, files.weights, files.weights))
    with pytest.raises(ConfigError, match="found nothing"):
        open_model(())
    assert open_model(onnx_file, onnx_file).paths == (onnx_file,)
    with pytest.raises(ConfigError, match=r"expected a \.prototxt followed by its \.caffemodel, or an \.onnx file"):
        open_models([files.model, onnx_file])
    with pytest.raises(ConfigError, match="expected a"):
        open_models([tmp_path / "strange.bin"])


def test_files_of_a_command_line(files, onnx_file, tmp_path):
    other = tmp_path / "data.npz"
    given = [onnx_file, files.model, files.weights, other, files.model, onnx_file, files.weights]
    assert group_files(given) == [
        (onnx_file,),
        (files.model, files.weights),
        (other,),
        (files.model,),
        (onnx_file,),
        (files.weights,),
    ]


def test_a_graph(files, onnx_file, tmp_path):
    graph = nuqconv.load(files.model, files.weights)
    model = open_model(graph)
    assert (model.format, model.input_names(), model.paths) == (CAFFE, ("data",), ())
    assert model.read().graph is nuqconv.load(graph) is graph
    assert model.read(ReadOptions({"data": [2, 3, 12, 12]})).graph is graph
    assert open_model(nuqconv.load(onnx_file)).format is ONNX
    assert open_model(model) is model
    with pytest.raises(ConfigError, match="a graph has its shapes"):
        model.read(ReadOptions({"data": (1, 3, 12, 12)}))
    with pytest.raises(ConfigError, match="has no files, which are needed here"):
        nuqconv.auto_nuq.auto_nuq(graph, None, Judge(), tmp_path / "c", tmp_path / "r", tmp_path / "p")
    with pytest.raises(ConfigError, match="in memory"):
        nuqconv.load(graph, files.weights)
    nuqconv.convert(graph, tmp_path / "of_graph.onnx")
    nuqconv.convert((files.model, files.weights), tmp_path / "of_pair.onnx")
    feeds = {"data": np.ones((2, 3, 12, 12), np.float32)}
    report = nuqconv.compare(tmp_path / "of_graph.onnx", tmp_path / "of_pair.onnx", inputs=feeds)
    assert report.agrees
    nuqconv.create_quant_config(tmp_path / "config.json", graph, None)
    nuqconv.create_quant_config(tmp_path / "other.json", (files.model, files.weights), None)
    assert (tmp_path / "config.json").read_text() == (tmp_path / "other.json").read_text()


def test_a_model_is_read_once_for_equal_options(files, onnx_file, monkeypatch):
    for paths in ((files.model, files.weights), (onnx_file,)):
        model = open_model(paths)
        assert model.input_names() == ("data",)
        first = model.read(ReadOptions({"data": [2, 3, 12, 12]}))
        assert model.read(ReadOptions({"data": (2, 3, 12, 12)})) is first
        other = model.read(ReadOptions({"data": (1, 3, 12, 12)}))
        assert other.graph.inputs[0].shape == (1, 3, 12, 12)
        model.forget()
        assert model.read(ReadOptions({"data": (1, 3, 12, 12)})) is not other


def test_a_shared_model_is_the_one_that_others_open(files, onnx_file):
    for paths in ((files.model, files.weights), (onnx_file, onnx_file)):
        model = open_model(*paths)
        with shared(model):
            assert open_model(*paths) is model
            assert open_model(str(paths[0]), str(paths[1])) is model
            assert open_model(files.model, onnx_file.with_name("other")) is not model
        assert open_model(*paths) is not model


def test_stages_and_level_choose_layers(tmp_path):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
layer { name: "a" type: "ReLU" bottom: "data" top: "a" include { stage: "deploy" } }
layer { name: "b" type: "ReLU" bottom: "data" top: "b" include { min_level: 2 } }
layer { name: "c" type: "TanH" bottom: "data" top: "c" }
"""
    files = write_net(tmp_path, text, {})
    model = open_model(files.model, files.weights)

    def names(**options):
        return [node.name for node in model.read(ReadOptions(**options)).graph.nodes]

    assert names() == ["c"]
    assert names(stages=frozenset({"deploy"})) == ["a", "c"]
    assert names(level=2) == ["b", "c"]
