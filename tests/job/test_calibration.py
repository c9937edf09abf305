"""The three sources of activation ranges."""

import hashlib
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nuqconv.backends.caffe.sinks import write_calibration_model
from nuqconv.errors import CalibrationError
from nuqconv.evaluators import OnnxRuntimeEvaluator
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir.ops import ReLU
from nuqconv.job.calibration import Source, calibrate, measure_in_onnxruntime
from nuqconv.passes import fold_affine
from nuqconv.quantize.activation import ifmr
from nuqconv.runtimes.caffe import CaffeProcess, Net
from tests.support.nets import conv_net, write_net

VALUES = ("data", "conv1", "sum", "pool")


@pytest.fixture
def graph(tmp_path):
    files = conv_net(tmp_path)
    return fold_affine(load_graph(files.model, files.weights)).graph


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "staged").mkdir()
    return tmp_path / "staged"


def _data(batches=3, seed=0):
    rng = np.random.default_rng(seed)
    return [{"data": rng.normal(size=(2, 3, 12, 12)).astype(np.float32)} for _ in range(batches)]


def _no_evaluator(model, weights):
    raise AssertionError("the evaluator must not be asked")


def _same_ranges(found, expected):
    assert list(found) == list(expected)
    for value, histogram in expected.items():
        assert found[value].count == histogram.count
        a, b = ifmr(found[value]), ifmr(histogram)
        assert a.scale == pytest.approx(b.scale, rel=1e-3)
        assert abs(a.offset - b.offset) <= 1
    # The input itself is the same to the bit in every runtime, so its histogram is too.
    assert np.array_equal(found["data"].counts, expected["data"].counts)


def _same_batches(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == ["data"]
        np.testing.assert_array_equal(one["data"], other["data"])


def test_first_source_batches_in_onnxruntime(graph, folder):
    found = calibrate(graph, VALUES, batches=_data(), run_model=_no_evaluator, folder=folder)
    assert found.source is Source.ONNXRUNTIME
    assert found.histograms["conv1"].count == 3 * 2 * 8 * 12 * 12
    assert found.histograms["conv1"].minimum == 0
    _same_batches(found.batches, _data())
    assert not list(folder.iterdir())


def test_batches_of_any_size_give_the_same_histogram(graph):
    data = np.concatenate([batch["data"] for batch in _data()])
    whole = measure_in_onnxruntime(graph, ["data"], [{"data": data}])["data"]
    parts = measure_in_onnxruntime(graph, ["data"], [{"data": data[:1]}, {"data": data[1:]}])["data"]
    assert np.array_equal(whole.counts, parts.counts)


def test_onnxruntime_activations_are_real_caffes(graph, caffe_python, tmp_path):
    files = conv_net(tmp_path, stem="again")
    (batch,) = _data(1)
    with Net(files.model, files.weights, python=caffe_python) as net:
        expected = net.run(batch, VALUES)
    found = measure_in_onnxruntime(graph, VALUES, [batch])
    for value in VALUES:
        assert found[value].maximum == pytest.approx(float(expected[value].max()), rel=1e-5)
        assert found[value].minimum == pytest.approx(float(expected[value].min()), rel=1e-5)


@pytest.mark.caffe
def test_second_source_in_a_caffe_that_lives_on(graph, folder, caffe_python):
    """The evaluator's Caffe runs before the calibration and goes on after it."""
    with CaffeProcess(caffe_python) as process:

        def run_model(model, weights):
            with Net(model, weights, process=process, pythonpath=[Path(model).parent]) as net:
                assert net.outputs == ["prob"]
                for batch in _data():
                    net.run(batch)

        found = calibrate(graph, VALUES, batches=None, run_model=run_model, folder=folder)
        assert process.alive
    assert found.source is Source.CAFFE
    _same_ranges(found.histograms, measure_in_onnxruntime(graph, VALUES, _data()))
    _same_batches(found.batches, _data())


SCRIPT = """
import os, sys
os.environ["GLOG_minloglevel"] = "2"
import caffe, numpy as np
net = caffe.Net(sys.argv[1], sys.argv[2], caffe.TEST)
for path in sys.argv[3:]:
    net.blobs["data"].data[...] = np.load(path)
    net.forward()
"""


@pytest.mark.caffe
def test_second_source_in_processes_of_the_evaluators_own(graph, folder, tmp_path, caffe_python):
    """The evaluator starts plain pycaffe by itself, once for each batch, from another folder."""
    paths = []
    for number, batch in enumerate(_data()):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], batch["data"])

    def run_model(model, weights):
        for path in paths:
            subprocess.run(
                [str(caffe_python), "-c", SCRIPT, model, weights, str(path)], check=True, cwd=tmp_path, timeout=600
            )

    found = calibrate(graph, VALUES, batches=None, run_model=run_model, folder=folder)
    assert found.source is Source.CAFFE
    _same_ranges(found.histograms, measure_in_onnxruntime(graph, VALUES, _data()))
    key = lambda batch: hashlib.sha256(batch["data"].tobytes()).digest()  # noqa: E731
    _same_batches(found.batches, sorted(_data(), key=key))


