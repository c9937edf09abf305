"""What can be told without Caffe: what is computed when, what is refused, and the pieces that real pycaffe does not have."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import nuqconv
import nuqconv.pycaffe as caffe
from nuqconv.errors import ConfigError, FormatError, NetError, OutputError, RuntimeMissingError, UnsupportedError
from nuqconv.pycaffe import segment
from nuqconv.pycaffe.draw import DotGraph, draw_net_to_file
from nuqconv.pycaffe.memory import Memory
from nuqconv.pycaffe.proto import caffe_pb2
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.formats.test_face_net import faces
from tests.pycaffe.nets import convolution, given, layer, product
from tests.support.auto import LENET_MODEL, LENET_WEIGHTS
from tests.support.detections import assert_same_detections, in_caffes_order
from tests.support.nets import conv_net, write_net
from tests.support.packages import real_files


@pytest.fixture
def net():
    return caffe.Net(LENET_MODEL, LENET_WEIGHTS, caffe.TEST)


def images(count=1, seed=0):
    return np.random.default_rng(seed).random((count, 1, 28, 28), np.float32)


@pytest.fixture
def sessions(monkeypatch):
    """Notes every session that is made, by its outputs, and every run."""
    made, runs = [], []

    class Noted(OnnxSession):
        def __init__(self, graph, **options):
            super().__init__(graph, **options)
            made.append(self.outputs)

        def run(self, *arguments):
            runs.append(self.outputs)
            return super().run(*arguments)

    monkeypatch.setattr(segment, "OnnxSession", Noted)
    return made, runs


def written(folder, text, name="net.prototxt"):
    path = folder / name
    path.write_text(text)
    return path


# When things are computed.


def test_a_pass_computes_the_outputs_alone_and_in_one_session(net, sessions):
    made, runs = sessions
    for seed in range(5):
        net.forward(data=images(seed=seed))
    assert made == [("prob@prob",)]
    assert len(runs) == 5


def test_a_blob_inside_is_computed_when_somebody_looks(net, sessions):
    made, runs = sessions
    net.forward(data=images())
    first = net.blobs["conv2"].data.copy()
    assert [len(outputs) for outputs in made] == [1, 1]
    assert np.array_equal(net.blobs["conv2"].data, first)
    assert len(runs) == 2


def test_who_looks_after_every_pass_gets_it_along_with_the_outputs(net, sessions):
    _, runs = sessions
    for seed in range(8):
        net.forward(data=images(seed=seed))
        net.blobs["ip1"].data.sum()
    # The first ones cost a second run each.
    assert runs[-1] == runs[-2] == runs[-3]
    assert len(runs[-1]) == 2


def test_looking_at_everything_makes_few_sessions(net, sessions):
    made, _ = sessions
    net.forward(data=images())
    for blob in net.blobs.values():
        blob.data.sum()
    assert len(made) <= 6


def test_sessions_serve_any_batch_size(net, sessions):
    made, _ = sessions
    for size in (1, 4, 2, 4, 1):
        net.blobs["data"].reshape(size, 1, 28, 28)
        assert net.forward(data=images(size))["prob"].shape == (size, 10)
    assert len(made) == 1


def test_a_changed_weight_makes_a_new_session_and_an_unchanged_one_does_not(net, sessions):
    made, _ = sessions
    net.forward(data=images())
    net.params["ip2"][1].data[...] += 0
    net.forward(data=images())
    assert len(made) == 1
    net.params["ip2"][1].data[...] += 1
    net.forward(data=images())
    assert len(made) == 2


def test_values_of_the_last_pass_survive_new_weights_and_inputs(net):
    net.forward(data=images(seed=1))
    expected = caffe.Net(LENET_MODEL, LENET_WEIGHTS, caffe.TEST)
    expected.forward(data=images(seed=1))
    net.blobs["data"].data[...] = 0
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] = 0
    assert np.array_equal(net.blobs["conv2"].data, expected.blobs["conv2"].data)


def test_a_net_is_freed():
    """With what its passes have left, and while somebody still holds a result."""
    net = caffe.Net(LENET_MODEL, LENET_WEIGHTS, caffe.TEST)
    held = net.forward(data=images())
    net.blobs["conv1"].data.sum()
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
    assert held["prob"].sum() == pytest.approx(1)


# Memory.


def test_memory_keeps_what_it_promised():
    memory = Memory()
    memory.reserve(3)
    memory.view()[...] = [1, 2, 3]
    promised = memory.freeze(3)
    memory.view()[...] = 7
    assert promised.tolist() == [1, 2, 3]
    assert memory.look().tolist() == [7, 7, 7]


def test_memory_that_is_held_is_copied_for_a_promise():
    memory = Memory()
    memory.reserve(2)
    held = memory.view()[1:]
    promised = memory.freeze(2)
    held[0] = 5
    assert promised.tolist() == [0, 0]
    memory.fill(np.array([8, 9], np.float32))
    assert held.tolist() == [9]


def test_memory_is_adopted_without_a_copy():
    memory = Memory()
    memory.reserve(4)
    values = np.arange(4, dtype=np.float32)
    memory.fill(values)
    assert memory.look() is values
    assert np.shares_memory(memory.view(), values)


def test_memory_computes_late_and_once():
    calls = []

    def compute():
        calls.append(1)
        return np.ones(2, np.float32)

    memory = Memory()
    memory.reserve(2)
    memory.defer(compute)
    assert not calls
    assert memory.view().tolist() == [1, 1]
    assert memory.view().tolist() == [1, 1]
    assert len(calls) == 1


def test_memory_that_is_held_computes_at_once():
    memory = Memory()
    memory.reserve(2)
    held = memory.view()
    memory.defer(lambda: np.ones(2, np.float32))
    assert held.tolist() == [1, 1]


def test_memory_repeats_what_failed():
    memory = Memory()
    memory.reserve(1)
    answers = [None, np.ones(1, np.float32)]

    def compute():
        answer = answers.pop(0)
        if answer is None:
            raise NetError("not yet")
        return answer

    memory.defer(compute)
    with pytest.raises(NetError):
        memory.view()
    assert memory.view().tolist() == [1]


def test_memory_grows_to_zeros():
    memory = Memory()
    memory.reserve(2)
    memory.view()[...] = 3
    memory.reserve(1)
    assert memory.look().tolist() == [3, 3]
    memory.reserve(3)
    assert memory.look().tolist() == [0, 0, 0]


# What is refused.


def test_training_is_refused_by_name(tmp_path):
    solver = written(tmp_path, 'net: "net.prototxt"')
    for make in (caffe.SGDSolver, caffe.AdamSolver, caffe.get_solver):
        with pytest.raises(UnsupportedError, match=f"caffe.{make.__name__}: training is left to real Caffe"):
            make(solver)
        with pytest.raises(RuntimeError, match="Could not open file"):
            make(tmp_path / "none.prototxt")
    with pytest.raises(UnsupportedError, match="NCCL"):
        caffe.NCCL()


def test_backward_passes_are_refused(net):
    for call in (
        net.backward,
        net.forward_backward_all,
        lambda: net.before_backward(print),
        lambda: net.after_backward(print),
    ):
        with pytest.raises(UnsupportedError, match="NUQCONV_PYCAFFE=caffe"):
            call()


def test_layers_that_differ_in_training_are_refused_there(tmp_path):
    files = conv_net(tmp_path)
    training = caffe.Net(files.model, files.weights, caffe.TRAIN)
    with pytest.raises(UnsupportedError, match=r"phase TRAIN[\s\S]*net.prototxt:6: layer 'bn1' \(BatchNorm\)"):
        training.forward()
    training.blobs["pool"].data[...] = 1
    assert training.forward(start="fc")["prob"].shape == (2, 5)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            given("data", 1, 2) + layer("odd", "Wavelet", "data"),
            NetError,
            "net.prototxt:2: layer 'odd' .* Unknown layer type: Wavelet",
        ),
        (given("data", 1, 2) + layer("relu", "ReLU", "date"), NetError, "bottom 'date' is made by no earlier layer"),
        (
            given("data", 1, 2) + layer("relu", "ReLU", "data", "data") + layer("a", "ReLU", "data", "data b"),
            NetError,
            "tops",
        ),
        (given("data", 1, 2) + given("data", 1, 2), NetError, "top 'data' is made by an earlier layer too"),
        (given("data", 1, 2, 3, 3) + convolution("c", "data", 2, 5), NetError, "layer 'c'"),
        (
            given("data", 1, 2) + layer("c", "Convolution", "data", None, "convolution_param { kernal_size: 3 }"),
            NetError,
            "kernal_size",
        ),
        (
            given("data", 1, 2) + product("fc", "data", 2, 'weight_filler { type: "random" }'),
            NetError,
            "unknown filler name: random",
        ),
        (
            given("data", 1, 2, 3, 3)
            + convolution("up", "data", 2, "3 kernel_size: 2", 'weight_filler { type: "bilinear" }'),
            NetError,
            "bilinear",
        ),
        (given("data", 1, 2) + layer("sum", "Eltwise", "data data"), None, ""),
        (
            layer("d", "Data", "", "data label", 'data_param { source: "x" batch_size: 1 }'),
            UnsupportedError,
            "reads a data set",
        ),
        (given("data", 1, 2) + layer("i", "HDF5Output", "data", ""), NetError, "Unknown layer type: HDF5Output"),
        ("layer {", FormatError, "never closed"),
        (
            'input: "data"\ninput_dim: 1\ninput_dim: 2\n' + layer("r", "ReLU", "data"),
            NetError,
            "1 input names and 1 input shapes",
        ),
        (given("data", 1, 2) + layer("bn", "BN", "data"), NetError, "give the .caffemodel to the constructor"),
    ],
)
def test_nets_that_are_refused(tmp_path, text, kind, words):
    model = written(tmp_path, text)
    if kind is None:
        assert caffe.Net(model, caffe.TEST).forward()
        return
    with pytest.raises(kind, match=words):
        caffe.Net(model, caffe.TEST)


def test_weights_that_do_not_fit_are_listed(tmp_path):
    model = written(
        tmp_path,
        given("data", 1, 1, 28, 28)
        + convolution("conv1", "data", 7, 3)
        + convolution("conv2", "data", 3, 3, "bias_term: false"),
    )
    fresh = caffe.Net(model, caffe.TEST)
    before = fresh.params["conv1"][0].data.copy()
    with pytest.raises(NetError) as raised:
        fresh.copy_from(LENET_WEIGHTS)
    assert len(raised.value.problems) == 3
    assert "layer 'conv1' (Convolution): blob 0 has shape (7, 1, 3, 3)" in str(raised.value)
    assert "layer 'conv2' (Convolution): has 1 blobs" in str(raised.value)
    assert np.array_equal(fresh.params["conv1"][0].data, before)


def test_weights_that_are_none(tmp_path, net):
    broken = tmp_path / "broken.caffemodel"
    broken.write_bytes(LENET_WEIGHTS.read_bytes()[:1000])
    with pytest.raises(FormatError, match=r"broken\.caffemodel"):
        net.copy_from(broken)
    with pytest.raises(NetError, match="Could not open file"):
        net.copy_from(tmp_path / "none.caffemodel")


def test_saving_into_nowhere(tmp_path, net):
    with pytest.raises(OutputError, match="no folder"):
        net.save(tmp_path / "none" / "net.caffemodel")


def test_a_shape_that_cannot_run(tmp_path):
    files = conv_net(tmp_path)
    small = caffe.Net(files.model, files.weights, caffe.TEST)
    expected = small.forward(data=np.ones((2, 3, 12, 12)))["prob"].copy()
    small.blobs["data"].reshape(2, 3, 20, 20)
    with pytest.raises(NetError, match="layer 'fc'"):
        small.forward()
    small.blobs["data"].reshape(2, 3, 12, 12)
    assert np.array_equal(small.forward(data=np.ones((2, 3, 12, 12)))["prob"], expected)


def test_blobs_that_cannot_be(net):
    with pytest.raises(NetError, match="negative"):
        net.blobs["data"].reshape(-1, 1, 28, 28)
    net.blobs["data"].reshape(1, 1, 1, 28, 28)
    with pytest.raises(NetError, match="at most 4 axes"):
        net.blobs["data"].num  # noqa: B018


def test_parameters_of_another_shape(net):
    net.forward(data=images())
    net.params["ip2"][0].reshape(5, 500)
    with pytest.raises(NetError, match="layer 'ip2'"):
        net.forward(data=images())
    net.params["ip2"][0].reshape(10, 500)
    expected = caffe.Net(LENET_MODEL, LENET_WEIGHTS, caffe.TEST)
    assert np.array_equal(net.forward(data=images())["prob"], expected.forward(data=images())["prob"])


def test_fields_of_testing_layers_are_checked(tmp_path):
    text = (
        given("data", 1, 2)
        + given("label", 1)
        + layer("a", "Accuracy", "data label", None, "accuracy_param { topk: 2 }")
    )
    with pytest.raises(NetError, match="topk"):
        caffe.Net(written(tmp_path, text), caffe.TEST)


def test_other_nets_cannot_be_shared(net, tmp_path):
    with pytest.raises(TypeError, match="takes a Net"):
        net.share_with(None)
    model = written(tmp_path, given("data", 1, 1, 28, 28) + convolution("conv1", "data", 7, 3))
    with pytest.raises(NetError, match="Cannot share params"):
        net.share_with(caffe.Net(model, caffe.TEST))


def test_where_nets_run_must_be_known(monkeypatch):
    monkeypatch.setenv("NUQCONV_PYCAFFE", "gpu")
    with pytest.raises(ConfigError, match="NUQCONV_PYCAFFE is 'gpu', expected onnxruntime or caffe"):
        caffe.Net(LENET_MODEL, caffe.TEST)


@pytest.mark.caffe
@pytest.mark.usefixtures("caffe_python")
def test_layers_of_the_script_itself_cannot_run_in_the_child(monkeypatch, tmp_path):
    monkeypatch.setenv("NUQCONV_PYCAFFE", "caffe")
    text = layer("mine", "Python", "data", None, 'python_param { module: "__main__" layer: "Mine" }')
    with pytest.raises(UnsupportedError, match="module of its own"):
        caffe.Net(written(tmp_path, given("data", 1, 2) + text), caffe.TEST)


@pytest.mark.caffe
@pytest.mark.usefixtures("caffe_python")
def test_what_ends_caffe_is_an_error_in_the_child(monkeypatch, tmp_path):
    monkeypatch.setenv("NUQCONV_PYCAFFE", "caffe")
    model = written(tmp_path, given("data", 1, 2, 8, 8) + convolution("c", "data", 2, 3))
    found = caffe.Net(model, caffe.TEST)
    found.blobs["data"].reshape(1, 3, 8, 8)
    with pytest.raises(NetError, match="Check failed"):
        found.forward()
    # Another net lives in a new child.
    assert caffe.Net(model, caffe.TEST).forward()["c"].shape == (1, 2, 6, 6)


# Fork layers, which this Caffe lacks: their weights tell the shapes.


def test_a_registered_layer_runs(tmp_path):
    @nuqconv.register_layer("Gate", fields={"gain": 1.0}, blobs=1, any_batch=True)
    def gate(layer, onnx):
        return onnx.add("Mul", onnx.inputs[0], onnx.constant(onnx.blob(0) * layer.param["gain"]))

    text = (
        given("data", 1, 2)
        + layer("gate", "Gate", "data", None, "gate_param { gain: 0.5 }")
        + layer("out", "ReLU", "gate")
    )
    files = write_net(tmp_path, text, {"gate": [np.array([2.0, 4.0])]})
    try:
        found = caffe.Net(files.model, files.weights, caffe.TEST)
        x = np.array([[2.0, -3.0]])
        assert found.forward(data=x)["out"].tolist() == [[2.0, 0.0]]
        found.params["gate"][0].data[...] = [-2, -2]
        assert found.forward(data=x)["out"].tolist() == [[0.0, 3.0]]
        with pytest.raises(NetError, match="to the constructor"):
            caffe.Net(files.model, caffe.TEST)
    finally:
        nuqconv.unregister_layer("Gate")


# Sizes that only the run tells.


@pytest.mark.package
def test_detections_are_opencvs():
    """An SSD lists as many detections as it finds; real Caffe has no such layer without a fork."""
    cv2 = pytest.importorskip("cv2")
    files = real_files("face")
    found, expected = caffe.Net(*files, caffe.TEST), cv2.dnn.readNetFromCaffe(*map(str, files))
    assert found.blobs["detection_out"].shape == (1, 1, 1, 7)
    shapes = set()
    for data in faces(3):
        found.blobs["data"].data[...] = data
        expected.setInput(data[np.newaxis])
        result = found.forward()["detection_out"]
        shapes.add(result.shape)
        assert found.blobs["detection_out"].shape == result.shape
        assert_same_detections(result, in_caffes_order(expected.forward()))
    assert len(shapes) > 1


# Files.


def test_weights_in_hdf5(tmp_path, net):
    pytest.importorskip("h5py")
    expected = net.forward(data=images())["prob"].copy()
    net.save_hdf5(tmp_path / "net.h5")
    for load in (
        lambda other: other.load_hdf5(tmp_path / "net.h5"),
        lambda other: other.copy_from(tmp_path / "net.h5"),
    ):
        other = caffe.Net(LENET_MODEL, caffe.TEST)
        load(other)
        assert np.array_equal(other.forward(data=images())["prob"], expected)


@pytest.mark.caffe
def test_weights_in_hdf5_are_caffes(tmp_path, net, caffe_python):
    """Both ways: real Caffe reads ours, and we read real Caffe's."""
    pytest.importorskip("h5py")
    net.params["conv1"][0].data[...] *= 2
    net.save_hdf5(tmp_path / "ours.h5")
    script = (
        "import caffe, sys, numpy as np; model, source, target, found = sys.argv[1:]; net = caffe.Net(model, caffe.TEST);"
        "net.load_hdf5(source); net.save_hdf5(target); np.save(found, net.params['conv1'][0].data)"
    )
    files = [str(LENET_MODEL), *(str(tmp_path / name) for name in ("ours.h5", "caffes.h5", "found.npy"))]
    subprocess.run([caffe_python, "-c", script, *files], check=True, capture_output=True)
    assert np.array_equal(np.load(tmp_path / "found.npy"), net.params["conv1"][0].data)
    other = caffe.Net(LENET_MODEL, caffe.TEST)
    other.load_hdf5(tmp_path / "caffes.h5")
    assert all(
        np.array_equal(a.data, b.data)
        for name in net.params
        for a, b in zip(net.params[name], other.params[name], strict=True)
    )


