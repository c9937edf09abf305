"""Files that came in the place of others, and Caffe's other forms: HDF5 weights as real Caffe writes them, solvers, text with weights."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import FormatError, ModelError, OutputError, UnsupportedError
from tests.support.nets import write_net

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: [2, 3, 4, 4] } } }\n'
CONV = """layer {{ name: "{0}" type: "Convolution" bottom: "x" top: "{0}" param {{ name: "w" }} {1}
  convolution_param {{ num_output: 3 kernel_size: 3 }} }}
"""
RNG = np.random.default_rng(0)
BLOBS = [RNG.normal(size=(3, 3, 3, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)]
SAVE = "import caffe, sys; caffe.Net(sys.argv[1], caffe.TEST, weights=sys.argv[2]).save_hdf5(sys.argv[3])"


@pytest.mark.caffe
@pytest.mark.parametrize("bias", ["", 'param { name: "b" }'], ids=["own", "shared"])
def test_weights_that_caffe_wrote_as_hdf5(tmp_path, caffe_process, caffe_python, bias):
    """Caffe stores what layers share once; here one shares all or its weights only."""
    text = INPUT + CONV.format("a", bias) + CONV.format("b", bias)
    other = BLOBS if bias else [BLOBS[0], -BLOBS[1]]
    files = write_net(tmp_path, text, {"a": BLOBS, "b": other})
    target = tmp_path / "net.caffemodel.h5"
    ended = subprocess.run(
        [caffe_python, "-c", SAVE, files.model, files.weights, target], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-500:]
    ours, stored = nuqconv.load(files.model, target), nuqconv.load(files.model, files.weights)
    assert ours.params.keys() == stored.params.keys()
    for key, array in stored.params.items():
        np.testing.assert_array_equal(ours.params[key], array)
    assert nuqconv.compare(
        (files.model, files.weights), (files.model, target), runtimes=("caffe", "onnxruntime")
    ).agrees
    with pytest.raises(OutputError, match="not written"):
        nuqconv.convert((files.model, files.weights), tmp_path / "b.prototxt", tmp_path / "b.caffemodel.h5")


def test_names_with_slashes_are_groups_in_groups(tmp_path):
    h5py = pytest.importorskip("h5py")
    files = write_net(tmp_path, INPUT + CONV.format("part/b", ""), {"part/b": BLOBS})
    with h5py.File(tmp_path / "net.caffemodel.h5", "w") as file:
        for number, array in enumerate(BLOBS):
            file[f"data/part/b/{number}"] = array
    graph = nuqconv.load(files.model, tmp_path / "net.caffemodel.h5")
    np.testing.assert_array_equal(graph.params["part/b/1"], BLOBS[1])


def test_damaged_hdf5_is_told(tmp_path):
    files = write_net(tmp_path, INPUT + CONV.format("a", ""), {"a": BLOBS})
    target = tmp_path / "net.caffemodel.h5"
    target.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(FormatError, match="damaged"):
        nuqconv.load(files.model, target)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
        ("<!DOCTYPE html>\n<html><body>404</body></html>", "web page"),
        ("\n  <html lang='en'>", "web page"),
    ],
)
@pytest.mark.parametrize("which", ["net.prototxt", "net.caffemodel", "net.onnx"])
def test_pointers_and_pages(tmp_path, content, words, which):
    files = write_net(tmp_path, INPUT + CONV.format("a", ""), {"a": BLOBS})
    (tmp_path / which).write_text(content)
    given = [tmp_path / which] if which.endswith("onnx") else [files.model, files.weights]
    with pytest.raises(FormatError, match=words) as caught:
        nuqconv.load(*given)
    assert which in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('net: "train_val.prototxt"\nbase_lr: 0.01\nmax_iter: 5\n', 'which it names: "train_val.prototxt"'),
        ('train_net: "a.prototxt"\ntest_net: "b.prototxt"\ntest_iter: 5\n', '"a.prototxt", "b.prototxt"'),
        ("lr_policy: 'step' base_lr: 1", "is a solver"),
    ],
)
def test_a_solver_is_no_net(tmp_path, text, words):
    files = write_net(tmp_path, text, {"a": BLOBS})
    with pytest.raises(FormatError, match="give the net itself") as caught:
        nuqconv.load(files.model, files.weights)
    assert words in str(caught.value)


def test_weights_as_text_are_told(tmp_path):
    layer = CONV.format("a", "blobs { shape { dim: 3 } data: 1 data: 2 data: 3 }")
    files = write_net(tmp_path, INPUT + layer, {"a": BLOBS})
    with pytest.raises(FormatError) as caught:
        nuqconv.load(files.model, files.weights)
    assert len(caught.value.problems) == 1
    assert ":2: holds weights (blobs) as text" in caught.value.problems[0]


DATA = """layer {{ name: "d" type: "{0}" top: "x" top: "label" include {{ phase: {1} }} {2} }}
layer {{ name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {{ num_output: 3 kernel_size: 3 }} }}
"""


@pytest.mark.parametrize(("kind", "more"), [("Data", "data_param { batch_size: 8 }"), ("HDF5Data", "")])
def test_data_layers_of_the_other_phase(tmp_path, kind, more):
    files = write_net(tmp_path, DATA.format(kind, "TRAIN", more), {"c": BLOBS})
    with pytest.raises(ModelError) as caught:
        nuqconv.load(files.model, files.weights)
    assert "the data layer 'd' (line 1; include { phase: TRAIN })" in str(caught.value.problems)
    assert "--input-shape x:" in str(caught.value.problems)
    graph = nuqconv.load(files.model, files.weights, input_shapes={"x": (1, 3, 8, 8)})
    assert [(item.name, item.shape) for item in graph.inputs] == [("x", (1, 3, 8, 8))]
    assert graph.shapes["c"] == (1, 3, 6, 6)


def test_a_net_of_which_nothing_is_left(tmp_path):
    text = 'input: "s" input_dim: [2, 3, 1, 1] input: "t" input_dim: [2, 1, 1, 1]\n'
    text += 'layer { name: "a" type: "Accuracy" bottom: "s" bottom: "t" top: "a" }\n'
    files = write_net(tmp_path, text, {})
    with pytest.raises(ModelError, match="nothing is left") as caught:
        nuqconv.load(files.model, files.weights)
    assert "layer 'a' (Accuracy)" in caught.value.problems[0]


def test_a_net_that_ends_in_silence_has_no_onnx(tmp_path):
    text = INPUT + CONV.format("a", "") + 'layer { name: "quiet" type: "Silence" bottom: "a" }\n'
    files = write_net(tmp_path, text, {"a": BLOBS})
    with pytest.raises(UnsupportedError, match="no outputs") as caught:
        nuqconv.convert((files.model, files.weights), tmp_path / "a.onnx")
    assert "'quiet'" in caught.value.problems[0]
    assert not (tmp_path / "a.onnx").exists()
    nuqconv.convert((files.model, files.weights), tmp_path / "a.onnx", outputs=["a"])


@pytest.mark.caffe
@pytest.mark.parametrize(
    "first", ["", 'layer { name: "p" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }']
)
@pytest.mark.parametrize(
    "layer",
    [
        'layer { name: "r" type: "Reshape" bottom: "B" top: "B" reshape_param { shape { dim: [0, 48] } } }',
        'layer { name: "r" type: "Flatten" bottom: "B" top: "B" }',
    ],
)
def test_reshape_in_place_is_written_as_caffe_runs_it(tmp_path, caffe_process, first, layer):
    """Caffe itself aborts on it; what is written must run there and give what the layers say."""
    blob = "y" if first else "x"
    text = INPUT + first + layer.replace("B", blob)
    text += f'layer {{ name: "relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}'
    text += f'layer {{ name: "e" type: "Power" bottom: "{blob}" top: "e" power_param {{ shift: 1 }} }}'
    files = write_net(tmp_path, text, {})
    nuqconv.convert((files.model, files.weights), tmp_path / "b.prototxt", tmp_path / "b.caffemodel")
    x = RNG.normal(size=(2, 3, 4, 4)).astype(np.float32)
    with nuqconv.runtimes.caffe.Net(tmp_path / "b.prototxt", process=caffe_process) as net:
        found = net.forward(x=x)["e"]
    np.testing.assert_allclose(found, np.maximum(x.reshape(2, 48) * (2 if first else 1), 0) + 1, rtol=1e-6)
