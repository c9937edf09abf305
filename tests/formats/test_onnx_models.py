"""ONNX models as sources: read, written again, converted, searched; the originals in onnxruntime and real Caffe are the judges."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import nuqconv
from nuqconv.data.datafile import read_data
from nuqconv.errors import ConfigError, EvaluatorError, ModelError, OutputError
from nuqconv.frontends.onnx import read_onnx_model
from nuqconv.ir.ops import Convolution, Opaque, Quantize
from nuqconv.passes import collapse_quantize
from nuqconv.quantize.plan import Precision
from tests.support.auto import Job, contents, error_evaluator


def session(path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


RNG = {}


@pytest.fixture(autouse=True)
def _same_numbers():
    """Each test has the same numbers, whatever ran before it."""
    RNG["now"] = np.random.default_rng(21)


def floats(*shape):
    return RNG["now"].standard_normal(shape).astype(np.float32)


def save_model(path, nodes, tensors, *, inputs=(("data", ("N", 3, 12, 12)),), outputs=("prob",), opset=17):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def model(tmp_path):
    """A small network as PyTorch exports it: a shape chain in front of the last layer, ReLU6, a residual."""
    nodes = [
        helper.make_node("Conv", ["data", "w1", "b1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c1", "zero", "six"], ["r1"], "relu6"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2", pads=[0, 0, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c2", "g", "b", "m", "v"], ["n2"], "bn"),
        helper.make_node("Add", ["n2", "c2"], ["s"], "add"),
        helper.make_node("GlobalAveragePool", ["s"], ["p"], "gap"),
        helper.make_node("Shape", ["p"], ["shape"], "shape"),
        helper.make_node("Gather", ["shape", "first"], ["batch"], "gather"),
        helper.make_node("Concat", ["batch", "rest"], ["target"], "target", axis=0),
        helper.make_node("Reshape", ["p", "target"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["fc"], "fc", transB=1),
        helper.make_node("Softmax", ["fc"], ["prob"], "prob"),
    ]
    tensors = {
        "w1": floats(16, 3, 3, 3),
        "b1": floats(16),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "w2": floats(32, 16, 3, 3) / 5,
        "g": np.abs(floats(32)) + 0.5,
        "b": floats(32),
        "m": floats(32),
        "v": np.abs(floats(32)) + 0.5,
        "first": np.array([0], np.int64),
        "rest": np.array([-1], np.int64),
        "w3": floats(10, 32),
        "b3": floats(10),
    }
    return save_model(tmp_path / "net.onnx", nodes, tensors)


def same(found, wanted, tolerance=1e-5):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("size", [1, 5])
def test_read_and_written_again(model, tmp_path, size):
    graph = nuqconv.load(model)
    assert not any(isinstance(node.op, Opaque) for node in graph.nodes)
    assert [item.shape for item in graph.inputs] == [(1, 3, 12, 12)]
    nuqconv.convert(model, tmp_path / "again.onnx", dynamic_batch=True)
    data = floats(size, 3, 12, 12)
    same(session(tmp_path / "again.onnx").run(None, {"data": data})[0], session(model).run(None, {"data": data})[0])


@pytest.mark.caffe
def test_onnx_to_caffe_in_real_caffe(model, tmp_path):
    nuqconv.convert(model, tmp_path / "net.prototxt")
    data = floats(1, 3, 12, 12)
    report = nuqconv.compare(model, (tmp_path / "net.prototxt", tmp_path / "net.caffemodel"), inputs={"data": data})
    assert report.agrees
    assert "real Caffe" in report.sides[1]
    assert {"c1", "r1", "c2", "n2", "s", "p", "fc", "prob"} <= {blob.name for blob in report.blobs}


def test_search_on_an_onnx_model(model, tmp_path):
    config, data = tmp_path / "config.json", {"data": floats(16, 3, 12, 12)}
    nuqconv.create_quant_config(config, model, None, batch_num=2)
    evaluator = nuqconv.OnnxRuntimeEvaluator(data, metric="output_error", max_error=0.1, batch_size=8)
    out = tmp_path / "out"
    out.mkdir()
    result = nuqconv.auto_nuq(model, None, evaluator, config, out / "record.txt", out / "m", progress=False)
    assert any(layer.precision is Precision.NUQ for layer in result.layers)
    files = result.files
    plain = {name: session(path) for name, path in files.present().items() if name.endswith("onnx")}
    assert set(plain) == {"fake_quant_onnx", "qdq_onnx", "nuq_onnx"}
    original = session(model).run(None, data)[0]
    found = {name: item.run(None, data)[0] for name, item in plain.items()}
    error = np.linalg.norm(found["fake_quant_onnx"] - original) / np.linalg.norm(original)
    assert error == pytest.approx(result.metric, rel=1e-4)
    assert np.array_equal(found["nuq_onnx"], found["fake_quant_onnx"])
    same(found["qdq_onnx"], found["fake_quant_onnx"], 0.05)
    assert files.nuq_onnx.stat().st_size < files.fake_quant_onnx.stat().st_size < model.stat().st_size
    caffe = nuqconv.OnnxRuntimeEvaluator(data, metric=lambda outputs, _: float(outputs["prob"].sum()), max_drop=1)
    caffe_sum = caffe.eval_model(str(files.fake_quant_model), str(files.fake_quant_weights), 1)
    assert caffe_sum == pytest.approx(float(found["fake_quant_onnx"].sum()), rel=1e-6)


@pytest.mark.caffe
def test_the_caffe_outputs_in_real_caffe(model, tmp_path):
    config, data = tmp_path / "config.json", {"data": floats(8, 3, 12, 12)}
    nuqconv.create_quant_config(config, model, None, batch_num=1)
    evaluator = nuqconv.OnnxRuntimeEvaluator(data, metric="output_error", max_error=0.1, batch_size=8)
    result = nuqconv.auto_nuq(model, None, evaluator, config, tmp_path / "record.txt", tmp_path / "m", progress=False)
    files = result.files
    wanted = session(files.fake_quant_onnx).run(None, data)[0]
    with nuqconv.CaffeEvaluator(data, metric="output_error", max_error=1.0, batch_size=8) as caffe:
        (found,) = caffe.run(str(files.fake_quant_model), str(files.fake_quant_weights), iter([data]))
        same(found["prob"], wanted, 1e-6)
        with pytest.raises(EvaluatorError, match="real Caffe runs no ONNX model"):
            caffe.eval_model(str(model), str(model), 1)


def test_a_fake_quant_model_is_found_to_be_one(model, tmp_path):
    """Read back from ONNX, the quantization is one operator again, so that trials run fast."""
    config, data = tmp_path / "config.json", {"data": floats(8, 3, 12, 12)}
    nuqconv.create_quant_config(config, model, None, batch_num=1)
    evaluator = nuqconv.OnnxRuntimeEvaluator(data, metric="output_error", max_error=0.1, batch_size=8)
    result = nuqconv.auto_nuq(model, None, evaluator, config, tmp_path / "r", tmp_path / "m", progress=False)
    graph = collapse_quantize(read_onnx_model(result.files.nuq_onnx).graph)
    quantized = [node for node in graph.nodes if isinstance(node.op, Quantize)]
    assert len(quantized) == sum(layer.precision is not Precision.FLOAT for layer in result.layers)
    weights = [graph.params[node.params[0]] for node in graph.nodes if isinstance(node.op, Convolution)]
    assert all(np.array_equal(weight, np.rint(weight)) for weight in weights)


def test_a_network_that_caffe_cannot_express(tmp_path):
    """A Loop is nothing that anybody here reads; its outputs are ONNX models all the same, up to it."""
    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], "conv"),
        helper.make_node("Unknown", ["c"], ["u"], "unknown", domain="strange"),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, {"w": floats(4, 3, 3, 3)}, outputs=("u",))
    graph = nuqconv.load(path)
    assert [node.op.layer_type for node in graph.nodes if isinstance(node.op, Opaque)] == ["strange.Unknown"]
    with pytest.raises(nuqconv.errors.UnsupportedError, match=r"strange\.Unknown"):
        nuqconv.convert(path, tmp_path / "m.prototxt")
    with pytest.raises(nuqconv.errors.UnsupportedError, match=r"strange\.Unknown"):
        nuqconv.convert(path, tmp_path / "n.onnx")


def test_the_wrong_files(model, tmp_path):
    with pytest.raises(ConfigError, match="an ONNX model holds its weights"):
        nuqconv.load(model, tmp_path / "w.caffemodel")
    with pytest.raises(ConfigError, match=r"needs its \.caffemodel"):
        nuqconv.load(tmp_path / "m.prototxt")
    with pytest.raises(ConfigError, match="what is to be written"):
        nuqconv.convert(tmp_path / "m.prototxt", tmp_path / "m.caffemodel")
    with pytest.raises(OutputError, match=r"expected one file that ends in \.onnx"):
        nuqconv.convert(model, tmp_path / "m.txt")
    with pytest.raises(ModelError, match="which is no input"):
        nuqconv.load(model, input_shapes={"other": (1, 3, 12, 12)})


def test_caffe_models_get_onnx_outputs_on_demand(tmp_path):
    job = Job(tmp_path / "job")
    result = job.run(error_evaluator(0.5), onnx=True)
    (item,) = session(result.files.fake_quant_onnx).get_inputs()
    data = {item.name: floats(2, *item.shape[1:])}
    names = ("fake_quant_onnx", "qdq_onnx", "nuq_onnx")
    found = [session(getattr(result.files, name)).run(None, data)[0] for name in names]
    assert np.array_equal(found[0], found[2])
    assert set(contents(job.out)) >= {"m_nuq_model.onnx"} or any(
        name.endswith("nuq_model.onnx") for name in contents(job.out)
    )


def test_data_give_the_open_sizes(tmp_path, monkeypatch):
    from nuqconv.cli import main  # noqa: PLC0415

    nodes = [
        helper.make_node("Conv", ["data", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["prob"], "relu"),
    ]
    path = save_model(tmp_path / "m.onnx", nodes, {"w": floats(16, 3, 3, 3)}, inputs=(("data", ("N", 3, "H", "W")),))
    np.savez(tmp_path / "set.npz", data=floats(8, 3, 10, 14))
    assert read_data(tmp_path / "set.npz", ["data"]).inputs["data"].shape == (8, 3, 10, 14)
    arguments = [
        "auto",
        str(path),
        "--data",
        str(tmp_path / "set.npz"),
        "--metric",
        "output_error",
        "--max-error",
        "0.2",
    ]
    monkeypatch.setattr("sys.argv", ["nuqconv", *arguments, "--save", str(tmp_path / "o"), "--batch-size", "4"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert (tmp_path / "o_nuq_model.onnx").exists()
    assert (tmp_path / "o_deploy_model.prototxt").exists()
