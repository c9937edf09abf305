"""The size that one ONNX file can have."""

from __future__ import annotations

from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph

__all__ = ["MAX_BYTES", "check_size", "too_large"]

MAX_BYTES = 2**31 - 1


def check_size(graph: Graph) -> None:
    """Refuses a graph whose parameters alone are too large; protobuf would notice only after copying all of them.

    Raises:
        UnsupportedError: They take more than 2 GB.
    """
    if sum(array.nbytes for array in graph.params.values()) > MAX_BYTES:
        raise too_large(f"network '{graph.name}'")


def too_large(subject: str) -> UnsupportedError:
    """Returns the error for a model that does not fit.

    Args:
        subject: What it is.
    """
    return UnsupportedError(
        f"{subject} exceeds the {MAX_BYTES} bytes that one ONNX file can hold; quantize it, or split the network (Graph.up_to)"
    )
