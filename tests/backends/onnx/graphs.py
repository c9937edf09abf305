"""Small graphs for tests, and integer arithmetic to hold them against."""

from __future__ import annotations

from itertools import product

import numpy as np

from nuqconv.ir import Array, Graph, Input, Node
from nuqconv.ir.ops import (
    BatchNorm,
    Concat,
    Convolution,
    Crop,
    Deconvolution,
    Dequantize,
    Eltwise,
    Flatten,
    Identity,
    InnerProduct,
    Op,
    Permute,
    Pooling,
    Power,
    Quantize,
    ReLU,
    Reshape,
    Scale,
    Sigmoid,
    Softmax,
    TanH,
)


def single(op: Op, shape: tuple[int, ...], params: tuple[Array, ...] = ()) -> Graph:
    """A graph of one operator from ``data`` to ``out``."""
    names = tuple(f"out/{number}" for number in range(len(params)))
    node = Node("out", op, ("data",), ("out",), names)
    return Graph("single", (Input("data", shape),), (node,), dict(zip(names, params, strict=True)), ("out",)).verify()


def quantized(
    op: Op, shape: tuple[int, ...], weight: Array | None, bias: Array | None, *, offset: int, multiplier: float = 1.0
) -> Graph:
    """data -> Quantize ``q`` -> the operator ``acc`` -> Dequantize ``out``, with step sizes that are powers of two and others."""
    params = {name: array for name, array in (("w", weight), ("b", bias)) if array is not None}
    layer = Node("layer", op, ("q",), ("acc",), tuple(params))
    (made,) = op.infer([shape], [array.shape for array in params.values()])
    steps = (np.arange(1, made[1] + 1, dtype=np.float32) * np.float32(0.37)).astype(np.float32)
    return Graph(
        "quantized",
        (Input("data", shape),),
        (
            Node("quant", Quantize(multiplier, offset), ("data",), ("q",)),
            layer,
            Node("dequant", Dequantize(), ("acc",), ("out",), ("steps",)),
        ),
        {**params, "steps": steps},
        ("out",),
    ).verify()


def everything() -> Graph:
    """A graph with every operator."""
    rng = np.random.default_rng(5)
    params: dict[str, Array] = {}
    nodes: list[Node] = []

    def add(name: str, op: Op, *inputs: str, **arrays: Array) -> None:
        names = tuple(f"{name}/{key}" for key in arrays)
        params.update(zip(names, arrays.values(), strict=True))
        nodes.append(Node(name, op, inputs, (name,), names))

    def floats(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    def integers(*shape: int) -> Array:
        return rng.integers(-128, 128, shape).astype(np.int8)

    add("conv", Convolution(4, (3, 3), (2, 2), (1, 1), (1, 1)), "data", w=floats(4, 3, 3, 3), b=floats(4))
    add(
        "bn",
        BatchNorm(),
        "conv",
        mean=floats(4),
        var=floats(4) ** 2 + np.float32(0.1),
        factor=np.full(1, 2, np.float32),
    )
    add("scale", Scale(bias_term=True), "bn", w=floats(4), b=floats(4))
    add("relu", ReLU(), "scale")
    add("leaky", ReLU(0.25), "scale")
    add("max", Pooling("MAX", (3, 3), (2, 2), (1, 1)), "relu")
    add("ave", Pooling("AVE", (3, 3), (2, 2), (1, 1)), "leaky")
    add("ave2", Pooling("AVE", (2, 2), (2, 2)), "leaky")
    add("gap", Pooling("AVE", global_pooling=True), "leaky")
    add("gmp", Pooling("MAX", global_pooling=True), "leaky")
    add("empty", Pooling("MAX", (1, 1), (3, 3)), "data")
    add("sum", Eltwise("SUM", (1.0, -0.5)), "max", "ave")
    add("prod", Eltwise("PROD"), "max", "sum")
    add("most", Eltwise("MAX"), "max", "prod")
    add("cat", Concat(), "most", "ave")
    add("crop", Crop(2, (1,)), "relu", "most")
    add("power", Power(2.0, 0.5, 0.25), "crop")
    add("same", Power(), "power")
    add("one", Power(0.0), "power")
    add("identity", Identity(), "same")
    add("sigmoid", Sigmoid(), "identity")
    add("tanh", TanH(), "sigmoid")
    add("up", Deconvolution(2, (2, 2), (2, 2), (0, 0), (1, 1)), "tanh", w=floats(4, 2, 2, 2), b=floats(2))
    add("permute", Permute((0, 2, 3, 1)), "up")
    add("reshape", Reshape((0, -1, 4)), "permute")
    add("softmax", Softmax(2), "reshape")
    add("flatten", Flatten(), "softmax")
    add("part", Flatten(2, 3), "cat")
    add("fc", InnerProduct(5), "flatten", w=floats(5, 72), b=floats(5))
    add("fct", InnerProduct(3, axis=2, transpose=True, bias_term=False), "part", w=floats(9, 3))
    add("q", Quantize(20.0, -7), "cat")
    add(
        "qconv",
        Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1), 2),
        "q",
        w=integers(6, 4, 3, 3),
        b=np.arange(6, dtype=np.int32),
    )
    add("dconv", Dequantize(), "qconv", s=np.abs(floats(6)))
    add("qup", Deconvolution(6, (3, 3), (2, 2), (1, 1), (1, 1), 1, bias_term=False), "q", w=integers(8, 6, 3, 3))
    add("dup", Dequantize(), "qup", s=np.abs(floats(6)))
    add("qfc", InnerProduct(6), "q", w=integers(6, 72), b=np.arange(6, dtype=np.int32))
    add("dfc", Dequantize(), "qfc", s=np.abs(floats(6)))
    add("qave", Pooling("AVE", (2, 2), (2, 2)), "q")
    add("dave", Dequantize(), "qave", s=np.abs(floats(8)))
    used = {name for node in nodes for name in node.inputs}
    outputs = tuple(node.name for node in nodes if node.name not in used)
    return Graph("everything", (Input("data", (2, 3, 9, 9)),), tuple(nodes), params, outputs).verify()


