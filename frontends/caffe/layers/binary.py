"""Functions of several blobs, element by element."""

from __future__ import annotations

from typing import Any, Literal

from nuqconv.frontends.caffe.layers.registry import CannotReadError, Reading, reads
from nuqconv.ir.ops import Axpy, Eltwise

__all__: list[str] = []


@reads(Axpy, "Axpy")
def read_axpy(layer: Any) -> Reading:
    """An Axpy has no parameters."""
    if list(layer.top) == list(layer.bottom[:1]):
        raise CannotReadError("it writes in place over its factors, which have another shape")
    return Reading(Axpy())


_OPERATIONS: dict[int, Literal["PROD", "SUM", "MAX"]] = {0: "PROD", 1: "SUM", 2: "MAX"}


@reads(Eltwise, "Eltwise")
def read_eltwise(layer: Any) -> Reading:
    """Reads ``eltwise_param``."""
    param = layer.eltwise_param
    operation = _OPERATIONS[param.operation]
    if operation != "PROD" and list(layer.top) == list(layer.bottom[:1]):
        raise CannotReadError(
            f"{operation} in place: Caffe clears the first bottom before it reads it; give the top another name"
        )
    return Reading(Eltwise(operation, tuple(param.coeff)))
