"""Data of ONNX tensors in other files: taken only from beside the model."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nuqconv.errors import FormatError
from nuqconv.frontends.onnx import read_onnx
from nuqconv.frontends.onnx.external import load_tensors

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def model_of(*tensors: TensorProto) -> onnx.ModelProto:
    output = helper.make_tensor_value_info(tensors[0].name, tensors[0].data_type, list(tensors[0].dims))
    return helper.make_model(helper.make_graph([], "g", [], [output], list(tensors)))


def external(name: str = "w", location: str = "w.data", **entries: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=VALUES.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def saved(folder, *tensors: TensorProto):
    path = folder / "model.onnx"
    path.write_bytes(model_of(*tensors).SerializeToString())
    return path


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.data").write_bytes(b"abcd" + VALUES.tobytes() + b"efgh")
    return folder


def test_what_onnx_itself_has_saved(tmp_path):
    tensors = [numpy_helper.from_array(VALUES + n, f"w{n}") for n in range(3)]
    path = tmp_path / "model.onnx"
    onnx.save(model_of(*tensors), path, save_as_external_data=True, location="all.data", size_threshold=0)
    assert (tmp_path / "all.data").stat().st_size >= 3 * VALUES.nbytes
    found = read_onnx(path)
    for number, tensor in enumerate(found.graph.initializer):
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), VALUES + number)
        assert tensor.data_location == TensorProto.DEFAULT
        assert not tensor.external_data


def test_part_of_a_file_and_a_file_in_a_folder_below(data):
    (data / "below").mkdir()
    (data / "below" / "v.data").write_bytes(VALUES.tobytes())
    path = saved(
        data,
        external(offset=4, length=48),
        external("v", "below/v.data"),
        external("u", "./w.data", offset=8, length=48),
    )
    found = {item.name: numpy_helper.to_array(item) for item in read_onnx(path).graph.initializer}
    np.testing.assert_array_equal(found["w"], VALUES)
    np.testing.assert_array_equal(found["v"], VALUES)
    np.testing.assert_array_equal(found["u"].ravel()[:-1], VALUES.ravel()[1:])


def _refused(path) -> str:
    with pytest.raises(FormatError) as caught:
        read_onnx(path)
    (problem,) = caught.value.problems
    return problem


def test_a_symbolic_link_is_not_followed(data, tmp_path):
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    (data / "link.data").symlink_to(tmp_path / "secret")
    assert "is reached by the symbolic link" in _refused(saved(data, external(location="link.data")))


def test_a_symbolic_link_on_the_way_is_not_followed(data, tmp_path):
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    (data / "folder").symlink_to(tmp_path)
    assert "is reached by the symbolic link" in _refused(saved(data, external(location="folder/secret")))


def test_a_model_behind_a_symbolic_link_takes_what_is_beside_the_link(data, tmp_path):
    path = saved(data, external(offset=4, length=48))
    (tmp_path / "link.onnx").symlink_to(path)
    assert "cannot be read: No such file" in _refused(tmp_path / "link.onnx")
    # A folder that is a link is the user's own doing.
    (tmp_path / "folder").symlink_to(data)
    assert read_onnx(tmp_path / "folder" / "model.onnx").graph.initializer[0].raw_data == VALUES.tobytes()


def test_what_is_no_regular_file(data):
    (data / "folder").mkdir()
    assert "is no regular file" in _refused(saved(data, external(location="folder")))
    os.mkfifo(data / "pipe")
    assert "is no regular file" in _refused(saved(data, external(location="pipe")))


def test_tied_tensors_may_share_bytes_but_not_without_end(data):
    tied = [external(f"w{n}", offset=4, length=48) for n in range(4)]
    assert len(read_onnx(saved(data, *tied)).graph.initializer) == 4
    many = [external(f"w{n}", offset=4, length=48) for n in range(5)]
    assert "with it, tensors take 240 bytes of 'w.data', which has 56" in _refused(saved(data, *many))


@pytest.mark.parametrize("name", sorted(set(TensorProto.DataType.keys()) - {"UNDEFINED", "STRING"}))
@pytest.mark.parametrize("raw", [False, True])
def test_every_type_as_onnx_itself_writes_it(tmp_path, name, raw):
    kind = TensorProto.DataType.Value(name)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    values = np.array([0, 1, 1, 0, 1], dtype)
    if raw:
        tensor = numpy_helper.from_array(values, "w")
        if tensor.data_type != kind:
            pytest.skip("this version of onnx has no arrays of this type")
    else:
        tensor = helper.make_tensor("w", kind, [5], [0, 1, 1, 0, 1])
    model = model_of(tensor)
    load_tensors(model, tmp_path / "model.onnx")
    assert model.graph.initializer[0] == tensor
    model.graph.initializer[0].dims[0] = 50
    with pytest.raises(FormatError, match="takes"):
        load_tensors(model, tmp_path / "model.onnx")


def test_texts_keep_their_count(tmp_path):
    model = model_of(helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"\xff"]))
    load_tensors(model, tmp_path / "model.onnx")
    model.graph.initializer[0].dims[0] = 3
    with pytest.raises(FormatError, match="holds 2 numbers in string_data"):
        load_tensors(model, tmp_path / "model.onnx")


@given(st.text())
def test_no_location_leads_out_of_the_folder(tmp_path_factory, location):
    folder = tmp_path_factory.mktemp("f") / "deep"
    folder.mkdir()
    path = saved(folder, external(location=location))
    # Nothing lies there, so whatever is read must be the model itself.
    problem = _refused(path)
    assert any(
        text in problem for text in ("not below the model's folder", "cannot be read", "is no regular file", "bytes in")
    )
