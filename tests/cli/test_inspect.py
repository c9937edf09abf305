"""``nuqconv inspect`` on every kind of file."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import nuqconv
from tests.support.nets import conv_net, write_net

from .conftest import MODEL


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What one search on a net with a fold, a residual and AVE pooling writes."""
    folder = tmp_path_factory.mktemp("made")
    files = conv_net(folder)
    data = {"data": np.random.default_rng(0).normal(size=(8, 3, 12, 12)).astype(np.float32)}
    evaluator = nuqconv.OnnxRuntimeEvaluator(data, metric="output_error", max_error=0.5, batch_size=4)
    nuqconv.create_quant_config(folder / "config.json", files.model, files.weights, batch_num=2)
    result = nuqconv.auto_nuq(
        files.model,
        files.weights,
        evaluator,
        folder / "config.json",
        folder / "record.txt",
        folder / "m",
        progress=False,
    )
    (folder / "report.json").write_text(result.to_json())
    nuqconv.save(nuqconv.load(files.model, files.weights), folder / "net.onnx")
    np.savez(folder / "data.npz", **data, label=np.zeros(8, np.uint8), scale=np.float32(2))
    return folder


@pytest.fixture
def look(run, made, monkeypatch):
    """Lines that are shown for files of that folder; the first names the file."""
    monkeypatch.chdir(made)

    def call(*arguments, **options):
        ended = run("inspect", *arguments, **options)
        assert (ended.code, ended.err) == (0, "")
        return [line.rstrip() for line in ended.out.splitlines()]

    return call


def test_a_model(look):
    assert look("net.prototxt", "net.caffemodel") == [
        "net.prototxt",
        "  input  data  2x3x12x12",
        "  output prob  2x5",
        "  10 layers, 2,278 parameters, 9,112 bytes",
        "",
        "type          layers  int8  NUQ",
        "Convolution        2     2    2",
        "ReLU               2",
        "BatchNorm          1",
        "Scale              1",
        "Eltwise            1",
        "Pooling            1     1",
        "InnerProduct       1     1    1",
        "Softmax            1",
    ]


def test_a_model_with_its_layers(look):
    lines = look("net.prototxt", "net.caffemodel", "--layers")
    assert lines[14:16] == ["", "graph 'small'"]
    assert "  pool: 2x8x6x6 = Pooling(sum) [method=AVE kernel=3x3 stride=2x2]  # net.prototxt:13" in lines, lines
    assert lines[-1] == "  output prob: 2x5"
    assert look("-l", "net.prototxt", "net.caffemodel") == lines


def test_why_layers_cannot_be_quantized(look):
    assert look(*MODEL)[-2:] == ["", "  2 x Pooling: only AVE Pooling that is not global can be quantized"]


def test_layers_that_are_not_understood(look, tmp_path):
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }\n'
    text += 'layer { name: "a[b]" type: "Odd" bottom: "data" top: "y[1]" }\n'
    text += 'layer { name: "off" type: "Off" bottom: "y[1]" top: "z" }\n'
    files = write_net(tmp_path, text, {})
    assert look(files.model, files.weights)[1:] == [
        "  input  data  1x2",
        "  output z  shape not known",
        "  2 layers, 0 parameters, 0 bytes",
        "",
        "type  layers  int8  NUQ",
        "Odd        1",
        "Off        1",
        "",
        "  2 layers kept to the letter, without being understood:",
        f"    {files.model}:2: layer 'a[b]' (Odd): the layer type is not known",
        f"    {files.model}:3: layer 'off' (Off): the layer type is not known",
    ]


def test_a_deploy_model(look):
    lines = look("m_deploy_model.prototxt", "m_deploy_weights.caffemodel")
    assert lines[3].endswith("bytes")
    assert lines[4] == "  quantized already"
    assert lines[6].split() == ["type", "layers", "int8", "NUQ"]
    assert {line.split()[0]: line.split()[1:] for line in lines[7:12]} == {
        "Quantize": ["4"],
        "Dequantize": ["4"],
        "Convolution": ["2"],
        "ReLU": ["2"],
        "Eltwise": ["1"],
    }
    table = lines[lines.index("int8 layer  weights  levels") :]
    assert [line.split()[:2] for line in table[1:]] == [["conv1", "216"], ["conv2", "576"], ["fc", "1,440"]]
    assert all(int(line.split()[2]) <= 32 for line in table[1:])


def test_a_fake_quant_model(look):
    assert look("m_fake_quant_model.prototxt", "m_fake_quant_weights.caffemodel")[4] == "  quantized already"


def test_a_prototxt_alone(look):
    kinds = "2 Convolution, 2 ReLU, 1 Input, 1 BatchNorm, 1 Scale, 1 Eltwise, 1 Pooling, 1 InnerProduct, 1 Softmax"
    assert look("net.prototxt") == ["net.prototxt", f"  network 'small', 11 layers: {kinds}"]


