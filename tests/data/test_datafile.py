"""Data sets in .npz files."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from nuqconv.data.datafile import read_arrays, read_data
from nuqconv.errors import FormatError


def written(tmp_path, **arrays):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    return path


def problems(path, *names):
    with pytest.raises(FormatError) as found:
        read_data(path, names)
    return found.value


@pytest.mark.parametrize("key", ["label", "labels"])
def test_inputs_labels_and_scale(tmp_path, key):
    images = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    path = written(tmp_path, data=images, **{key: np.array([3, 1])}, scale=np.float64(0.1))
    found = read_data(path, ["data"])
    assert list(found.inputs) == ["data"]
    assert found.inputs["data"].dtype == np.float32
    np.testing.assert_array_equal(found.inputs["data"], images.astype(np.float32) * np.float32(0.1))
    assert found.labels.tolist() == [3, 1]


def test_several_inputs_without_labels(tmp_path):
    path = written(tmp_path, b=np.array([[True], [False]]), a=np.array([[1.5], [-2.0]], np.float64))
    found = read_data(str(path), ["a", "b"])
    assert list(found.inputs) == ["a", "b"]
    assert found.inputs["a"].tolist() == [[1.5], [-2.0]]
    assert found.inputs["b"].tolist() == [[1.0], [0.0]]
    assert found.labels is None


def test_arrays_that_nobody_uses_are_refused(tmp_path):
    path = written(tmp_path, data=np.zeros((2, 3)), mean=np.zeros(3), labels=np.zeros(2, int))
    assert problems(path, "data").problems == ("'mean' is not used; known are data, label, scale",)


def test_all_faults_are_listed(tmp_path):
    path = written(
        tmp_path, a=np.zeros((3, 2)), b=np.array(["x", "y"]), label=np.zeros(5, int), scale=np.array([1.0, 2.0])
    )
    found = problems(path, "a", "b", "c")
    assert str(found).splitlines()[0] == f"{path}: does not fit the net; it holds a, b, label, scale"
    assert found.problems == (
        "array 'c' for the net's input of that name is missing",
        "'scale' has shape (2,), expected one number",
        "the arrays must have one number of samples, at least 1; found {'a': 3, 'b': 2}",
        "there are 5 labels for 3 samples",
        "array 'b' holds <U1, expected numbers",
    )


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({}, "array 'data' for the net's input of that name is missing"),
        (
            {"data": np.zeros((0, 3))},
            "the arrays must have one number of samples, at least 1; found {'data': 0}",
        ),
        ({"data": np.float32(3)}, "array 'data' is a single number, expected one entry for each sample"),
        ({"data": np.zeros((2, 3), complex)}, "array 'data' holds complex128, expected numbers"),
        ({"data": np.zeros((2, 3)), "label": np.int64(1)}, "'label' is a single number, expected one for each sample"),
        ({"data": np.zeros((2, 3)), "scale": np.array("x")}, "'scale' holds <U1, expected one number"),
    ],
)
def test_one_fault(tmp_path, arrays, problem):
    assert problems(written(tmp_path, **arrays), "data").problems == (problem,)


def test_an_empty_file_is_named_so(tmp_path):
    path = written(tmp_path)
    assert str(problems(path, "data")).splitlines()[0] == f"{path}: does not fit the net; it holds nothing"


def test_files_that_are_not_there(tmp_path):
    path = tmp_path / "none.npz"
    assert str(problems(path, "data")) == f"{path}: cannot be read: No such file or directory"
    assert str(problems(tmp_path, "data")) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_single_array(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    path = tmp_path / "one.npy"
    assert str(problems(path, "data")) == (
        f"{path}: is a single array; a .npz file with one array for each input blob is expected"
    )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"layer { }", b"\x80\x04N."])
def test_files_of_another_kind(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    assert str(problems(path, "data")).startswith(f"{path}: is no .npz file of plain arrays: ")


def test_a_torn_file(tmp_path):
    path = written(tmp_path, data=np.arange(5000))
    path.write_bytes(path.read_bytes()[:-500])
    assert str(problems(path, "data")).startswith(f"{path}: is no .npz file of plain arrays: ")


@pytest.mark.parametrize(
    ("start", "filling", "reason"), [(60, 255, "Error -3 while decompressing"), (3000, 0, "Bad CRC-32")]
)
def test_damaged_numbers(tmp_path, start, filling, reason):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, data=np.random.default_rng(0).normal(size=5000))
    content = bytearray(path.read_bytes())
    content[start : start + 100] = bytes([filling]) * 100
    path.write_bytes(content)
    assert str(problems(path, "data")).startswith(f"{path}: is no .npz file of plain arrays: {reason}")


def test_objects_are_not_unpickled(tmp_path):
    path = written(tmp_path, data=np.array([{}, []], object))
    assert "holds object; objects and records are not read" in str(problems(path, "data"))


def test_a_zip_of_other_things(tmp_path):
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", "hello")
    assert "it holds 'data', which is no array" in str(problems(path, "data"))


def test_all_arrays_of_a_file(tmp_path):
    found = read_arrays(written(tmp_path, data=np.zeros((2, 3), np.int8), label=np.int64(1)))
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "data": ((2, 3), np.int8),
        "label": ((), np.int64),
    }