@pytest.mark.caffe
def test_second_source_with_caffe_in_the_evaluators_own_process(graph, folder, tmp_path, caffe_python):
    """One process imports pycaffe, runs the original model and then the calibration model, as an evaluator that holds Caffe does."""
    files = conv_net(tmp_path, stem="original")
    model = write_calibration_model(graph, VALUES, folder)
    np.save(tmp_path / "batch.npy", _data(1)[0]["data"])
    script = SCRIPT.replace(
        "net = ",
        "caffe.Net(sys.argv.pop(1), sys.argv.pop(1), caffe.TEST)\nsys.path.insert(0, os.path.dirname(sys.argv[1]))\nnet = ",
    )
    arguments = [files.model, files.weights, model.model_file, model.weights_file, tmp_path / "batch.npy"]
    subprocess.run([str(caffe_python), "-c", script, *map(str, arguments)], check=True, cwd=tmp_path, timeout=600)
    _same_ranges(model.histograms(), measure_in_onnxruntime(graph, VALUES, _data(1)))


def test_only_so_many_bytes_are_kept(graph, folder, monkeypatch):
    size = _data(1)[0]["data"].nbytes
    monkeypatch.setattr("nuqconv.job.calibration.KEPT_BYTES", 2 * size + 4)
    found = calibrate(graph, VALUES, batches=iter(_data()), run_model=_no_evaluator, folder=folder)
    _same_batches(found.batches, _data()[:2])


@pytest.mark.caffe
def test_the_recorder_stops_in_time(graph, folder, caffe_python):
    size = _data(1)[0]["data"].nbytes
    model = write_calibration_model(graph, VALUES, folder, record_bytes=2 * size + 4)
    with Net(model.model_file, model.weights_file, python=caffe_python, pythonpath=[folder]) as net:
        for batch in _data():
            net.run(batch)
    _same_batches(model.batches(), _data()[:2])
    next(folder.glob("inputs_*")).write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(CalibrationError, match="recorded inputs are damaged"):
        model.batches()


