"""Networks as exporters of training frameworks write them, node by node with onnx.helper, in small widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper, shape_inference


@dataclass
class Export:
    """A model that grows node by node; every call returns the name of the first output.

    Attributes:
        batch: 1, or ``"batch"`` for an open one.
        size: Height and width of the picture.
        channels: Its channels.
    """

    batch: int | str
    size: tuple[int, int] = (32, 32)
    channels: int = 3
    opset: int = 17
    nodes: list[Any] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.widths: dict[str, int] = {"images": self.channels}

    def __call__(self, op: str, *inputs: str | np.ndarray, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node; arrays become initializers."""
        names = [item if isinstance(item, str) else self.tensor(item) for item in inputs]
        number = len(self.nodes)
        made = [f"/{op.lower()}_{number}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, f"/{op}_{number}", **attributes))
        return made[0]

    def tensor(self, array: np.ndarray) -> str:
        """Adds an initializer."""
        name = f"onnx::tensor_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def normal(self, *shape: int, fan: int = 0) -> np.ndarray:
        """Normal numbers, scaled for layers with so many inputs."""
        return (self.rng.standard_normal(shape) * (np.sqrt(2 / fan) if fan else 0.1)).astype(np.float32)

    def ints(self, *values: int) -> np.ndarray:
        """A list of int64."""
        return np.array(values, np.int64)

    def others(self, name: str, count: int) -> list[str]:
        """The further outputs of a node."""
        return [f"{name[:-1]}{index}" for index in range(count)]

    def conv(self, x: str, out: int, k: int = 3, s: int = 1, *, g: int = 1, d: int = 1) -> str:
        """Conv with a bias."""
        width = self.widths[x] // g
        y = self(
            "Conv", x, self.normal(out, width, k, k, fan=width * k * k), self.normal(out), kernel_shape=[k, k],
            strides=[s, s], pads=[k // 2 * d] * 4, group=g, dilations=[d, d],
        )  # fmt: skip
        self.widths[y] = out
        return y

    def up(self, x: str, out: int, k: int = 2, s: int = 2) -> str:
        """ConvTranspose."""
        width, pad = self.widths[x], (k - s) // 2
        y = self("ConvTranspose", x, self.normal(width, out, k, k, fan=width * k * k // 4), self.normal(out),
                 kernel_shape=[k, k], strides=[s, s], pads=[pad] * 4, group=1)  # fmt: skip
        self.widths[y] = out
        return y

    def norm(self, x: str) -> str:
        """BatchNormalization."""
        width = self.widths[x]
        y = self("BatchNormalization", x, self.rng.uniform(0.5, 1.5, width).astype(np.float32), self.normal(width),
                 self.normal(width), self.rng.uniform(0.5, 1.5, width).astype(np.float32), epsilon=1e-5)  # fmt: skip
        self.widths[y] = width
        return y

    def keep(self, y: str, like: str) -> str:
        """Notes that a value has the channels of another."""
        self.widths[y] = self.widths[like]
        return y

    def act(self, x: str, kind: str = "Relu", **attributes: Any) -> str:
        """An activation; SiLU is a product."""
        if kind == "SiLU":
            return self.keep(self("Mul", x, self("Sigmoid", x)), x)
        return self.keep(self(kind, x, **attributes), x)

    def cat(self, *xs: str) -> str:
        """Concat of channels."""
        y = self("Concat", *xs, axis=1)
        self.widths[y] = sum(self.widths[x] for x in xs)
        return y

    def pool(self, x: str, k: int = 2, s: int = 2, p: int = 0) -> str:
        """MaxPool."""
        return self.keep(self("MaxPool", x, kernel_shape=[k, k], strides=[s, s], pads=[p] * 4), x)

    def nearest(self, x: str) -> str:
        """Resize to twice the size."""
        scales = np.array([1, 1, 2, 2], np.float32)
        return self.keep(
            self(
                "Resize",
                x,
                "",
                scales,
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            ),
            x,
        )

    def shape(self, *dims: int) -> np.ndarray:
        """A Reshape's target; the first size is the batch."""
        return self.ints(1 if self.batch == 1 else (0 if -1 in dims else -1), *dims)

    def linear(self, x: str, inputs: int, out: int, *, bias: bool = True) -> str:
        """MatMul and Add over the last axis."""
        y = self("MatMul", x, self.normal(inputs, out, fan=2 * inputs))
        return self("Add", self.normal(out), y) if bias else y

    def layer_norm(self, x: str, width: int) -> str:
        """LayerNormalization over the last axis."""
        return self(
            "LayerNormalization",
            x,
            self.rng.uniform(0.5, 1.5, width).astype(np.float32),
            self.normal(width),
            axis=-1,
            epsilon=1e-5,
        )

    def gelu(self, x: str) -> str:
        """GELU as exporters take it apart."""
        y = self("Erf", self("Div", x, np.float32(np.sqrt(2))))
        return self("Mul", self("Mul", x, self("Add", y, np.float32(1))), np.float32(0.5))

    def model(self) -> ModelProto:
        """The model, checked."""
        picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [self.batch, self.channels, *self.size])
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "main_graph", [picture], results, self.tensors)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        made = shape_inference.infer_shapes(made, data_prop=True)
        del made.graph.value_info[:]
        checker.check_model(made)
        return made


def _csp(m: Export, x: str, out: int) -> str:
    left, right = m.act(m.conv(x, out // 2, 1), "SiLU"), m.act(m.conv(x, out // 2, 1), "SiLU")
    inner = m.act(m.conv(m.act(m.conv(left, out // 2, 1), "SiLU"), out // 2), "SiLU")
    return m.act(m.conv(m.cat(m.keep(m("Add", left, inner), left), right), out, 1), "SiLU")


def _sppf(m: Export, x: str) -> str:
    y = m.act(m.conv(x, m.widths[x] // 2, 1), "SiLU")
    pools = [y]
    for _ in range(3):
        pools.append(m.pool(pools[-1], 5, 1, 2))
    return m.act(m.conv(m.cat(*pools), m.widths[x], 1), "SiLU")


def yolo_v5(m: Export) -> None:
    """Heads as (batch, 3, H, W, 5 + classes), decoded with grids, then laid behind each other."""
    x = m.act(m.conv(m.act(m.conv("images", 8, 3, 2), "SiLU"), 12, 3, 2), "SiLU")
    low = _csp(m, x, 12)
    high = _sppf(m, m.act(m.conv(low, 16, 3, 2), "SiLU"))
    top = _csp(m, m.cat(m.nearest(m.act(m.conv(high, 12, 1), "SiLU")), low), 12)
    decoded = []
    for level, (source, side) in enumerate(((top, m.size[0] // 4), (high, m.size[0] // 8))):
        y = m("Reshape", m.conv(source, 21, 1), m.shape(3, 7, side, side))
        y = m("Sigmoid", m("Transpose", y, perm=[0, 1, 3, 4, 2]))
        y = m("Split", y, m.ints(2, 2, 3), outputs=3, axis=4)
        place, size, rest = m.others(y, 3)
        grid = (
            np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(1, 1, side, side, 2).astype(np.float32)
        )
        place = m("Mul", m("Add", m("Mul", place, np.float32(2)), grid - np.float32(0.5)), np.float32(4 * 2**level))
        anchors = np.broadcast_to(
            m.rng.uniform(4, 20, (1, 3, 1, 1, 2)).astype(np.float32), (1, 3, side, side, 2)
        ).copy()
        size = m("Mul", m("Pow", m("Mul", size, np.float32(2)), np.float32(2)), anchors)
        decoded.append(m("Reshape", m("Concat", place, size, rest, axis=4), m.shape(3 * side * side, 7)))
    m.outputs.append(m("Concat", *decoded, axis=1))


def yolo_v8(m: Export) -> None:
    """Distances as distributions over 8 places, whose mean a convolution takes."""
    x = m.act(m.conv(m.act(m.conv("images", 8, 3, 2), "SiLU"), 12, 3, 2), "SiLU")
    halves = m.act(m.conv(x, 12, 1), "SiLU")
    parts = m.others(m("Split", halves, m.ints(6, 6), outputs=2, axis=1), 2)
    m.widths.update(dict.fromkeys(parts, 6))
    low = m.act(m.conv(m.cat(*parts, m.act(m.conv(parts[1], 6), "SiLU")), 12, 1), "SiLU")
    high = _sppf(m, m.act(m.conv(low, 16, 3, 2), "SiLU"))
    sides = (m.size[0] // 4, m.size[0] // 8)
    flat = [
        m("Reshape", m.cat(m.conv(source, 32, 1), m.conv(source, 4, 1)), m.shape(36, side * side))
        for source, side in zip((low, high), sides, strict=True)
    ]
    count = sum(side * side for side in sides)
    boxes, classes = m.others(m("Split", m("Concat", *flat, axis=2), m.ints(32, 4), outputs=2, axis=1), 2)
    y = m("Softmax", m("Transpose", m("Reshape", boxes, m.shape(4, 8, count)), perm=[0, 2, 1, 3]), axis=1)
    y = m("Conv", y, np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1), kernel_shape=[1, 1])
    y = m("Reshape", y, m.shape(4, count))
    near, far = m.others(m("Split", y, m.ints(2, 2), outputs=2, axis=1), 2)
    centres = np.concatenate(
        [np.stack(np.meshgrid(np.arange(side), np.arange(side)), 0).reshape(1, 2, -1) + 0.5 for side in sides], 2
    ).astype(np.float32)
    near, far = m("Sub", centres, near), m("Add", centres, far)
    middle = m("Div", m("Add", near, far), np.float32(2))
    strides = np.repeat([4, 8], [side * side for side in sides]).astype(np.float32).reshape(1, 1, -1)
    boxes = m("Mul", m("Concat", middle, m("Sub", far, near), axis=1), strides)
    m.outputs.append(m("Concat", boxes, m("Sigmoid", classes), axis=1))


def nanodet(m: Export) -> None:
    """Shuffled channels, leaky ReLUs, a linear Resize."""
    leaky = {"kind": "LeakyRelu", "alpha": 0.1}
    x = m.act(m.norm(m.conv("images", 8, 3, 2)), **leaky)
    x = m.pool(x, 3, 2, 1)
    side = m.size[0] // 4
    left, right = m.others(m("Split", x, m.ints(4, 4), outputs=2, axis=1), 2)
    m.widths.update({left: 4, right: 4})
    right = m.act(m.norm(m.conv(m.norm(m.conv(right, 4, 3, g=4)), 4, 1)), **leaky)
    y = m("Reshape", m.cat(left, right), m.shape(2, 4, side, side))
    y = m("Reshape", m("Transpose", y, perm=[0, 2, 1, 3, 4]), m.shape(8, side, side))
    m.widths[y] = 8
    low = m.act(m.conv(m.act(m.conv(y, 8, 3, 2, g=8), **leaky), 8, 1), **leaky)
    up = m.keep(
        m(
            "Resize",
            low,
            "",
            np.array([1, 1, 2, 2], np.float32),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        low,
    )
    top = m.keep(m("Add", y, up), y)
    heads = []
    for source, length in ((top, side), (low, side // 2)):
        z = m.conv(m.act(m.conv(source, 8, 5, g=8), **leaky), 12, 1)
        scores, boxes = m.others(m("Split", z, m.ints(4, 8), outputs=2, axis=1), 2)
        z = m("Concat", m("Sigmoid", scores), boxes, axis=1)
        heads.append(m("Reshape", z, m.shape(12, length * length)))
    m.outputs.append(m("Transpose", m("Concat", *heads, axis=2), perm=[0, 2, 1]))


def centernet(m: Export) -> None:
    """Transposed convolutions, three maps."""
    x = m.act(m.norm(m.conv("images", 8, 3, 2)))
    x = m.act(m.norm(m.conv(x, 16, 3, 2)))
    x = m.act(m.norm(m.up(x, 8, 4)))
    m.outputs.append(m("Sigmoid", m.conv(m.act(m.conv(x, 8)), 3, 1)))
    m.outputs += [m.conv(m.act(m.conv(x, 8)), 2, 1) for _ in range(2)]


def retinaface(m: Export) -> None:
    """Heads laid out as rows by Transpose and Reshape."""
    x = m.act(m.conv("images", 8, 3, 2), "LeakyRelu", alpha=0.1)
    low = m.act(m.conv(m.act(m.conv(x, 8, 3, 2, g=8)), 12, 1))
    high = m.act(m.conv(low, 12, 3, 2))
    top = m.keep(m("Add", m.conv(low, 12, 1), m.nearest(m.conv(high, 12, 1))), low)
    for width, kind in ((4, "box"), (2, "class"), (10, "points")):
        rows = []
        for source in (top, high):
            y = m("Transpose", m.conv(source, 2 * width, 1), perm=[0, 2, 3, 1])
            rows.append(m("Reshape", y, m.shape(-1, width)))
        y = m("Concat", *rows, axis=1)
        m.outputs.append(m("Softmax", y, axis=-1) if kind == "class" else y)


def crnn(m: Export) -> None:
    """A bidirectional LSTM over columns."""
    x = m.pool(m.act(m.conv("images", 8)))
    x = m.pool(m.act(m.norm(m.conv(x, 12))))
    x = m.keep(m("MaxPool", x, kernel_shape=[m.size[0] // 4, 1], strides=[1, 1]), x)
    x = m("Transpose", m("Squeeze", x, m.ints(2)), perm=[2, 0, 1])
    hidden = 6
    y = m(
        "LSTM",
        x,
        m.normal(2, 4 * hidden, 12, fan=24),
        m.normal(2, 4 * hidden, hidden, fan=12),
        m.normal(2, 8 * hidden),
        hidden_size=hidden,
        direction="bidirectional",
    )
    y = m("Transpose", y, perm=[0, 2, 1, 3])
    y = m("Reshape", y, m.ints(0, 0, -1))
    m.outputs.append(m.linear(y, 2 * hidden, 11))


def _attention(
    m: Export, x: str, width: int, heads: int, tokens: int, *, bias: bool = False, windows: bool = False
) -> str:
    lead = -1 if windows else (1 if m.batch == 1 else -1)
    qkv = m("Reshape", m.linear(x, width, 3 * width), m.ints(lead, tokens, 3, heads, width // heads))
    qkv = m("Transpose", qkv, perm=[2, 0, 3, 1, 4])
    q, k, v = (m("Gather", qkv, np.int64(number), axis=0) for number in range(3))
    scores = m("MatMul", m("Mul", q, np.float32((width // heads) ** -0.5)), m("Transpose", k, perm=[0, 1, 3, 2]))
    if bias:
        scores = m("Add", scores, m.normal(1, heads, tokens, tokens))
    mixed = m("Transpose", m("MatMul", m("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    return m.linear(m("Reshape", mixed, m.ints(lead, tokens, width)), width, width)


def vit(m: Export) -> None:
    """Patches, a class token, a table of positions, two blocks."""
    width, side = 16, m.size[0] // 8
    x = m("Conv", "images", m.normal(width, 3, 8, 8, fan=192), m.normal(width), kernel_shape=[8, 8], strides=[8, 8])
    x = m("Transpose", m("Reshape", x, m.shape(width, side * side)), perm=[0, 2, 1])
    token: str | np.ndarray = m.normal(1, 1, width)
    if m.batch != 1:
        count = m("Gather", m("Shape", "images"), m.ints(0), axis=0)
        token = m("Expand", token, m("Concat", count, m.ints(1, width), axis=0))
    tokens = side * side + 1
    x = m("Add", m("Concat", token, x, axis=1), m.normal(1, tokens, width))
    for _ in range(2):
        x = m("Add", x, _attention(m, m.layer_norm(x, width), width, 2, tokens))
        x = m("Add", x, m.linear(m.gelu(m.linear(m.layer_norm(x, width), width, 2 * width)), 2 * width, width))
    first = m("Gather", m.layer_norm(x, width), np.int64(0), axis=1)
    m.outputs.append(m("Gemm", first, m.normal(10, width, fan=width), m.normal(10), transB=1))


def swin(m: Export) -> None:
    """Windows of 4 by 4 tokens, shifted by Slice and Concat in the second block."""
    width, side, window = 16, m.size[0] // 4, 4
    x = m("Conv", "images", m.normal(width, 3, 4, 4, fan=48), m.normal(width), kernel_shape=[4, 4], strides=[4, 4])
    x = m("Transpose", x, perm=[0, 2, 3, 1])
    lead = 1 if m.batch == 1 else -1
    for shift in (0, 2):
        y = m.layer_norm(x, width)
        for axis in (1, 2) if shift else ():
            y = m(
                "Concat",
                m("Slice", y, m.ints(shift), m.ints(2**62), m.ints(axis)),
                m("Slice", y, m.ints(0), m.ints(shift), m.ints(axis)),
                axis=axis,
            )
        y = m("Reshape", y, m.ints(lead, side // window, window, side // window, window, width))
        y = m("Reshape", m("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), m.ints(-1, window * window, width))
        y = _attention(m, y, width, 2, window * window, bias=True, windows=True)
        y = m("Reshape", y, m.ints(lead, side // window, side // window, window, window, width))
        y = m("Reshape", m("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), m.ints(lead, side, side, width))
        for axis in (1, 2) if shift else ():
            y = m(
                "Concat",
                m("Slice", y, m.ints(-shift), m.ints(2**62), m.ints(axis)),
                m("Slice", y, m.ints(0), m.ints(-shift), m.ints(axis)),
                axis=axis,
            )
        x = m("Add", x, y)
        x = m("Add", x, m.linear(m.gelu(m.linear(m.layer_norm(x, width), width, 2 * width)), 2 * width, width))
    x = m("ReduceMean", m.layer_norm(x, width), axes=[1, 2], keepdims=0)
    m.outputs.append(m("Gemm", x, m.normal(10, width, fan=width), m.normal(10), transB=1))


def convnext(m: Export) -> None:
    """Depthwise 7 by 7, then layers over the last axis."""
    width = 12
    x = m("Conv", "images", m.normal(width, 3, 4, 4, fan=48), m.normal(width), kernel_shape=[4, 4], strides=[4, 4])
    x = m("Transpose", m.layer_norm(m("Transpose", x, perm=[0, 2, 3, 1]), width), perm=[0, 3, 1, 2])
    for _ in range(2):
        m.widths[x] = width
        y = m("Transpose", m.conv(x, width, 7, g=width), perm=[0, 2, 3, 1])
        y = m.linear(m.gelu(m.linear(m.layer_norm(y, width), width, 3 * width)), 3 * width, width)
        y = m("Transpose", m("Mul", m.rng.uniform(0.5, 1, width).astype(np.float32), y), perm=[0, 3, 1, 2])
        x = m("Add", x, y)
    x = m("Flatten", m("GlobalAveragePool", x), axis=1)
    m.outputs.append(m("Gemm", m.layer_norm(x, width), m.normal(10, width, fan=width), m.normal(10), transB=1))


def unet(m: Export) -> None:
    """Skips by Concat, transposed convolutions."""
    ends, x = [], "images"
    for out in (8, 12):
        x = m.act(m.norm(m.conv(m.act(m.norm(m.conv(x, out))), out)))
        ends.append(x)
        x = m.pool(x)
    x = m.act(m.norm(m.conv(x, 16)))
    for low in reversed(ends):
        x = m.cat(low, m.up(x, m.widths[low]))
        x = m.act(m.norm(m.conv(x, m.widths[low])))
    m.outputs.append(m.conv(x, 2, 1))


EXPORTS: dict[str, Callable[[Export], None]] = {
    "yolo_v5": yolo_v5, "yolo_v8": yolo_v8, "nanodet": nanodet, "centernet": centernet, "retinaface": retinaface, "crnn": crnn,
    "vit": vit, "swin": swin, "convnext": convnext, "unet": unet,
}  # fmt: skip


def export(name: str, batch: int | str) -> ModelProto:
    """Returns one of `EXPORTS`.

    Args:
        name: Which.
        batch: 1, or a name for an open batch.
    """
    made = Export(batch, size=(16, 48) if name == "crnn" else (32, 32), channels=1 if name == "crnn" else 3)
    EXPORTS[name](made)
    return made.model()


def shapes(model: ModelProto, count: int) -> Sequence[int]:
    """The shape of the model's input with a batch of so many."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return [count, *(item.dim_value for item in dims[1:])]
