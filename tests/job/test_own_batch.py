"""ONNX models whose batch is fixed, as most exporters write them: searched, evaluated and written in batches of their own."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import nuqconv
from nuqconv.cli import app
from nuqconv.errors import ConfigError
from nuqconv.evaluators import BatchEvaluator

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": (RNG.normal(size=(16, 3, 3, 3)) * 0.2).astype(np.float32),
    "v": (RNG.normal(size=(16, 16, 3, 3)) * 0.1).astype(np.float32),
    "m": (RNG.normal(size=(16 * 64, 10)) * 0.1).astype(np.float32),
}
X = RNG.normal(size=(18, 3, 8, 8)).astype(np.float32)


def export(path, batch, height=8, flat=None):
    """What exporters write of a small classifier; its Reshape fixes the batch where the batch is a number."""
    shape = [-1 if isinstance(batch, str) else batch, 16 * 64] if flat is None else flat
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "v"], ["d"], pads=[1] * 4),
        helper.make_node("Reshape", ["d", "s"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    stored.append(numpy_helper.from_array(np.int64(shape), "s"))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, height, 8])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])
    graph = helper.make_graph(nodes, "net", [given], [made], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def labels(tmp_path):
    """What onnxruntime says of the model with batch 1."""
    session = onnxruntime.InferenceSession(export(tmp_path / "judge.onnx", 1))
    found = np.concatenate([session.run(None, {"x": X[n : n + 1]})[0] for n in range(len(X))])
    return found.argmax(1)


def batch_of(path):
    item = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0]
    return item.dim_param or item.dim_value


@pytest.mark.parametrize(
    ("batch", "height", "written", "deployed"), [(1, 8, 1, 1), (4, 8, 4, 4), ("N", 8, "N", 18), (1, "H", 1, 1)]
)
def test_auto_with_defaults(tmp_path, capsys, labels, batch, height, written, deployed):
    model = export(tmp_path / "net.onnx", batch, height)
    np.savez(tmp_path / "x.npz", x=X, label=labels)
    save = tmp_path / "out" / "m"
    words = ["auto", model, "--data", tmp_path / "x.npz", "--max-drop", "30%", "--save", save, "--max-evaluations", "2"]
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words])
    assert not ended.value.code, capsys.readouterr().err
    for name in ("fake_quant_model", "qdq_model", "nuq_model"):
        assert batch_of(f"{save}_{name}.onnx") == written, name
    for form in ("deploy", "fake_quant"):
        graph = nuqconv.load(f"{save}_{form}_model.prototxt", f"{save}_{form}_weights.caffemodel")
        assert graph.inputs[0].shape == (deployed, 3, 8, 8)
    session = onnxruntime.InferenceSession(f"{save}_fake_quant_model.onnx")
    size = batch if isinstance(batch, int) else 9
    found = [session.run(["y"], {"x": X[n : n + size]})[0] for n in range(0, 16, size) if n + size <= 18]
    top = np.concatenate(found).argmax(1)
    assert np.mean(top == labels[: len(top)]) > 0.5


@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_evaluators_run_them_in_batches_of_their_own(tmp_path, labels, batch):
    """18 samples are no multiple of 4: the last batch is filled up, and what is made of the filling is not judged."""
    model = str(export(tmp_path / "net.onnx", batch))
    wrong = labels.copy()
    wrong[[3, 16, 17]] += 1
    seen = []

    def metric(outputs, given):
        seen.append(outputs["y"])
        return float(np.mean(outputs["y"].argmax(1) == wrong))

    for measure in ("top1", metric):
        evaluator = BatchEvaluator({"x": X}, labels=wrong, metric=measure, satisfied=lambda original, new: True)
        with evaluator:
            assert evaluator.eval_model(model, model, evaluator.evaluate_batch_num) == pytest.approx(15 / 18)
    assert seen[0].shape == (18, 10)
    found = nuqconv.evaluate([model], data={"x": X}, labels=wrong)
    assert found.sides[0].value == pytest.approx(15 / 18)


def test_models_of_different_batches_are_told(tmp_path, labels):
    one, four = export(tmp_path / "a.onnx", 1), export(tmp_path / "b.onnx", 4)
    with pytest.raises(ConfigError, match="different sizes") as caught:
        nuqconv.evaluate([one, four], data={"x": X}, labels=labels)
    assert len(caught.value.problems) == 2
    both = nuqconv.evaluate([one, export(tmp_path / "c.onnx", "N")], data={"x": X}, labels=labels)
    assert [side.value for side in both.sides] == [1, 1]
