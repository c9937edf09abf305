"""Nets of real Caffe, held against numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nuqconv.errors import CaffeProcessError, FormatError
from nuqconv.runtimes.caffe import CaffeProcess, Net

from .runtime_nets import CONV_NET, TWO_INPUTS, write, write_python_net

pytestmark = pytest.mark.caffe


@pytest.fixture(scope="module")
def shared(caffe_python: str) -> Iterator[CaffeProcess]:
    with CaffeProcess(caffe_python, timeout=600) as process:
        yield process


@pytest.fixture
def conv(shared: CaffeProcess, tmp_path: Path) -> Iterator[Net]:
    with Net(write(tmp_path, CONV_NET), process=shared) as net:
        rng = np.random.default_rng(1)
        net.set_params("conv", [rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)])
        yield net


def numpy_conv(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weights) + bias[:, None, None]


def test_describes_the_net(conv: Net) -> None:
    assert conv.inputs == ["data"]
    assert conv.outputs == ["power"]
    assert list(conv.blobs) == ["data", "conv", "power"]
    assert conv.blobs["conv"].shape == (1, 3, 3, 4)
    assert [(layer.name, layer.type) for layer in conv.layers] == [
        ("data", "Input"),
        ("conv", "Convolution"),
        ("relu", "ReLU"),
        ("power", "Power"),
    ]
    assert conv.layers[2].bottoms == conv.layers[2].tops == ("conv",)
    assert conv.layers[1].param_shapes == ((3, 2, 3, 3), (3,))
    assert [param.shape for param in conv.params["conv"]] == [(3, 2, 3, 3), (3,)]
    assert list(conv.params) == ["conv"]
    assert "net.prototxt" in repr(conv) + repr(conv.blobs["conv"])


def test_forward_agrees_with_numpy(conv: Net) -> None:
    x = np.random.default_rng(2).standard_normal((1, 2, 5, 6)).astype(np.float32)
    result = conv.forward(blobs=["conv"], data=x)
    expected = np.maximum(numpy_conv(x, *conv.get_params("conv")), 0)
    assert list(result) == ["power", "conv"]
    np.testing.assert_allclose(result["conv"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result["power"], 2 * expected + 1, rtol=1e-5, atol=1e-5)


def test_results_are_own_writable_contiguous_float32(conv: Net) -> None:
    first = conv.forward(data=np.ones((1, 2, 5, 6)))["power"]
    assert first.dtype == np.float32
    assert first.flags.writeable
    assert first.flags.c_contiguous
    kept = first.copy()
    conv.forward(data=np.zeros((1, 2, 5, 6)))
    np.testing.assert_array_equal(first, kept)


def test_non_contiguous_input(conv: Net) -> None:
    x = np.random.default_rng(3).standard_normal((6, 5, 2, 1)).T
    assert not x.flags.c_contiguous
    np.testing.assert_array_equal(conv.forward(data=x)["power"], conv.forward(data=x.copy(order="C"))["power"])


def test_parameters_get_and_set(conv: Net) -> None:
    weights = np.random.default_rng(4).standard_normal((3, 2, 3, 3)).astype(np.float32)
    conv.params["conv"][0].data = weights
    conv.params["conv"][1].data = [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(conv.params["conv"][0].data, weights)
    np.testing.assert_array_equal(conv.get_params("conv")[1], [1, 2, 3])
    result = conv.forward(blobs=["conv"], data=np.zeros((1, 2, 5, 6)))["conv"]
    np.testing.assert_array_equal(result[0, :, 0, 0], [1, 2, 3])
    with pytest.raises(CaffeProcessError, match=r"parameter 1 of layer 'conv' has shape \(3,\), the array has \(2,\)"):
        conv.params["conv"][1].data = [1.0, 2.0]
    with pytest.raises(CaffeProcessError, match="no layer 'relu' with parameters; it has conv"):
        conv.get_params("relu")


def test_blob_data_get_and_set(conv: Net) -> None:
    x = np.arange(60, dtype=np.float32).reshape(1, 2, 5, 6)
    conv.blobs["data"].data = x
    np.testing.assert_array_equal(conv.blobs["data"].data, x)
    np.testing.assert_array_equal(conv.forward()["power"], conv.forward(data=x)["power"])
    with pytest.raises(ValueError, match="read-only"):
        conv.blobs["data"].data[...] = 0
    with pytest.raises(CaffeProcessError, match=r"blob 'data' has shape \(1, 2, 5, 6\), the array has \(1,\)"):
        conv.blobs["data"].data = [1.0]
    assert list(conv.get_blobs(["power", "data"])) == ["power", "data"]


def test_input_of_another_size_reshapes(conv: Net) -> None:
    x = np.random.default_rng(5).standard_normal((4, 2, 9, 7)).astype(np.float32)
    result = conv.forward(data=x)["power"]
    assert result.shape == (4, 3, 7, 5)
    assert conv.blobs["conv"].shape == (4, 3, 7, 5)
    expected = 2 * np.maximum(numpy_conv(x, *conv.get_params("conv")), 0) + 1
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_explicit_reshape(conv: Net) -> None:
    conv.blobs["data"].reshape(2, 2, 3, 3)
    conv.reshape()
    assert conv.blobs["power"].shape == (2, 3, 1, 1)


def test_input_with_another_number_of_axes_is_refused(conv: Net) -> None:
    with pytest.raises(CaffeProcessError, match=r"blob 'data' has shape \(1, 2, 5, 6\), the array has \(2, 5, 6\)"):
        conv.forward(data=np.zeros((2, 5, 6)))
    assert conv.forward(data=np.zeros((1, 2, 5, 6)))["power"].shape == (1, 3, 3, 4)


def test_partial_forward(conv: Net) -> None:
    x = np.random.default_rng(6).standard_normal((1, 2, 5, 6)).astype(np.float32)
    up_to = conv.forward(end="conv", data=x)
    assert list(up_to) == ["conv"]
    assert (up_to["conv"] < 0).any()
    own = np.array([-1.5, 0, 2] * 12, np.float32).reshape(1, 3, 3, 4)
    rest = conv.run({"conv": own}, start="relu")
    np.testing.assert_array_equal(rest["power"], 2 * np.maximum(own, 0) + 1)
    with pytest.raises(CaffeProcessError, match="start='none' is no layer of the net; it has data, conv"):
        conv.run({}, start="none")
    with pytest.raises(CaffeProcessError, match="no layer 'none' to end with; the net has data, conv"):
        conv.forward(end="none")


def test_reshape_of_an_inner_blob_that_the_net_undoes_is_refused(conv: Net) -> None:
    with pytest.raises(CaffeProcessError, match="blob 'conv' stays at shape"):
        conv.run({"conv": np.zeros((1, 3, 1, 1))}, start="relu")


def test_wrong_names_are_refused(conv: Net) -> None:
    with pytest.raises(CaffeProcessError, match="got values for date; the net's inputs are data"):
        conv.forward(date=np.zeros(1))
    with pytest.raises(CaffeProcessError, match="no blob 'nothing'; it has data, conv, power"):
        conv.run({}, ["nothing"])
    with pytest.raises(KeyError, match="no blob 'nothing'; it has data, conv, power"):
        conv.blobs["nothing"]


def test_several_inputs(shared: CaffeProcess, tmp_path: Path) -> None:
    with Net(write(tmp_path, TWO_INPUTS), process=shared) as net:
        left, right = np.arange(6).reshape(2, 3), np.full((2, 3), 10)
        np.testing.assert_array_equal(net.forward(left=left, right=right)["sum"], left + right)
        with pytest.raises(CaffeProcessError, match="got values for left; the net's inputs are left, right"):
            net.forward(left=left)


def test_scalar_blob(shared: CaffeProcess, tmp_path: Path) -> None:
    text = TWO_INPUTS + 'layer { name: "loss" type: "EuclideanLoss" bottom: "left" bottom: "right" top: "loss" }'
    with Net(write(tmp_path, text), phase="TRAIN", process=shared) as net:
        result = net.forward(left=np.zeros((2, 3)), right=np.full((2, 3), 2.0))["loss"]
        assert result.shape == ()
        assert result == 6.0


def test_several_nets_in_one_process(shared: CaffeProcess, tmp_path: Path) -> None:
    path = write(tmp_path, CONV_NET)
    first, second = Net(path, process=shared), Net(path, process=shared)
    for factor, net in ((1, first), (2, second)):
        net.set_params("conv", [np.full((3, 2, 3, 3), factor), np.zeros(3)])
    x = np.ones((1, 2, 5, 6))
    assert first.forward(data=x)["power"].max() == 2 * 18 + 1
    assert second.forward(data=x)["power"].max() == 4 * 18 + 1
    first.close()
    first.close()
    assert second.forward(data=x)["power"].max() == 4 * 18 + 1
    with pytest.raises(CaffeProcessError, match="this net was closed"):
        first.forward(data=x)
    second.close()


def test_weights_file(shared: CaffeProcess) -> None:
    example = Path(__file__).resolve().parents[3] / "examples" / "lenet"
    with np.load(example / "test_set.npz") as test_set:
        data, label, scale = test_set["data"], test_set["label"], test_set["scale"]
    with Net(example / "deploy.prototxt", example / "lenet.caffemodel", process=shared) as net:
        right = 0
        for start in range(0, len(data), 500):
            result = net.forward(data=data[start : start + 500].astype(np.float32) * scale)["prob"]
            right += int((result.argmax(axis=1) == label[start : start + 500]).sum())
    assert len(data) == 2500
    assert right / len(data) == pytest.approx(0.922, abs=0.001)


@pytest.mark.parametrize("wrong", ["model", "weights"])
def test_missing_file(tmp_path: Path, wrong: str) -> None:
    model = write(tmp_path, CONV_NET) if wrong == "weights" else tmp_path / "none.prototxt"
    with pytest.raises(FormatError, match=r"none\.\w+: there is no such file"):
        Net(model, tmp_path / "none.caffemodel", python="/nowhere/python")


def test_contradicting_arguments(shared: CaffeProcess, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be 'TEST' or 'TRAIN'"):
        Net(write(tmp_path, CONV_NET), phase="test", process=shared)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="give them to CaffeProcess"):
        Net(write(tmp_path, CONV_NET), process=shared, timeout=1)


def test_python_layer_and_stray_prints(caffe_python: str, tmp_path: Path) -> None:
    body = "print('loud' * 1000); os.write(1, b'NQC1' * 1000); sys.stdout.flush(); assert sys.stdin.read() == ''"
    with Net(write_python_net(tmp_path, body), python=caffe_python, pythonpath=[tmp_path]) as net:
        for _ in range(40):
            np.testing.assert_array_equal(net.forward(data=np.zeros((1, 4)))["user"], np.ones((1, 4)))
        assert "loud" in net.process.stderr_tail


@pytest.mark.parametrize(
    ("body", "message"), [("raise OSError('own words')", "OSError: own words"), ("sys.exit(3)", "SystemExit: 3")]
)
def test_exception_in_a_python_layer_leaves_the_net_alive(
    caffe_python: str, tmp_path: Path, body: str, message: str
) -> None:
    path = write_python_net(tmp_path, f"if bottom[0].data[0, 0] == 0: {body}")
    with Net(path, python=caffe_python, pythonpath=[tmp_path]) as net:
        with pytest.raises(CaffeProcessError, match=message) as caught:
            net.forward(data=np.zeros((1, 4)))
        assert str(path) in str(caught.value)
        assert "user_layer.py" in str(caught.value)
        np.testing.assert_array_equal(net.forward(data=np.ones((1, 4)))["user"], np.full((1, 4), 2))


def test_big_arrays(caffe_python: str, tmp_path: Path) -> None:
    text = (
        'input: "data" input_shape { dim: 1 dim: 13107200 }\n'
        'layer { name: "power" type: "Power" bottom: "data" top: "power" power_param { scale: 2 } }'
    )
    with Net(write(tmp_path, text), python=caffe_python) as net:
        x = np.random.default_rng(7).standard_normal((1, 13107200), np.float32)
        np.testing.assert_array_equal(net.forward(data=x)["power"], 2 * x)
