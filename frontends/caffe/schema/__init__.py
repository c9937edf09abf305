"""Caffe's messages, built at run time from the compiled schema in a private descriptor pool.

There is no generated ``_pb2`` module: such a module is tied to a range of protobuf versions, and registering ``caffe.proto`` in the default
pool would clash with a ``caffe_pb2`` that the user's process may hold.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

__all__ = ["BlobProto", "LayerParameter", "NetParameter", "field_names", "message_class"]

_PACKAGE = "nuqconv.caffe"


def _load() -> descriptor_pool.DescriptorPool:
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(resources.files(__package__).joinpath("caffe.desc").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


_POOL = _load()


def message_class(name: str) -> type[Message]:
    """Returns the message class ``name`` of the schema (for instance ``"LayerParameter"``)."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def field_names(name: str) -> frozenset[str]:
    """Returns the field names of message ``name``."""
    return frozenset(cast("Any", _POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")).fields_by_name)


# The classes are made at run time, so their fields are known to protobuf only.
NetParameter: Any = message_class("NetParameter")
LayerParameter: Any = message_class("LayerParameter")
BlobProto: Any = message_class("BlobProto")