@pytest.mark.caffe
def test_an_input_that_a_layer_overwrites_is_not_recorded(tmp_path, folder, caffe_python):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "half" type: "Power" bottom: "data" top: "data" power_param { scale: 0.5 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
"""
    files = write_net(tmp_path, text, {"fc": [np.ones((2, 4)), np.zeros(2)]})
    model = write_calibration_model(load_graph(files.model, files.weights), ["data"], folder, record_bytes=1 << 20)
    with Net(model.model_file, model.weights_file, python=caffe_python, pythonpath=[folder]) as net:
        net.run({"data": np.array([[2, 4, 6, 8]], np.float32)})
    assert model.inputs == model.batches() == ()
    assert model.histograms()["data"].maximum == 4


def test_the_sink_module_can_be_imported_here(graph, folder, monkeypatch):
    """What an in-process pycaffe does: import by name from the search path, set up, forward."""
    monkeypatch.setitem(sys.modules, "caffe", types.SimpleNamespace(Layer=object))
    model = write_calibration_model(graph, VALUES, folder)
    name = next(folder.glob("*.py")).stem
    with model.importable():
        layer = __import__(name).HistogramSink()
        layer.param_str = next(
            n.origin.source.python_param.param_str
            for n in load_graph(model.model_file, model.weights_file).nodes
            if n.op.kind == "Opaque"
        )
        bottom = [types.SimpleNamespace(data=np.ones((2, 3), np.float32))]
        layer.setup(bottom, [])
        layer.forward(bottom, [])
        layer.forward(bottom, [])
        with pytest.raises(ValueError, match="one bottom and no top"):
            layer.setup(bottom, bottom)
    assert name not in sys.modules
    assert str(folder) not in sys.path
    assert model.histograms()["data"].count == 12


@pytest.mark.caffe
def test_the_calibration_model_gives_the_nets_own_outputs(graph, folder, tmp_path, caffe_python):
    files = conv_net(tmp_path, stem="again")
    model = write_calibration_model(graph, VALUES, folder)
    (batch,) = _data(1)
    with CaffeProcess(caffe_python) as process:
        with Net(files.model, files.weights, process=process) as net:
            expected = net.run(batch)
        with Net(model.model_file, model.weights_file, process=process, pythonpath=[folder]) as net:
            found = net.run(batch)
    assert list(found) == list(expected) == ["prob"]
    np.testing.assert_allclose(found["prob"], expected["prob"], rtol=1e-5)


@pytest.mark.caffe
def test_of_a_blob_written_twice_the_state_that_is_read_is_measured(tmp_path, folder, caffe_python):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "neg" type: "Power" bottom: "data" top: "neg" power_param { scale: -1 } }
layer { name: "square" type: "Power" bottom: "neg" top: "neg" power_param { power: 2 } }
layer { name: "fc2" type: "InnerProduct" bottom: "neg" top: "fc2" inner_product_param { num_output: 2 } }
"""
    files = write_net(tmp_path, text, {name: [np.ones((2, 4)), np.zeros(2)] for name in ("fc", "fc2")})
    graph = load_graph(files.model, files.weights)
    model = write_calibration_model(graph, ["data", "neg"], folder)
    with Net(model.model_file, model.weights_file, python=caffe_python, pythonpath=[folder]) as net:
        net.run({"data": np.array([[1, 2, 3, 4]], np.float32)})
    found = model.histograms()
    assert {name: (h.minimum, h.maximum) for name, h in found.items()} == {"data": (1, 4), "neg": (1, 16)}


def test_third_source_says_why(graph, folder, caplog):
    def run_model(model, weights):
        raise RuntimeError("Unknown layer type: Python")

    found = calibrate(graph, VALUES, batches=None, run_model=run_model, folder=folder)
    assert found.source is Source.NONE
    assert "only weights are quantized" in found.notes[0]
    assert "Unknown layer type: Python" in found.notes[0]
    assert found.notes[0] in caplog.text


def test_an_evaluator_that_runs_nothing(graph, folder):
    found = calibrate(graph, VALUES, batches=None, run_model=lambda model, weights: 1.0, folder=folder)
    assert found.source is Source.NONE
    assert "saw no data" in found.notes[0]


def test_a_damaged_sink_file(graph, folder):
    def run_model(model, weights):
        (Path(model).parent / "0-1-abc.npz").write_bytes(b"PK\x03\x04 no zip")

    with pytest.raises(CalibrationError, match="'data' is damaged"):
        calibrate(graph, VALUES, batches=None, run_model=run_model, folder=folder)


def test_nan_and_no_batches(graph, folder):
    batches = _data(1)
    batches[0]["data"][0, 0, 0, 0] = np.nan
    with pytest.raises(CalibrationError, match="blob 'data', input of 'conv1': 1 values are NaN"):
        calibrate(graph, VALUES, batches=batches, run_model=_no_evaluator, folder=folder)
    with pytest.raises(CalibrationError, match="no data was seen"):
        calibrate(graph, VALUES, batches=[], run_model=_no_evaluator, folder=folder)


def test_opaque_layers_in_the_way_lead_to_the_second_source(tmp_path, folder):
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "odd" type: "Odd" bottom: "data" top: "odd" odd_param { x: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "odd" top: "fc" inner_product_param { num_output: 2 } }
"""
    files = write_net(tmp_path, text, {"fc": [np.ones((2, 32)), np.zeros(2)]})
    graph = load_graph(files.model, files.weights)
    asked = []
    found = calibrate(
        graph, ["odd"], batches=_data(), run_model=lambda model, weights: asked.append(model), folder=folder
    )
    assert len(asked) == 1
    assert "onnxruntime cannot run what leads to" in found.notes[0]


def test_an_input_that_is_overwritten_in_place(tmp_path):
    """Batches are keyed by the blob's name, also where the graph's input value has another."""
    text = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "half" type: "Power" bottom: "data" top: "data" power_param { scale: 0.5 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
"""
    files = write_net(tmp_path, text, {"fc": [np.ones((2, 4)), np.zeros(2)]})
    graph = load_graph(files.model, files.weights)
    found = measure_in_onnxruntime(graph, ["data"], [{"data": np.array([[2, 4, 6, 8]], np.float32)}])
    assert (found["data"].minimum, found["data"].maximum) == (1, 4)
    evaluator = OnnxRuntimeEvaluator(
        {"data": np.full((3, 4), 2, np.float32)}, metric=lambda outputs, labels: outputs["fc"].sum(), max_drop=0
    )
    assert evaluator.eval_model(str(files.model), str(files.weights), 1) == 3 * 2 * 4


def test_constant_data_are_named(graph, folder):
    data = [{"data": np.full((2, 3, 12, 12), 7, np.float32)} for _ in range(2)]
    found = calibrate(graph, VALUES, batches=data, run_model=_no_evaluator, folder=folder)
    assert "calibration data are constant: all 4 samples of input 'data' are the same" in found.notes
    assert (
        "calibration data are constant: every number of input 'data' is 7; are they what the net is for?" in found.notes
    )
    # Samples may be the same without being one number, and values inside of the net without either.
    picture = _data(1)[0]["data"][:1]
    found = calibrate(
        graph, VALUES, batches=[{"data": np.repeat(picture, 3, axis=0)}], run_model=_no_evaluator, folder=folder
    )
    assert found.notes == ("calibration data are constant: all 3 samples of input 'data' are the same",)
    dark = [{"data": batch["data"] - 1000} for batch in _data()]
    low = replace(
        graph, nodes=tuple(replace(node, op=ReLU()) if node.name == "relu2" else node for node in graph.nodes)
    )
    bias = {name: np.full_like(value, -1e6) if name == "conv2/1" else value for name, value in low.params.items()}
    found = calibrate(replace(low, params=bias), VALUES, batches=dark, run_model=_no_evaluator, folder=folder)
    assert found.notes == (
        "constant on all calibration data, so that ranges of other data are not known: 'sum' (0), 'pool' (0)",
    )
    assert calibrate(graph, VALUES, batches=_data(), run_model=_no_evaluator, folder=folder).notes == ()