def test_a_caffemodel_alone(look):
    assert look("net.caffemodel") == [
        "net.caffemodel",
        "layer   type  blobs                            numbers",
        "conv1         8x3x3x3 float32                      216",
        "bn1           8 float32, 8 float32, 1 float32       17",
        "scale1        8 float32, 8 float32                  16",
        "conv2         8x8x3x3 float32, 8 float32           584",
        "fc            5x288 float32, 5 float32           1,445",
    ]


def test_an_onnx_file(look):
    lines = look("net.onnx")
    assert lines[0] == "net.onnx"
    assert lines[1].startswith("  opset ")
    assert lines[1].endswith(" nodes, made by nuqconv")
    assert lines[2:4] == ["  input  data  2x3x12x12", "  output prob  2x5"]
    assert "2 Conv" in lines[4]


def test_a_record(look):
    lines = look("record.txt")
    assert lines[1].split() == ["layer", "scale_d", "offset_d", "scale_w", "input"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert list(rows) == ["conv1", "conv2", "pool", "fc"]
    assert [rows[name][2] for name in ("conv1", "conv2")] == ["8:", "8:"]
    assert rows["conv1"][6] == "3x12x12"
    assert rows["pool"][2:] == ["1", "8x12x12"]
    assert rows["fc"][3:] == ["8x6x6"]


def test_a_record_with_codebooks(look, tmp_path):
    (tmp_path / "r.txt").write_text('record { key: "a" value { scale_d: 1 scale_w: 1 cluster: -2 cluster: 5 } }')
    head, row = look(tmp_path / "r.txt")[1:]
    assert head.split()[-1] == "cluster"
    assert row.split()[-2:] == ["2", "levels"]


def test_codebooks(look, made):
    lines = look("m_nuq_codebooks.json")
    assert lines[1].split() == ["layer", "levels", "codebook"]
    found = json.loads((made / "m_nuq_codebooks.json").read_text())["codebooks"]
    for line, (name, book) in zip(lines[2:], found.items(), strict=False):
        assert line.split()[:4] == [name, str(len(book["levels"])), *map(str, book["levels"][:2])]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("conv1;fc1;conv2_2/x1\n", "  3 NUQ layers: conv1, fc1, conv2_2/x1"),
        ("conv1\n", "  1 NUQ layer: conv1"),
        ("\n", "  0 NUQ layers: none"),
        ("[a];[/b]\n", "  2 NUQ layers: [a], [/b]"),
    ],
)
def test_a_list_of_nuq_layers(look, tmp_path, content, line):
    (tmp_path / "nuq.txt").write_text(content)
    assert look(tmp_path / "nuq.txt")[1:] == [line]


def test_the_list_that_was_written(look):
    assert look("m_nuq_layer_record.txt")[1:] == ["  3 NUQ layers: conv1, conv2, fc"]


def test_quantization_information(look):
    kinds = "4 Quant, 4 DeQuant, 2 Convolution, 2 ReLU, 1 Input, 1 Eltwise, 1 Pooling, 1 InnerProduct, 1 Softmax"
    assert look("m_quant.json")[1:] == [
        f"  quantization information, 17 layers: {kinds}",
        "  conv1 stands for conv1, bn1, scale1",
    ]


def test_a_configuration(look):
    lines = look("config.json")
    general = "version 1, batch_num 2, activation_offset true, do_fusion true, skip_fusion_layers [], joint_quant false"
    assert lines[1:4] == [
        f"  quantization configuration: {general}",
        "",
        "layer  enabled  weights",
    ]
    assert lines[4:] == [
        "conv1  yes      nuq_quantize, num_steps 16, num_of_iteration 1",
        "conv2  yes      nuq_quantize, num_steps 16, num_of_iteration 1",
        "pool   yes",
        "fc     yes      nuq_quantize, num_steps 16, num_of_iteration 1",
    ]


def test_a_report(look, made):
    report = json.loads((made / "report.json").read_text())
    sizes, count = report["sizes"], len(report["trials"])
    lines = look("report.json")
    assert lines[1:6] == [
        f"  report of auto: metric 0 -> {report['metric']:.5g}",
        f"  {sizes['float_bytes']:,} -> {sizes['bytes']:,} bytes, {sizes['bits_per_weight']:.2f} bits per weight",
        f"  {count} quantized model{'' if count == 1 else 's'} evaluated",
        "",
        "layer  type          precision  steps  bits  bytes",
    ]
    assert [line.split()[:2] for line in lines[6:]] == [
        ["conv1", "Convolution"],
        ["conv2", "Convolution"],
        ["fc", "InnerProduct"],
    ]


def test_data(look):
    assert look("data.npz") == [
        "data.npz",
        "  data  8x3x12x12 float32",
        "  label  8 uint8",
        "  scale  one number float32",
    ]


def test_several_files(look):
    lines = look("data.npz", "net.prototxt", "net.caffemodel", "net.prototxt", "m_nuq_layer_record.txt")
    assert [line for line in lines if line and line[0].islower() and "." in line.split()[0]] == [
        "data.npz",
        "net.prototxt",
        "net.prototxt",
        "m_nuq_layer_record.txt",
    ]
    assert "  output prob  2x5" in lines
    assert any(line.startswith("  network 'small'") for line in lines)


