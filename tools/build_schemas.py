"""Compiles the .proto files into the .desc files beside them (needs the `schema` extra)."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = (
    ROOT / "frontends" / "caffe" / "schema" / "caffe.proto",
    ROOT / "nuqconv" / "config" / "simplified.proto",
    ROOT / "nuqconv" / "pycaffe" / "proto" / "more.proto",
)


def build(source: Path, target: Path) -> None:
    """Writes the serialized FileDescriptorSet of ``source`` to ``target``."""
    if protoc.main(["protoc", f"-I{source.parent}", f"--descriptor_set_out={target}", str(source)]) != 0:
        sys.exit(f"protoc refused {source.name}; its message is above")


if __name__ == "__main__":
    for schema in SCHEMAS:
        build(schema, schema.with_suffix(".desc"))
