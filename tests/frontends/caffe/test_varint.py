"""Packed varints, held against protobuf's own coder."""

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe.varint import decode_varints, encode_varints


def _packed_message():
    file = descriptor_pb2.FileDescriptorProto(name="packed.proto", package="t", syntax="proto3")
    field = file.message_type.add(name="M").field.add(name="v", number=1)
    field.label, field.type = field.LABEL_REPEATED, field.TYPE_UINT64
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.M"))


MESSAGE = _packed_message()


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_same_bytes_as_protobuf(values):
    data = MESSAGE(v=values).SerializeToString()
    encoded = encode_varints(np.array(values, np.uint64))
    assert data.endswith(encoded)
    assert len(data) - len(encoded) in ((0,) if not values else (2, 3))
    assert decode_varints(encoded).tolist() == values


@pytest.mark.parametrize("data", [b"\x80", b"\x01\xff", b"\xff" * 11 + b"\x01"])
def test_damaged(data):
    with pytest.raises(ModelError, match="a packed number"):
        decode_varints(data)
