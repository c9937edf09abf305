"""Compiles nuqconv/config/simplified.proto into the simplified.desc beside it (needs the `schema` extra)."""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

SCHEMA = Path(__file__).resolve().parent.parent / "nuqconv" / "config"


def build(target: Path) -> None:
    """Writes the serialized FileDescriptorSet of the schema to ``target``."""
    arguments = ["protoc", f"-I{SCHEMA}", f"--descriptor_set_out={target}", str(SCHEMA / "simplified.proto")]
    if protoc.main(arguments) != 0:
        sys.exit("protoc refused simplified.proto; its message is above")


if __name__ == "__main__":
    build(SCHEMA / "simplified.desc")
