"""The schema: the compiled form is that of the source, and it is wire-compatible with Caffe's own."""

import json
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from nuqconv.frontends.caffe import schema


def test_compiled_schema_is_current(tmp_path):
    pytest.importorskip("grpc_tools")
    from build_schemas import build  # noqa: PLC0415

    folder = resources.files(schema)
    build(Path(str(folder)) / "caffe.proto", tmp_path / "caffe.desc")
    assert (tmp_path / "caffe.desc").read_bytes() == folder.joinpath("caffe.desc").read_bytes()


_DUMP = """
import json
from caffe.proto import caffe_pb2
found = {}
for name, message in caffe_pb2.DESCRIPTOR.message_types_by_name.items():
    found[name] = {f.name: [f.number, f.label, f.type] for f in message.fields}
print(json.dumps(found))
"""


@pytest.mark.caffe
def test_numbers_are_those_of_real_caffe(caffe_python):
    """Every field that both sides have carries the same number, label and wire type."""
    run = subprocess.run([str(caffe_python), "-c", _DUMP], capture_output=True, text=True, check=True, timeout=600)
    theirs = json.loads(run.stdout.splitlines()[-1])
    compared = 0
    for name, fields in theirs.items():
        try:
            descriptor = schema.message_class(name).DESCRIPTOR
        except KeyError:
            continue
        ours = descriptor_pb2.DescriptorProto()
        descriptor.CopyToProto(ours)
        for field in ours.field:
            # Forks use one number for different layers: 204 is SSD's here, and parameters are read from text only.
            if field.name not in fields or field.name == "reverse_param":
                continue
            number, label, kind = fields[field.name]
            assert field.number == number, (name, field.name)
            # BlobProto's number arrays are bytes here and packed arrays there: both length-delimited.
            if (name, field.name) not in {("BlobProto", n) for n in ("data", "diff", "double_data", "double_diff")}:
                assert (field.label, field.type) == (label, kind), (name, field.name)
            compared += 1
    assert compared > 200


def test_packed_floats_arrive_as_bytes():
    values = np.arange(6, dtype="<f4")
    blob = schema.BlobProto()
    # Field 5, length-delimited: what any writer of a packed repeated float puts on the wire.
    blob.ParseFromString(b"\x2a" + bytes([values.nbytes]) + values.tobytes())
    assert blob.data[0] == values.tobytes()