def test_files_of_models_are_told_by_their_content(run, made, tmp_path):
    names = {
        "net.prototxt": "a.prototxt.txt",
        "net.caffemodel": "a.bin",
        "net.onnx": "model",
        "record.txt": "record.txt",
    }
    for name, other in names.items():
        shutil.copy(made / name, tmp_path / other)
    for shown, usual in (
        (("a.prototxt.txt", "a.bin"), ("net.prototxt", "net.caffemodel")),
        (("model",), ("net.onnx",)),
    ):
        ended = run("inspect", *(tmp_path / name for name in shown))
        wanted = run("inspect", *(made / name for name in usual))
        assert ended.code == wanted.code == 0
        assert ended.out.splitlines()[1:] == wanted.out.splitlines()[1:]


@pytest.mark.parametrize("columns", [60, 80, None])
@pytest.mark.parametrize("name", ["net.caffemodel", "record.txt", "config.json"])
def test_names_and_numbers_are_whole_at_any_width(look, name, columns):
    words = set(" ".join(look(name, columns=columns)).split())
    expected = {"net.caffemodel": {"scale1", "1,445"}, "record.txt": {"conv2", "-128"}, "config.json": {"pool", "yes"}}
    assert expected[name] <= words


KINDS = {
    "prototxt": "net.prototxt",
    "caffemodel": "net.caffemodel",
    "onnx": "net.onnx",
    "txt": "record.txt",
    "json": "config.json",
    "npz": "data.npz",
}


@pytest.mark.parametrize("ending", KINDS)
@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "cut", "noise", "text"])
def test_files_that_cannot_be_read(run, made, tmp_path, ending, damage):
    path = tmp_path / f"file.{ending}"
    whole = (made / KINDS[ending]).read_bytes()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        contents = {"empty": b"", "cut": whole[: len(whole) // 2], "noise": bytes(range(255, 0, -1)), "text": b"{ x ["}
        path.write_bytes(contents[damage])
    ended = run("inspect", path)
    if (ending, damage) == ("txt", "empty"):
        assert ended.code == 0
        return
    assert ended.code == 2
    assert ended.err.startswith(f"error: {path}:")
    assert "cannot be read: " in ended.err or damage not in {"missing", "folder"}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"graph": 3}',
        '{"graph": [{}]}',
        '{"graph": [{"op": [{"name": 1}]}]}',
        '{"graph": [{"op": [{"type": "a", "attr": [[]]}]}]}',
        '{"trials": []}',
        '{"conv": {"weight_quant_params": [1]}}',
        "[" * 100000,
    ],
    ids=range(8),
)
def test_json_of_another_kind(run, tmp_path, content):
    path = tmp_path / "file.json"
    path.write_text(content)
    ended = run("inspect", path)
    assert ended.code == 2
    assert ended.err.startswith(f"error: {path}: ")


def test_an_unknown_ending(run, tmp_path):
    for name, ending in (("file.bin", ".bin"), ("file", "(none)")):
        ended = run("inspect", tmp_path / name)
        assert ended.code == 2
        assert ended.err == (
            f"error: {tmp_path / name}: the ending {ending} is not known; known are .prototxt, .caffemodel, .onnx, .txt, "
            ".cfg, .json, .npz, .sqlite\n"
        )


def test_what_stands_before_a_bad_file_is_shown(run, made, tmp_path):
    shutil.copy(made / "data.npz", tmp_path / "good.npz")
    ended = run("inspect", tmp_path / "good.npz", tmp_path / "gone.npz")
    assert ended.code == 2
    assert "  label  8 uint8" in ended.out
    assert ended.err == f"error: {tmp_path / 'gone.npz'}: cannot be read: No such file or directory\n"


def test_a_simplified_configuration(run, tmp_path):
    (tmp_path / "simple.cfg").write_text("""
        batch_num: 2 skip_layers: "conv1" nuq_config { nuq_quantize { num_steps: 16 } }
        fc_calibration_config { arq_quantize {} hfmg_quantize {} }
        override_layer_configs { layer_name: "fc1" calibration_config { nuq_quantize { num_steps: 32 } } }
        """)
    ended = run("inspect", tmp_path / "simple.cfg", columns=100)
    assert (ended.code, ended.err) == (0, "")
    lines = [line.strip() for line in ended.out.splitlines()]
    assert "simplified configuration: batch_num 2" in lines
    assert "skipped layers: conv1" in lines
    assert "NUQ: 16 steps, candidates by all that can be" in lines
    assert any(line.split() == ["layer", "fc1", "nuq_quantize", "32", "1"] for line in lines)
    assert any(line.startswith("type Pooling (deprecated)") and line.endswith("hfmg") for line in lines)
    (tmp_path / "wrong.cfg").write_text("version: 1")
    assert "word of the PyTorch and ONNX editions" in run("inspect", tmp_path / "wrong.cfg", columns=None).err
