"""Caffe's messages under the names that its own ``caffe_pb2`` gives them, made at run time in a private pool.

They are those of `nuqconv.frontends.caffe.schema` with what only training and data sets need, and with blobs as lists of floats, which
scripts expect; the schema itself has them as bytes. On the wire both are the same.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

_Field = descriptor_pb2.FieldDescriptorProto
_FLOATS = {
    "data": _Field.TYPE_FLOAT,
    "diff": _Field.TYPE_FLOAT,
    "double_data": _Field.TYPE_DOUBLE,
    "double_diff": _Field.TYPE_DOUBLE,
}


def _file(package: str, name: str) -> descriptor_pb2.FileDescriptorProto:
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(resources.files(package).joinpath(name).read_bytes())
    return files.file[0]


def _merged() -> descriptor_pb2.FileDescriptorProto:
    """Returns the schema and what is missing in it as one file of package ``caffe``."""
    whole = _file("nuqconv.frontends.caffe.schema", "caffe.desc")
    prefix = f".{whole.package}."
    whole.name, whole.package = "caffe/proto/caffe.proto", "caffe"
    messages = {message.name: message for message in whole.message_type}
    for more in _file("nuqconv.pycaffe.proto", "more.desc").message_type:
        if more.name in messages:
            messages[more.name].field.extend(more.field)
        else:
            messages[more.name] = whole.message_type.add()
            messages[more.name].CopyFrom(more)
    for message in messages.values():
        _rename(message, prefix)
    for field in messages["BlobProto"].field:
        if field.name in _FLOATS:
            field.type = _FLOATS[field.name]
            field.options.packed = True
    return whole


def _rename(message: descriptor_pb2.DescriptorProto, prefix: str) -> None:
    for field in message.field:
        if field.type_name.startswith(prefix):
            field.type_name = f".caffe.{field.type_name.removeprefix(prefix)}"
    for nested in message.nested_type:
        _rename(nested, prefix)


def _names() -> dict[str, Any]:
    """Returns the messages, the enumerations and their values by name."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_merged().SerializeToString())
    file: Any = pool.FindFileByName("caffe/proto/caffe.proto")
    found: dict[str, Any] = {"DESCRIPTOR": file}
    for name, message in file.message_types_by_name.items():
        found[name] = message_factory.GetMessageClass(message)
    for name, kind in file.enum_types_by_name.items():
        found[name] = enum_type_wrapper.EnumTypeWrapper(kind)
        found.update({value.name: value.number for value in kind.values})
    return found


globals().update(_names())


def __getattr__(name: str) -> Any:
    raise AttributeError(f"caffe_pb2 has no message, enumeration or value '{name}'")
