"""Files without an end, or larger than their kind can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import nuqconv
from nuqconv.backends.caffe.record import read_record
from nuqconv.config import read_mapping
from nuqconv.errors import ConfigError, FormatError
from nuqconv.files.bounded import MOST_BINARY, MOST_TEXT, read_bounded
from nuqconv.frontends.caffe.prototxt import read_prototxt
from nuqconv.frontends.caffe.weights import read_weights
from nuqconv.frontends.onnx import read_onnx

ZERO = Path("/dev/zero")


def test_up_to_the_last_byte(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_bounded(path, 3) == b"abc"
    with pytest.raises(OSError, match="more than the 2 bytes"):
        read_bounded(path, 2)
    with pytest.raises(OSError, match="No such file"):
        read_bounded(tmp_path / "none", 2)
    with pytest.raises(OSError, match="no file can have this name"):
        read_bounded("a\0b", 2)


@pytest.mark.skipif(not ZERO.exists(), reason="the system has no such device")
@pytest.mark.parametrize(
    ("read", "error"), [(read_prototxt, FormatError), (read_record, FormatError), (read_mapping, ConfigError)]
)
def test_a_device_without_an_end(read, error):
    with pytest.raises(error, match=f"/dev/zero: .*cannot be read: it has more than the {MOST_TEXT} bytes"):
        read(ZERO)


@pytest.mark.parametrize("read", [read_weights, read_onnx])
def test_a_file_of_more_than_protobuf_can_hold(tmp_path, read):
    path = tmp_path / "large"
    path.touch()
    # A hole takes no room on the disk.
    os.truncate(path, MOST_BINARY + 1)
    with pytest.raises(FormatError, match="large: cannot be read: it has more than the"):
        read(path)


def test_a_name_that_is_none():
    with pytest.raises(FormatError, match="no file can have this name"):
        nuqconv.load("a\0b", "c")
