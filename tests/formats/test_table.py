"""Every form of every format: written, told by its content, read back, and evaluated equal where others run it."""

from __future__ import annotations

import pickle
from dataclasses import fields

import numpy as np
import onnx
import onnxruntime
import pytest

from nuqconv.backends.onnx.style import Layers, Style
from nuqconv.errors import UnsupportedError
from nuqconv.formats import CAFFE, FORMATS, ONNX, WriteOptions, open_model
from nuqconv.formats.onnx import OnnxForm
from nuqconv.formats.table import format_of, kind_of
from nuqconv.ir.ops import ReLU
from nuqconv.job.output_files import OutputFiles
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.support.nets import conv_net
from tests.support.plans import strongest_plan

FORMS = [pytest.param(entry, form, id=f"{entry.name}-{form.name}") for entry in FORMATS for form in entry.forms]
NAMES = [name for entry in FORMATS for form in entry.forms for name in form.outputs]
BATCH = {"data": np.random.default_rng(3).normal(size=(2, 3, 12, 12)).astype(np.float32)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return conv_net(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def graphs(source):
    """The float graph as it was read, and the quantized one."""
    graph = open_model(source.model, source.weights).read().graph
    quantizer = Quantizer(fold_affine(graph).graph)
    return {False: graph, True: quantizer.apply(strongest_plan(quantizer, BATCH))}


def ran(model, entry, form, caffe_process):
    """The output in a runtime that reads the files itself; None where there is none."""
    if entry is ONNX:
        session = onnxruntime.InferenceSession(str(model.model), providers=["CPUExecutionProvider"])
        return session.run(["prob"], BATCH)[0]
    if form.name == "deploy":
        return None
    with Net(model.model, model.weights, process=caffe_process) as net:
        return net.run(BATCH, ["prob"])["prob"]


@pytest.mark.caffe
@pytest.mark.parametrize(("entry", "form"), FORMS)
def test_each_form_is_written_told_read_and_evaluated_equal(tmp_path, source, graphs, entry, form, caffe_process):
    graph = graphs[form.quantized]
    paths = [tmp_path / f"file{number}" for number in range(len(entry.kinds))]
    form.write(graph, paths)
    assert [kind_of(path) for path in paths] == [(entry, kind) for kind in entry.kinds]
    saved = [tmp_path / f"saved{number}" for number in range(len(entry.kinds))]
    form.save(graph, saved)
    assert [path.read_bytes() for path in saved] == [path.read_bytes() for path in paths]
    model = open_model(tuple(paths))
    again = model.read()
    assert (again.format, again.files) == (entry, tuple(paths))
    assert model.input_names() == ("data",)

    if form.quantized:
        wanted = OnnxSession(graph).run(BATCH)["prob"]
    else:
        with Net(source.model, source.weights, process=caffe_process) as net:
            wanted = net.run(BATCH, ["prob"])["prob"]
    tolerance = 2e-2 if form.name == "qdq" else 1e-6
    found = {"read back": OnnxSession(again.graph).run(BATCH)["prob"], "run": ran(model, entry, form, caffe_process)}
    for name, array in found.items():
        if array is not None:
            np.testing.assert_allclose(array, wanted, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("entry", FORMATS)
def test_one_writer_for_many_graphs_writes_what_each_alone_is(tmp_path, graphs, entry):
    for form in entry.forms:
        write = form.writer(WriteOptions())
        for number, quantized in enumerate((True, False, True) if form.quantized else (False, False)):
            one = [tmp_path / f"{form.name}{number}-{kind}" for kind in range(len(entry.kinds))]
            two = [path.with_name(f"{path.name}-alone") for path in one]
            write(graphs[quantized], one)
            form.write(graphs[quantized], two)
            assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize("entry", FORMATS)
def test_the_float_form_is_not_one_of_quantized_graphs(tmp_path, graphs, entry):
    paths = [tmp_path / f"x{number}" for number in range(len(entry.kinds))]
    for act in (entry.form_named("float").write, entry.form_named("float").save):
        with pytest.raises(UnsupportedError, match="has quantized layers, which the form 'float' has not"):
            act(graphs[True], paths)
    assert not list(tmp_path.iterdir())


def test_the_files_of_a_search_are_those_of_the_forms(tmp_path):
    """A form that a search writes has its files in the result, which is what its users name them by."""
    own = {"nuq_layer_record", "nuq_codebooks", "quant_info", "scale_offset_record"}
    assert {item.name for item in fields(OutputFiles)} == {*NAMES, *own}
    assert len(NAMES) == len(set(NAMES))
    files = OutputFiles.for_prefix(tmp_path / "p", tmp_path / "record.txt", FORMATS)
    assert len(set(files.present().values())) == len(NAMES) + len(own)
    for entry in FORMATS:
        for form in entry.forms:
            paths = files.of(form)
            assert len(paths) in (0, len(entry.kinds))
            assert all(kind.named(path) for kind, path in zip(entry.kinds, paths, strict=False))
            assert files.without([form]).of(form) == ()
    assert set(OutputFiles.for_prefix("p", "r", [CAFFE]).present()) == {
        *own,
        *(name for form in CAFFE.forms for name in form.outputs),
    }


@pytest.mark.parametrize("entry", FORMATS)
def test_names(entry):
    assert len({form.name for form in entry.forms}) == len(entry.forms)
    assert entry.trial in entry.forms
    assert entry.trial.outputs
    assert pickle.loads(pickle.dumps(entry)) is entry
    for form in entry.forms:
        assert entry.form_named(form.name) is form


def test_a_format_says_what_it_cannot_express(tmp_path, graphs):
    assert CAFFE.problems(graphs[False]) == ONNX.problems(graphs[True]) == ()
    files = conv_net(tmp_path)
    text = files.model.read_text() + 'layer { name: "odd" type: "NobodyKnows" bottom: "prob" top: "odd" }\n'
    files.model.write_text(text)
    graph = open_model(files.model, files.weights).read().graph
    assert CAFFE.problems(graph) == ()
    (problem,) = ONNX.problems(graph)
    assert "NobodyKnows" in problem
    assert format_of(files.model) is CAFFE


class _Maxima(Layers):
    """Writes each ReLU without a slope as Max."""

    def write(self, build, node):
        if not isinstance(node.op, ReLU) or node.op.negative_slope:
            return False
        build.node("Max", [node.inputs[0], build.number(0.0, node, "zero")], node, output=node.outputs[0])
        return True


def test_a_further_form_is_one_object(tmp_path, graphs):
    form = OnnxForm("maxima", style=Style("maxima", _Maxima))
    for graph in graphs.values():
        form.write(graph, [tmp_path / "model"])
        kinds = [node.op_type for node in onnx.load(tmp_path / "model").graph.node]
        assert ("Max" in kinds, "Relu" in kinds) == (True, False)
        found = OnnxSession(open_model(tmp_path / "model").read().graph).run(BATCH)["prob"]
        np.testing.assert_array_equal(found, OnnxSession(graph).run(BATCH)["prob"])
