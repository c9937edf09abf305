"""Nodes that can be computed before the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView
from nuqconv.ir import Array
from nuqconv.ir.ops import Shape

__all__ = ["fold", "folded_shape"]

_MOST_ELEMENTS = 2**28
# Their output may be far larger than what the file holds.
_GROWING = frozenset({"ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Upsample", "OneHot", "EyeLike"})
# What must not be computed beforehand, whatever its inputs.
_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
_CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def folded_shape(node: NodeView, shapes: Mapping[str, Shape | None]) -> Array | None:
    """Returns what a Shape or Size node gives where the shape of its input is known; None otherwise."""
    if node.op_type not in ("Shape", "Size"):
        return None
    shape = shapes.get(node.inputs[0])
    if shape is None:
        return None
    if node.op_type == "Size":
        return np.array(prod(shape), np.int64)
    return np.array(shape[node.get("start", 0) : node.get("end", len(shape))], np.int64)


def fold(node: NodeView, constants: Mapping[str, Array]) -> Mapping[str, Array] | None:
    """Computes a node whose inputs are all constants, with ONNX's reference implementation.

    Args:
        node: The node.
        constants: Constants by name.

    Returns:
        Its outputs by name; None where it cannot be computed beforehand.

    Raises:
        CannotConvertError: The result would be out of all proportion.
    """
    if node.op_type in _RANDOM | _CONTROL or any(name and name not in constants for name in node.inputs):
        return None
    given = {name: constants[name] for name in node.inputs if name}
    if node.op_type in _GROWING:
        _check_growth(node, [given.get(name) for name in node.inputs])
    graph = helper.make_graph(
        [_alone(node.proto)],
        "one",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.outputs if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.proto.domain, node.version)])
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, given)
    except Exception:  # noqa: BLE001  (the reference implementation raises whatever numpy does)
        return None
    names = [name for name in node.outputs if name]
    if not all(isinstance(array, np.ndarray | np.generic) for array in found):
        return None
    return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}


def _alone(proto: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(proto)
    return copy


def _check_growth(node: NodeView, inputs: Sequence[Array | None]) -> None:
    whole = [item for item in inputs if item is not None and item.dtype.kind in "iuf" and item.size <= 64]
    if node.op_type == "Range":
        start, limit, step = (float(item.reshape(-1)[0]) for item in whole[:3])
        count = abs(limit - start) / abs(step) if step else np.inf
    else:
        base = max((item.size for item in inputs if item is not None), default=1)
        count = base * max(
            (float(np.prod(np.abs(item.astype(np.float64)) + (node.op_type == "Pad"))) for item in whole), default=1.0
        )
        if node.op_type in ("ConstantOfShape", "Expand") and whole:
            count = float(np.prod(np.maximum(np.abs(whole[-1].astype(np.float64)), 1)))
    if not count <= _MOST_ELEMENTS:
        raise CannotConvertError(f"its result would have {count:.3g} elements")
