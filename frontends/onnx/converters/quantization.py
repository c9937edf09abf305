"""Quantized operators: their integers are whole numbers in the graph, their arithmetic that of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import TensorProto, helper

from nuqconv.frontends.onnx.converters import convolution, matrix
from nuqconv.frontends.onnx.integers import Stored
from nuqconv.frontends.onnx.reading import CannotConvertError, NodeView, Reading
from nuqconv.frontends.onnx.registry import converts
from nuqconv.ir import Array
from nuqconv.ir.ops import Binary, Clip, Power, Unary

__all__: list[str] = []

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


def _laid_out(reading: Reading, node: NodeView, array: Array, index: int) -> Array:
    """Steps or zero points of one axis, so that they broadcast."""
    rank, axis = len(reading.shape(node, index)), node.get("axis", 1)
    if node.get("block_size", 0):
        raise CannotConvertError("it has a step size for each block")
    if array.size == 1:
        return array.reshape(())
    if array.ndim != 1 or not rank:
        raise CannotConvertError(f"step sizes of shape {array.shape} are not those of one axis")
    return array.reshape((-1, *(1,) * (rank - 1 - axis % rank)))


def _steps(reading: Reading, node: NodeView, scale: int, point: int, data: int) -> tuple[Array, Array]:
    steps = reading.needed(node, scale, "step size")
    zero = reading.constant(node, point)
    if zero is None and node.has_input(point):
        raise CannotConvertError("its zero point must be known before the run")
    points = np.zeros(steps.shape, np.uint8) if zero is None else zero
    return tuple(_laid_out(reading, node, item, data) for item in (steps, points))  # type: ignore[return-value]


def _number(reading: Reading, node: NodeView, purpose: str, array: Array) -> str:
    return reading.parameter(reading.fresh(node, purpose), array.astype(np.float32))


def quantize(
    reading: Reading, node: NodeView, value: str, steps: Array, points: Array, outputs: Sequence[str] | None
) -> str:
    """Adds Binary div, round, the zero point, and Clip."""
    if points.dtype.name not in _RANGES:
        raise CannotConvertError(f"it quantizes to {points.dtype}; 8 and 16 bits are known")
    low, high = _RANGES[points.dtype.name]
    scaled = reading.add(node, Binary("div"), (value, _number(reading, node, "step", steps)), purpose="scaled")
    rounded = reading.add(node, Unary("round"), (scaled,), purpose="rounded")
    if points.any():
        rounded = reading.add(
            node, Binary("add"), (rounded, _number(reading, node, "zero_point", points)), purpose="shifted"
        )
    return reading.add(node, Clip(low, high), (rounded,), outputs, purpose="clipped" if outputs is None else "")


def dequantize(
    reading: Reading, node: NodeView, value: str, steps: Array, points: Array, outputs: Sequence[str] | None
) -> str:
    """Adds the zero point's subtraction and the product with the step sizes."""
    if points.any():
        value = reading.add(
            node, Binary("sub"), (value, _number(reading, node, "zero_point", points)), purpose="centred"
        )
    if steps.size == 1:
        op = Power(scale=float(steps.reshape(-1)[0]))
        return reading.add(node, op, (value,), outputs, purpose="real" if outputs is None else "")
    inputs = (value, _number(reading, node, "step", steps))
    return reading.add(node, Binary("mul"), inputs, outputs, purpose="real" if outputs is None else "")


def _is_computed(reading: Reading, node: NodeView, *indices: int) -> bool:
    """Whether one of some inputs is known only when the network runs."""
    return any(node.has_input(index) and reading.constant(node, index) is None for index in indices)


def _computed(reading: Reading, node: NodeView, index: int) -> str:
    """Returns a step size or zero point as a value, which must be one number where it is computed.

    Raises:
        CannotConvertError: It is several.
    """
    if prod(reading.shape(node, index)) != 1:
        raise CannotConvertError("it has several step sizes or zero points, which are computed; one number is read")
    return reading.value(node, index)


@converts("QuantizeLinear")
def quantize_linear(reading: Reading, node: NodeView) -> None:
    """See `quantize`; behind a DynamicQuantizeLinear the step size and the zero point are computed, and the same is done with these."""
    if _is_computed(reading, node, 1, 2):
        kind = reading.type_of(node, 2) if node.has_input(2) else int(TensorProto.UINT8)
        name = helper.tensor_dtype_to_np_dtype(kind).name if kind else "an unknown type"
        if name not in _RANGES:
            raise CannotConvertError(f"it quantizes to {name}; 8 and 16 bits are known")
        value = reading.value(node, 0)
        value = reading.add(node, Binary("div"), (value, _computed(reading, node, 1)), purpose="scaled")
        value = reading.add(node, Unary("round"), (value,), purpose="rounded")
        if node.has_input(2):
            value = reading.add(node, Binary("add"), (value, _computed(reading, node, 2)), purpose="shifted")
        reading.add(node, Clip(*_RANGES[name]), (value,))
        return
    steps, points = _steps(reading, node, 1, 2, 0)
    quantize(reading, node, reading.value(node, 0), steps, points, node.outputs)


