"""Reading .caffemodel files."""

import numpy as np
import pytest

from nuqconv.errors import FormatError, ModelError
from nuqconv.frontends.caffe.schema import BlobProto, NetParameter
from nuqconv.frontends.caffe.weights import blob_array, read_weights


def _net(**blob) -> bytes:
    net = NetParameter()
    layer = net.layer.add(name="a")
    layer.blobs.add(**blob)
    return net.SerializeToString()


def test_float_blobs_are_views():
    blob = BlobProto(data=[np.arange(4, dtype="<f4").tobytes()])
    blob.shape.dim.extend([2, 2])
    array = blob_array(blob)
    assert array.tolist() == [[0, 1], [2, 3]]
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_data_in_several_pieces():
    blob = BlobProto(data=[b"\0\0\x80?", b"\0\0\0@"])
    blob.shape.dim.append(2)
    assert blob_array(blob).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("dims", "rank", "expected"),
    [
        ((1, 1, 2, 3), 2, (2, 3)),
        ((1, 1, 1, 6), 1, (6,)),
        ((2, 3, 1, 1), 4, (2, 3, 1, 1)),
        ((1, 1, 1, 6), 4, (1, 1, 1, 6)),
    ],
)
def test_legacy_shapes(dims, rank, expected):
    blob = BlobProto(
        data=[np.zeros(6, "<f4").tobytes()], **dict(zip(("num", "channels", "height", "width"), dims, strict=True))
    )
    assert blob_array(blob, rank).shape == expected


def test_double_and_integer_blobs():
    double = BlobProto(double_data=[np.array([1.5, -2], "<f8").tobytes()])
    double.shape.dim.append(2)
    assert blob_array(double).dtype == np.float32
    assert blob_array(double).tolist() == [1.5, -2]
    small = BlobProto(int8_data=np.array([-128, 127], np.int8).tobytes())
    small.shape.dim.append(2)
    assert blob_array(small).dtype == np.int8
    assert blob_array(small).tolist() == [-128, 127]
    wide = BlobProto(int32_data=[-(2**31), 7])
    wide.shape.dim.append(2)
    assert blob_array(wide).tolist() == [-(2**31), 7]


def test_wrong_count_and_ragged_bytes():
    blob = BlobProto(data=[bytes(12)])
    blob.shape.dim.extend([2, 2])
    with pytest.raises(ModelError, match="holds 3 numbers, but its shape is 2x2"):
        blob_array(blob)
    with pytest.raises(ModelError, match="no multiple of 4"):
        blob_array(BlobProto(data=[b"abc"]))
    negative = BlobProto(data=[bytes(4)])
    negative.shape.dim.extend([-1, -1])
    with pytest.raises(ModelError, match="holds 1 numbers"):
        blob_array(negative)


@pytest.mark.parametrize(
    ("data", "error", "expected"),
    [
        (b"", FormatError, "is empty"),
        (b"\xff" * 40, FormatError, "truncated or damaged"),
        (_net(data=[bytes(400)])[:-100], FormatError, "truncated or damaged"),
        (NetParameter(name="x").SerializeToString(), FormatError, "holds no layer"),
        # raw_data_type = 10 (varint) and raw_data = 12
        (
            b"\xa2\x06\x0d\x0a\x01a\x3a\x08\x50\x03\x62\x04\x00\x3c\x00\x40",
            ModelError,
            "layer 'a': blob 0 has raw_data_type 3",
        ),
        (
            NetParameter(layers=[{"layer": {"name": "a", "type": "x"}}]).SerializeToString(),
            ModelError,
            "no layer type 'x'",
        ),
    ],
    ids=["empty", "garbage", "truncated", "no layer", "raw type", "V0 type"],
)
def test_bad_files(tmp_path, data, error, expected):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(data)
    with pytest.raises(error, match=r"net\.caffemodel") as caught:
        read_weights(path)
    assert expected in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        read_weights(tmp_path / "none.caffemodel")