def test_no_weights_in_hdf5(tmp_path, net):
    pytest.importorskip("h5py")
    broken = tmp_path / "net.h5"
    broken.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="holds no weights"):
        net.load_hdf5(broken)


# Pictures.


def test_a_dot_file_needs_no_graphviz(tmp_path):
    message = caffe_pb2.NetParameter(name='a "net"')
    message.layer.add(name="relu", type="ReLU", bottom=["x"], top=["y"])
    draw_net_to_file(message, tmp_path / "net.dot")
    assert (tmp_path / "net.dot").read_text().splitlines() == [
        'digraph "a \\"net\\"" {',
        "rankdir=LR;",
        'n0 [label="relu\\n(ReLU)", shape="record", style="filled", fillcolor="#6495ED"];',
        'n1 [label="x", shape="octagon", fillcolor="#E0E0E0", style="filled"];',
        'n2 [label="y", shape="octagon", fillcolor="#E0E0E0", style="filled"];',
        'n1 -> n0 [label=""];',
        'n0 -> n2 [label=""];',
        "}",
    ]


def test_a_picture_needs_graphviz(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeMissingError, match="graphviz"):
        DotGraph("net", "LR").create("png")


# The module under its other name.


def test_installing_in_a_program(tmp_path):
    script = (
        "import nuqconv.pycaffe; nuqconv.pycaffe.install()\n"
        "import caffe, caffe.io, caffe.draw, caffe.net_spec, caffe.coord_map, caffe.classifier, caffe.detector, caffe.proto.caffe_pb2\n"
        "from caffe.proto import caffe_pb2\n"
        "from caffe import layers as L, params as P, to_proto, NetSpec\n"
        "from caffe.pycaffe import Net\n"
        "from caffe._caffe import layer_type_list\n"
        "import caffe.proto.caffe_pb2 as again\n"
        f"caffe.Net(r'{LENET_MODEL}', caffe.TEST).forward()\n"
        "print(caffe is nuqconv.pycaffe, Net is caffe.Net, again is caffe_pb2, str(L.ReLU(L.Input()).to_proto()).count('layer'), caffe.layers is L)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["True", "True", "True", "2", "True"]


def test_a_spawned_process_finds_it(tmp_path):
    (tmp_path / "work.py").write_text("import caffe\n\n\ndef name(_):\n    return caffe.__name__\n")
    (tmp_path / "program.py").write_text(
        "import multiprocessing\nimport work\n\n"
        "if __name__ == '__main__':\n    with multiprocessing.get_context('spawn').Pool(1) as pool:\n        print(pool.map(work.name, [0]))\n"
    )
    command = [sys.executable, "-m", "nuqconv.pycaffe", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "['nuqconv.pycaffe']\n"


def test_the_module_says_how_it_is_used():
    done = subprocess.run([sys.executable, "-m", "nuqconv.pycaffe"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "usage: python -m nuqconv.pycaffe script.py" in done.stderr


def test_another_caffe_pb2_can_live_beside(tmp_path):
    """A script's own messages may be in protobuf's default pool under the same names."""
    script = (
        "from google.protobuf import descriptor_pb2, descriptor_pool\n"
        "file = descriptor_pb2.FileDescriptorProto(name='caffe.proto', package='caffe', syntax='proto2')\n"
        "file.message_type.add(name='NetParameter')\n"
        "descriptor_pool.Default().Add(file)\n"
        "from nuqconv.pycaffe.proto import caffe_pb2\n"
        "print(caffe_pb2.NetParameter(name='x').name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "x\n"


def test_every_message_of_the_schema_is_there():
    with pytest.raises(AttributeError, match="no message"):
        caffe_pb2.NoParameter  # noqa: B018
    assert caffe_pb2.BlobProto.DESCRIPTOR.fields_by_name["data"].type == 2
    assert os.fspath(Path(caffe_pb2.DESCRIPTOR.name)) == "caffe/proto/caffe.proto"
