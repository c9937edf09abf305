"""Functions of several values, element by element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading, number_array
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir import Array
from nuqconv.ir.ops import Bias, Binary, Eltwise, Identity, Op, Power, Reshape, Scale, Shape, Where

__all__: list[str] = []

_FUNCTIONS: Mapping[str, str] = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Pow": "pow",
    "And": "and",
    "Or": "or",
    "Xor": "xor",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
}

_SAME_SHAPE: Mapping[str, Op] = {
    "Add": Eltwise("SUM"),
    "Sub": Eltwise("SUM", (1.0, -1.0)),
    "Mul": Eltwise("PROD"),
}


@converts(*_FUNCTIONS)
def two_values(reading: Reading, node: NodeView) -> None:
    """Power, Bias, Scale or Eltwise where one of them is the same, else Binary; whole numbers divide without a rest."""
    if node.op_type == "Div" and reading.is_whole(node, 0):
        reading.add(node, Binary("integer_div"), (reading.value(node, 0), reading.value(node, 1)))
        return
    if _with_constant(reading, node):
        return
    shapes = reading.shape(node, 0), reading.shape(node, 1)
    inputs = reading.value(node, 0), reading.value(node, 1)
    same = _SAME_SHAPE.get(node.op_type)
    # A stored table of one item is the same for every item of a larger batch.
    table = shapes[0][:1] == (1,) and any(reading.constant(node, index) is not None for index in (0, 1))
    if same is not None and shapes[0] == shapes[1] and not table:
        reading.add(node, same, inputs)
        return
    reading.add(node, Binary(_FUNCTIONS[node.op_type]), inputs)


def _with_constant(reading: Reading, node: NodeView) -> bool:
    """Adds a node for a value and a constant of one element or one for each channel; returns whether it could."""
    for index in (1, 0):
        array = reading.constant(node, index)
        if array is None or node.inputs[1 - index] in reading.constants:
            continue
        numbers = number_array(array, node.inputs[index])
        shape = reading.shape(node, 1 - index)
        if numbers.size == 1 and numbers.ndim <= len(shape):
            op = _by_number(node.op_type, float(numbers.reshape(-1)[0]), first=index == 0)
            if op is not None:
                reading.add(node, op, (reading.value(node, 1 - index),))
                return True
        part = _channels(numbers, shape)
        kind = _BY_CHANNEL.get(node.op_type) if index == 1 or node.op_type in ("Add", "Mul") else None
        if part is not None and kind is not None:
            made = -part if node.op_type == "Sub" else part
            params = (reading.param(node.inputs[index], np.ascontiguousarray(made)),)
            reading.add(node, kind, (reading.value(node, 1 - index),), params=params)
            return True
    return False


_BY_CHANNEL: Mapping[str, Op] = {"Add": Bias(), "Sub": Bias(), "Mul": Scale()}


def _by_number(op_type: str, number: float, *, first: bool) -> Op | None:
    """What a value and one number make; ``first`` if the number is the left side."""
    if op_type == "Add":
        return Power(shift=number)
    if op_type == "Mul":
        return Power(scale=number)
    if op_type == "Sub":
        return Power(scale=-1.0, shift=number) if first else Power(shift=-number)
    if op_type == "Pow" and not first:
        return Power(power=number)
    # Only the reciprocal of a power of two is exact.
    if op_type == "Div" and not first and number and abs(np.frexp(number)[0]) == 0.5 and 1e-30 < abs(number) < 1e30:
        return Power(scale=1 / number)
    return None


def _channels(numbers: Array, shape: Shape) -> Array | None:
    """Returns the (C,) that numbers laid along axis 1 alone are, or None."""
    rank = len(shape)
    if rank < 2 or numbers.ndim > rank or numbers.ndim < rank - 1 or numbers.size != shape[1]:
        return None
    full = (*(1,) * (rank - numbers.ndim), *numbers.shape)
    return numbers.reshape(-1) if all(size == 1 for axis, size in enumerate(full) if axis != 1) else None


@converts("Mod")
def mod(reading: Reading, node: NodeView) -> None:
    """The remainder with the divisor's sign, or with ``fmod`` the dividend's."""
    op = Binary("fmod" if node.get("fmod", 0) else "mod")
    reading.add(node, op, (reading.value(node, 0), reading.value(node, 1)))


@converts("Sum", "Max", "Min", "Mean")
def several(reading: Reading, node: NodeView) -> None:
    """Eltwise where all shapes are one and it has the function, else Binary for each further value."""
    if len(node.inputs) == 1:
        reading.add(node, Identity(), (reading.value(node, 0),))
        return
    shapes = {reading.shape(node, index) for index in range(len(node.inputs))}
    values = [reading.value(node, index) for index in range(len(node.inputs))]
    count = len(values)
    if len(shapes) == 1 and node.op_type in ("Sum", "Max"):
        reading.add(node, Eltwise("MAX" if node.op_type == "Max" else "SUM"), values)
        return
    function = {"Max": "max", "Min": "min"}.get(node.op_type, "add")
    _chain(reading, node, function, values, mean=count if node.op_type == "Mean" else 0)


def _chain(reading: Reading, node: NodeView, function: str, values: Sequence[str], *, mean: int) -> None:
    value = values[0]
    for place, other in enumerate(values[1:], 2):
        last = place == len(values) and not mean
        value = reading.add(node, Binary(function), (value, other), node.outputs if last else None, purpose="part")
    if mean:
        number = reading.parameter(f"{node.name}/count", np.array(mean, np.float32))
        reading.add(node, Binary("div"), (value, number))


@converts("Where")
def where(reading: Reading, node: NodeView) -> None:
    """One operator."""
    if len(node.inputs) != 3:
        raise CannotConvertError(f"it has {len(node.inputs)} inputs, expected 3")
    reading.add(node, Where(), [reading.value(node, index) for index in range(3)])


@converts("OneHot")
def one_hot(reading: Reading, node: NodeView) -> None:
    """Where the index, or what it counts from the end, equals its place: one of two values that are known."""
    shape = reading.shape(node)
    (depth,) = reading.whole(node, 1, "depth")
    low, high = (float(item) for item in np.asarray(reading.needed(node, 2, "values")).reshape(-1))
    rank = len(shape) + 1
    axis = node.get("axis", -1)
    axis += rank if axis < 0 else 0
    if depth < 1 or not 0 <= axis < rank:
        raise CannotConvertError(f"depth {depth} at axis {node.get('axis', -1)} of {rank}")
    places = np.arange(depth, dtype=np.float32).reshape(-1, *(1,) * (rank - 1 - axis))
    # Axis 0 stays open where it stays the first.
    dims = (0, *shape[1:axis], 1, *shape[axis:]) if axis else (1, *shape)
    indices = reading.add(node, Reshape(dims), (reading.value(node, 0),), purpose="axis")
    found = [
        reading.add(
            node, Binary("equal"), (indices, reading.parameter(f"{node.name}/{what}", values)), purpose=f"is_{what}"
        )
        for what, values in (("place", places), ("place_from_end", places - np.float32(depth)))
    ]
    one = reading.add(node, Binary("or"), found, purpose="one")
    reading.add(node, Power(1.0, high - low, low), (one,))
