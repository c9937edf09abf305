"""``nuqconv convert`` and ``nuqconv compare``."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nuqconv.cli.options import parse_shapes
from nuqconv.errors import ConfigError
from tests.support.nets import conv_net

from .conftest import MODEL

ORT = ("--runtime", "onnxruntime", "--runtime", "onnxruntime")


@pytest.fixture
def converted(run, tmp_path):
    path = tmp_path / "lenet.onnx"
    assert run("convert", *MODEL, path).code == 0
    return path


def test_convert_prints_a_summary(run, tmp_path):
    target, summary = tmp_path / "lenet.onnx", tmp_path / "summary.json"
    ended = run("convert", *MODEL, target, "--opset", "17", "--dynamic-batch", "--json", summary)
    assert ended.code == 0
    for text in ("input data  Nx1x28x28", "output prob  Nx10", "8 (2 Convolution", "parameters  431,080", "opset 17"):
        assert text in ended.out
    assert f"{target.stat().st_size:,} bytes" in ended.out
    assert str(target) in ended.out
    assert json.loads(summary.read_text())["inputs"] == {"data": ["N", 1, 28, 28]}


def test_convert_to_caffe_with_other_shape(run, tmp_path):
    ended = run("convert", *MODEL, tmp_path / "a.prototxt", "--input-shape", "data:4,1,28,28")
    assert ended.code == 0
    assert "written as  Caffe" in ended.out
    assert "output prob  4x10" in ended.out
    assert (tmp_path / "a.caffemodel").is_file()


def test_convert_folds(run, tmp_path):
    files = conv_net(tmp_path)
    ended = run("convert", files.model, files.weights, tmp_path / "a.onnx", "--fold")
    assert "folded  2 layers into 1 others" in ended.out
    assert "BatchNorm" not in ended.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--opset", "5"), "opset 5 is not supported"),
        (("--integer",), "has no quantized layers"),
        (("--input-shape", "data=1,3"), "expected NAME:SIZE"),
        (("--input-shape", "image:1,1,28,28"), "'image'"),
        (("--outputs", "nothing"), "'nothing'"),
    ],
)
def test_convert_refuses(run, tmp_path, options, message):
    ended = run("convert", *MODEL, tmp_path / "a.onnx", *options)
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "a.onnx").exists()


def test_compare_agrees(run, converted, tmp_path):
    report = tmp_path / "report.json"
    ended = run("compare", *MODEL, converted, *ORT, "--json", report, columns=150)
    assert ended.code == 0
    assert "all 8 common blobs agree" in ended.out
    assert "InnerProduct" in ended.out
    content = json.loads(report.read_text())
    # Both sides are this package's own conversion.
    assert (content["agrees"], content["verdict"]) == (True, "not proven")
    assert "not proven: all 8 common blobs agree" in ended.out
    assert len(content["columns"][0]["blobs"]) == 8


def test_compare_names_the_first_layer(run, converted, tmp_path):
    model = onnx.load(converted)
    (tensor,) = (item for item in model.graph.initializer if item.name == "conv2/0")
    array = numpy_helper.to_array(tensor).copy()
    array[3, 2, 1, 0] += 1
    tensor.CopyFrom(numpy_helper.from_array(array, "conv2/0"))
    onnx.save(model, tmp_path / "bad.onnx")
    ended = run("compare", *MODEL, tmp_path / "bad.onnx", *ORT, columns=150)
    assert ended.code == 1
    assert "first difference in" in ended.out
    assert "layer 'conv2' (Convolution)" in ended.out
    assert "likely cause: its weights differ: 1 of 25000 numbers of blob 0, most at (3, 2, 1, 0)" in ended.out
    assert "6 of 8 common blobs differ" in ended.out
    # A tolerance that is wide enough accepts it.
    assert run("compare", *MODEL, tmp_path / "bad.onnx", *ORT, "--rtol", "10", "--atol", "10").code == 0
    assert run("compare", *MODEL, tmp_path / "bad.onnx", *ORT, "--outputs", "pool1").code == 0


def test_compare_with_given_inputs(run, converted, tmp_path):
    np.savez(tmp_path / "x.npz", data=np.zeros((1, 1, 28, 28), np.uint8))
    ended = run("compare", *MODEL, converted, *ORT, "--data", tmp_path / "x.npz", columns=150)
    assert ended.code == 0
    assert "data 1x1x28x28: given" in ended.out


def test_compare_with_real_caffe(run, caffe_python):
    ended = run("compare", *MODEL, columns=150)
    assert ended.code == 0
    assert "real Caffe" in ended.out
    assert "all 7 common blobs agree" in ended.out


def test_compare_with_opencv(run):
    pytest.importorskip("cv2")
    ended = run("compare", *MODEL, "--runtime", "opencv", columns=150)
    assert ended.code == 0
    assert "OpenCV" in ended.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MODEL[0],), "followed by its .caffemodel"),
        ((*MODEL, *MODEL, *MODEL), "3 models are given"),
        ((*MODEL, *ORT), "compared with itself"),
        ((*MODEL, "--runtime", "caffe,onnxruntime,onnxruntime"), "compared with itself"),
        ((*MODEL, "--runtime", "caffe,tensorrt"), "'tensorrt' is not one of"),
        ((*MODEL, "--runtime", "opencv", "--tolerance", "prob=1"), "expected NAME:rtol=NUMBER"),
        ((*MODEL, "--runtime", "opencv", "--tolerance", "prob2:rtol=1"), "'prob2' fits none of the"),
        ((*MODEL, "--runtime", "opencv", "--function", "nowhere.py"), "nowhere.py: there is no such file"),
        ((*MODEL, "--against", MODEL[0]), "is no .npz file"),
        ((*MODEL, "--runtime", "opencv", "--data", "nowhere.npz"), "nowhere.npz"),
        ((*MODEL, "--runtime", "opencv", "--input-shape", "image:1"), "'image' is no input"),
        ((*MODEL, "--runtime", "opencv", "--json", MODEL[0]), "is an input of this run"),
    ],
)
def test_compare_refuses(run, arguments, message):
    ended = run("compare", *arguments)
    assert ended.code == 2
    assert message in ended.err.replace("\n", " ")


def test_shapes_as_text():
    assert parse_shapes(["data:1,3,300,300", "a:b:2x4"]) == {"data": (1, 3, 300, 300), "a:b": (2, 4)}
    assert parse_shapes(None) == {}
    with pytest.raises(ConfigError) as found:
        parse_shapes(["data", "data:1,", ":3", "data:-1", "data:0", "x:1", "x:2"])
    assert len(found.value.problems) == 6


def test_several_runtimes_roots_and_files(run, converted, tmp_path, caffe_python):
    """A faulty model against the results of Caffe that were kept, with a tolerance of a blob's own and a function."""
    pytest.importorskip("cv2")
    ended = run("compare", *MODEL, "--runtime", "caffe,opencv,onnxruntime", "--save", tmp_path / "r.npz", columns=None)
    assert ended.code == 0
    assert ended.out.startswith("a  real Caffe")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["blob", "layer", "type", "shape", "b", "opencv", "c", "onnxruntime"] in lines
    assert any(line[:4] == ["conv1", "conv1", "Convolution", "1x20x24x24"] for line in lines)
    assert "b  all 7 common blobs agree" in ended.out
    assert "c  all 7 common blobs agree" in ended.out
    model = onnx.load(converted)
    for tensor in model.graph.initializer:
        if tensor.name in ("conv1/0", "ip2/0"):
            array = numpy_helper.to_array(tensor).copy()
            array.reshape(-1)[0] += 1
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, tmp_path / "bad.onnx")
    # At any width each blob has one line, and the words are there.
    for columns in (120, 80, 60):
        ended = run("compare", tmp_path / "bad.onnx", "--against", tmp_path / "r.npz", columns=columns)
        assert ended.code == 1
        table = [line for line in ended.out.splitlines() if line.startswith(("conv", "pool", "ip", "prob"))]
        assert len(table) == 7
        assert max(map(len, table)) <= columns
        assert "7 of 7 common blobs differ, 2 of them for reasons of their own" in ended.out.replace("\n", " ")
        assert "first difference in" in ended.out
        assert "another difference in" in ended.out
        assert "root: " in ended.out
        assert "inherited: " in ended.out
    (tmp_path / "near.py").write_text(
        "def compare(name, found, reference):\n    return name not in ('ip2', 'prob'), 'says near.py'\n"
    )
    ended = run(
        "compare",
        tmp_path / "bad.onnx",
        "--against",
        tmp_path / "r.npz",
        "--function",
        tmp_path / "near.py",
        columns=120,
    )
    assert ended.code == 1
    # The function says so of the layers alone as well.
    assert "2 of 7 common blobs differ (" in ended.out
    assert ended.out.count("root: ") == 2
    assert "says near.py" in ended.out
    ended = run(
        *(
            "compare",
            *MODEL,
            "--against",
            tmp_path / "r.npz",
            "--tolerance",
            "ip*:rtol=0,atol=0",
            "--json",
            tmp_path / "r.json",
        ),
        columns=120,
    )
    assert ended.code == 1
    assert "ip2: rtol 0, atol 0; rtol" in ended.out
    (column,) = json.loads((tmp_path / "r.json").read_text())["columns"]
    assert {row["name"]: row["tolerance"]["rtol"] for row in column["blobs"]}["ip1"] == 0
    assert (
        run(
            "compare", *MODEL, "--against", tmp_path / "r.npz", "--rtol", "0", "--atol", "1e-6", "--quantile", "0.5"
        ).code
        == 0
    )


def test_an_output_that_was_wanted_and_is_not_there(run, converted):
    ended = run("compare", *MODEL, converted, *ORT, "--outputs", "prob", "--outputs", "nothing")
    assert ended.code == 1
    assert "not all that was wanted is among them" in ended.out.replace("\n", " ")