def integer_input(data: Array, multiplier: float, offset: int) -> Array:
    """``q - offset`` of D2 as int64."""
    scaled = np.rint(data.astype(np.float32) * np.float32(multiplier)).astype(np.float64)
    quotient = np.clip(scaled + offset, -128, 127)
    return quotient.astype(np.int64) - offset


def integer_convolution(
    data: Array, weight: Array, stride: tuple[int, ...], pad: tuple[int, ...], dilation: tuple[int, ...], group: int
) -> Array:
    """Cross-correlation in int64, one kernel position after the other."""
    padded = np.pad(data.astype(np.int64), [(0, 0), (0, 0), *((p, p) for p in pad)])
    kernel = weight.shape[2:]
    sizes = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    parts = []
    for block, filters in zip(
        np.split(padded, group, axis=1), np.split(weight.astype(np.int64), group, axis=0), strict=True
    ):
        total = np.zeros((len(data), len(filters), *sizes), np.int64)
        for position in product(*map(range, kernel)):
            window = tuple(
                slice(p * d, p * d + (n - 1) * s + 1, s)
                for p, d, n, s in zip(position, dilation, sizes, stride, strict=True)
            )
            total += np.einsum("nc...,oc->no...", block[(slice(None), slice(None), *window)], filters[(..., *position)])
        parts.append(total)
    return np.concatenate(parts, axis=1)


def integer_deconvolution(
    data: Array, weight: Array, stride: tuple[int, ...], pad: tuple[int, ...], dilation: tuple[int, ...], group: int
) -> Array:
    """Transposed convolution in int64: each input element spreads the kernel over the output."""
    kernel = weight.shape[2:]
    full = [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(data.shape[2:], kernel, stride, dilation, strict=True)]
    parts = []
    for block, filters in zip(
        np.split(data.astype(np.int64), group, axis=1), np.split(weight.astype(np.int64), group, axis=0), strict=True
    ):
        total = np.zeros((len(data), filters.shape[1], *full), np.int64)
        for position in product(*map(range, kernel)):
            window = tuple(
                slice(p * d, p * d + (n - 1) * s + 1, s)
                for p, d, n, s in zip(position, dilation, block.shape[2:], stride, strict=True)
            )
            total[(slice(None), slice(None), *window)] += np.einsum("nc...,co->no...", block, filters[(..., *position)])
        parts.append(total)
    whole = np.concatenate(parts, axis=1)
    return whole[(slice(None), slice(None), *(slice(p, size - p) for p, size in zip(pad, full, strict=True)))]
