"""Integer weights of few levels as packed bits with their codebook, unpacked by standard operators.

Bit ``k`` of the index of weight ``8 j + i`` is bit ``7 - i`` of byte ``j`` of plane ``k``::

    planes (bits, bytes, 1) -> BitShift right by 7..0 -> Mod 2 -> Cast -> Mul by 1, 2, 4.. -> ReduceSum -> Reshape -> Gather of the codebook

onnxruntime computes all of it once, when it loads the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper

from nuqconv.ir import Array

__all__ = ["Packed", "pack", "unpack_nodes"]

_MOST_LEVELS = 128


class Packed(NamedTuple):
    """Packed weights.

    Attributes:
        planes: uint8 (bits, bytes, 1).
        codebook: The levels in ascending order, int8.
    """

    planes: Array
    codebook: Array


def pack(weights: Array) -> Packed | None:
    """Packs int8 weights; None where that saves nothing.

    A single level is one plane of zeros.
    """
    if weights.dtype != np.int8 or not weights.size:
        return None
    codebook, indices = np.unique(weights, return_inverse=True)
    if len(codebook) > _MOST_LEVELS:
        return None
    bits = max(1, math.ceil(math.log2(len(codebook))))
    numbers = indices.reshape(-1).astype(np.uint8)
    planes = np.stack([np.packbits(numbers >> bit & 1) for bit in range(bits)])[..., np.newaxis]
    return Packed(planes, codebook) if planes.nbytes + codebook.nbytes < weights.nbytes else None


def unpack_nodes(
    shape: Sequence[int], packed: Packed, result: str, name: Callable[[str], str], store: Callable[[Array, str], str]
) -> list[NodeProto]:
    """Returns the nodes that make the weights.

    Args:
        shape: The weights' shape.
        packed: What they are made of.
        result: Name of the int8 result.
        name: Makes a name of a purpose.
        store: Stores a tensor under a purpose and returns its name.
    """
    bits, count = packed.planes.shape[0], math.prod(shape)
    shifts = store(np.arange(7, -1, -1, dtype=np.uint8), "shifts")
    places = store((1 << np.arange(bits, dtype=np.int32)).reshape(-1, 1, 1), "places")
    nodes: list[NodeProto] = []

    def add(
        op_type: str, *inputs: str, output: str | None = None, attribute: tuple[str, int | str] | None = None
    ) -> str:
        made = name(op_type) if output is None else output
        node = helper.make_node(op_type, list(inputs), [made], f"{made}/node")
        if attribute is not None:
            node.attribute.append(helper.make_attribute(*attribute))
        nodes.append(node)
        return made

    value = add("BitShift", store(packed.planes, "planes"), shifts, attribute=("direction", "RIGHT"))
    value = add("Mod", value, store(np.array(2, np.uint8), "two"))
    value = add("Cast", value, attribute=("to", int(TensorProto.INT32)))
    value = add("Mul", value, places)
    value = add("ReduceSum", value, store(np.array([0], np.int64), "axis"), attribute=("keepdims", 0))
    value = add("Reshape", value, store(np.array([-1], np.int64), "flat"))
    if packed.planes.shape[1] * 8 != count:
        bounds = (store(np.array([number], np.int64), purpose) for number, purpose in ((0, "start"), (count, "end")))
        value = add("Slice", value, *bounds)
    value = add("Gather", store(packed.codebook, "codebook"), value)
    add("Reshape", value, store(np.array(shape, np.int64), "shape"), output=result)
    return nodes