@converts("DequantizeLinear")
def dequantize_linear(reading: Reading, node: NodeView) -> None:
    """See `dequantize`; a constant stays one, and what it is made of is noted. Step size and zero point may be computed."""
    if _is_computed(reading, node, 1, 2):
        value = reading.value(node, 0)
        if node.has_input(2):
            value = reading.add(node, Binary("sub"), (value, _computed(reading, node, 2)), purpose="centred")
        reading.add(node, Binary("mul"), (value, _computed(reading, node, 1)))
        return
    steps, points = _steps(reading, node, 1, 2, 0)
    array = reading.constant(node, 0)
    if array is not None:
        centred = array.astype(np.float32) - points.astype(np.float32)
        reading.constants[node.outputs[0]] = centred * steps.astype(np.float32)
        reading.stored[node.outputs[0]] = Stored(array, steps, points)
        return
    dequantize(reading, node, reading.value(node, 0), steps, points, node.outputs)


@converts("ConvInteger", "MatMulInteger")
def integer_product(reading: Reading, node: NodeView) -> None:
    """The same operator on whole numbers, with the zero points taken off."""
    centred = list(node.proto.input[:2])
    for index, point in ((0, 2), (1, 3)):
        if not node.has_input(point):
            continue
        if _is_computed(reading, node, point):
            name = reading.fresh(node, f"centred{index}")
            operands = (reading.value(node, index), _computed(reading, node, point))
            centred[index] = reading.add(node, Binary("sub"), operands, (name,), purpose=f"sub{index}")
            continue
        points = reading.needed(node, point, "zero point").astype(np.float32)
        if points.ndim == 1 and index == 1 and node.op_type == "ConvInteger":
            points = points.reshape((-1, *(1,) * (len(reading.shape(node, 1)) - 1)))
        elif points.ndim == 1 and index == 0 and points.size > 1:
            points = points.reshape(-1, 1)
        name = reading.fresh(node, f"centred{index}")
        constant = reading.constant(node, index)
        if constant is not None:
            reading.constants[name] = constant.astype(np.float32) - points
        else:
            zero = _number(reading, node, f"zero_point{index}", points)
            name = reading.add(node, Binary("sub"), (reading.value(node, index), zero), (name,), purpose=f"sub{index}")
        centred[index] = name
    inner = NodeView(_with_inputs(node, centred), node.name, node.version)
    (convolution.conv if node.op_type == "ConvInteger" else matrix.matmul)(reading, inner)


def _with_inputs(node: NodeView, inputs: Sequence[str]):  # type: ignore[no-untyped-def]
    proto = type(node.proto)()
    proto.CopyFrom(node.proto)
    del proto.input[:]
    proto.input.extend(inputs)
    return proto


@converts("QLinearConv", "QLinearMatMul")
def quantized_product(reading: Reading, node: NodeView) -> None:
    """Real numbers, the operator on them, and the result quantized."""
    conv = node.op_type == "QLinearConv"
    names = []
    for index in (0, 3):
        steps, points = reading.needed(node, index + 1, "step size"), reading.needed(node, index + 2, "zero point")
        rank = len(reading.shape(node, index))
        if steps.size > 1:
            lay = (-1, *(1,) * (rank - 1)) if conv else ((-1, 1) if index == 0 else (1, -1))
            steps, points = steps.reshape(lay), points.reshape(lay) if points.size > 1 else points
        constant = reading.constant(node, index)
        if constant is not None:
            name = reading.fresh(node, f"real{index}")
            real = (constant.astype(np.float32) - points.astype(np.float32)) * steps.astype(np.float32)
            reading.constants[name] = real
            reading.stored[name] = Stored(constant, steps, points)
        else:
            name = dequantize(
                reading, node, reading.value(node, index), steps.reshape(()) if steps.size == 1 else steps, points, None
            )
        names.append(name)
    if conv and node.has_input(8):
        steps = reading.needed(node, 1, "step size") * reading.needed(node, 4, "step size")
        name = reading.fresh(node, "bias")
        reading.constants[name] = (
            reading.needed(node, 8, "bias").astype(np.float32) * steps.astype(np.float32)
        ).astype(np.float32)
        names.append(name)
    product = reading.fresh(node, "product")
    proto = _with_inputs(node, names)
    del proto.output[:]
    proto.output.append(product)
    inner = NodeView(proto, f"{node.name}/real", node.version)
    (convolution.conv if conv else matrix.matmul)(reading, inner)
    steps, points = reading.needed(node, 6, "step size"), reading.needed(node, 7, "zero point")
    quantize(reading, node, product, steps.reshape(()), points.reshape(()), node.outputs)
