"""Arithmetic on each element of one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts, converts_to
from nuqconv.ir.ops import AbsVal, Binary, Clip, Identity, Op, Parameter, ReLU, Unary

__all__: list[str] = []

# Functions that are called the same but for the capital letter.
_SAME = (
    *(
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "ceil",
        "cos",
        "cosh",
        "erf",
        "exp",
        "floor",
        "log",
        "mish",
        "neg",
    ),
    *("not", "reciprocal", "round", "sign", "sin", "sinh", "softsign", "sqrt", "tan"),
)

converts_to(
    {
        "Abs": lambda _: AbsVal(),
        "Gelu": lambda node: Unary("gelu_tanh" if node.get("approximate", "none") == "tanh" else "gelu"),
        "IsNaN": lambda _: Unary("isnan"),
        **{name.capitalize(): (lambda _, function=name: Unary(function)) for name in _SAME},  # type: ignore[misc]
    }
)


@converts("IsInf")
def is_inf(reading: Reading, node: NodeView) -> None:
    """Unary; with infinities of one sign, those of it that are above or below 0."""
    value = reading.value(node, 0)
    signs = bool(node.get("detect_positive", 1)), bool(node.get("detect_negative", 1))
    if all(signs):
        reading.add(node, Unary("isinf"), (value,))
        return
    if not any(signs):
        raise CannotConvertError("it looks for nothing")
    zero = reading.parameter(f"{node.name}/zero", np.array(0, np.float32))
    infinite = reading.add(node, Unary("isinf"), (value,), purpose="infinite")
    sign = reading.add(node, Binary("greater" if signs[0] else "less"), (value, zero), purpose="sign")
    reading.add(node, Binary("and"), (infinite, sign))


@converts("Clip")
def clip(reading: Reading, node: NodeView) -> None:
    """Clip, or ReLU where only 0 bounds it from below; bounds that are computed by minima and maxima."""
    if node.version < 11:
        low, high = node.get("min", -math.inf), node.get("max", math.inf)
    else:
        bounds = []
        for index, default in ((1, -math.inf), (2, math.inf)):
            array = reading.constant(node, index)
            if array is None and node.has_input(index):
                _clip_by_values(reading, node)
                return
            bounds.append(default if array is None else float(np.asarray(array).reshape(-1)[0]))
        low, high = bounds
    value = reading.value(node, 0)
    if low <= np.finfo(np.float32).min:
        low = -math.inf
    if high >= np.finfo(np.float32).max:
        high = math.inf
    op: Op = Clip(low, high)
    if (low, high) == (-math.inf, math.inf):
        op = Identity()
    elif (low, high) == (0, math.inf):
        op = ReLU()
    elif low > high:
        # ONNX: everything becomes the upper bound.
        op = Clip(high, high)
    reading.add(node, op, (value,))


def _clip_by_values(reading: Reading, node: NodeView) -> None:
    value = reading.value(node, 0)
    low, high = node.has_input(1), node.has_input(2)
    if low:
        made = None if high else node.outputs
        value = reading.add(node, Binary("max"), (value, reading.value(node, 1)), made, purpose="low")
    if high:
        reading.add(node, Binary("min"), (value, reading.value(node, 2)))


@converts("Identity", "Dropout", "Cast", "CastLike")
def identity(reading: Reading, node: NodeView) -> None:
    """Identity; a Cast to whole numbers cuts off, one to truth values compares with 0."""
    made = node.outputs[:1]
    op: Op = Identity()
    if node.op_type == "Dropout" and len(node.outputs) > 1 and node.outputs[1]:
        shape = reading.shape(node)
        params = (reading.param(f"{node.name}/mask", np.ones(shape, np.float32)),)
        reading.add(node, Parameter(shape), (), node.outputs[1:2], params, purpose="mask")
    if node.op_type == "Dropout":
        training = reading.constant(node, 2)
        if (training is None and node.has_input(2)) or (training is not None and bool(training.reshape(-1)[0])):
            raise CannotConvertError("it drops values at random: it is in training mode")
    if node.op_type == "Cast":
        op = _CASTS.get(_type_name(node.get("to", 1)), Identity())
    if node.op_type == "CastLike":
        target = reading.type_of(node, 1)
        if not target:
            raise CannotConvertError("the type that it casts to is not known")
        array = reading.constant(node, 0)
        if array is not None:
            _type_name(target)
            reading.constants[node.outputs[0]] = array.astype(onnx.helper.tensor_dtype_to_np_dtype(target))
            return
        op = _CASTS.get(_type_name(target), Identity())
    reading.add(node, op, (reading.value(node, 0),), made)


def _type_name(number: int) -> str:
    name = onnx.TensorProto.DataType.Name(number)
    if name in ("STRING", "COMPLEX64", "COMPLEX128", "BFLOAT16") or name.startswith(
        ("FLOAT8", "FLOAT4", "FLOAT6", "INT4", "UINT4", "INT2", "UINT2")
    ):
        raise CannotConvertError(f"it casts to {name}")
    return str(name)


_CASTS: Mapping[str, Any] = {
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"), Unary("trunc")),
    "BOOL": Unary("nonzero"),
}
