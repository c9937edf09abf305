"""Compiles frontends/caffe/schema/caffe.proto into the caffe.desc beside it (needs the `schema` extra)."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

SCHEMA = Path(__file__).resolve().parent.parent / "frontends" / "caffe" / "schema"


def build(target: Path) -> None:
    """Writes the serialized FileDescriptorSet of the schema to ``target``."""
    arguments = ["protoc", f"-I{SCHEMA}", f"--descriptor_set_out={target}", str(SCHEMA / "caffe.proto")]
    if protoc.main(arguments) != 0:
        sys.exit("protoc refused caffe.proto; its message is above")


if __name__ == "__main__":
    build(SCHEMA / "caffe.desc")
