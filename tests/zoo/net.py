"""Writes network definitions the way published ones are written, and knows the shapes of their blobs without the package under test."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, prod

import numpy as np

Pair = int | tuple[int, int]
Shape = tuple[int, ...]
FILLER = 'weight_filler { type: "msra" } bias_filler { type: "constant" value: 0 }'


def pair(value: Pair) -> tuple[int, int]:
    """One number for both directions, or one for each."""
    return (value, value) if isinstance(value, int) else value


def _sized(word: str, value: Pair) -> str:
    """``kernel_size: 3``, or ``kernel_h: 1 kernel_w: 3``."""
    if isinstance(value, int):
        return f"{word}: {value}"
    stem = word.split("_", maxsplit=1)[0]
    return f"{stem}_h: {value[0]} {stem}_w: {value[1]}"


@dataclass(frozen=True)
class Stock:
    """A layer that computes what another one does, of a type that more runtimes have.

    Attributes:
        kind: Its type.
        params: Its parameters, as text.
        weights: Its blobs.
    """

    kind: str
    params: str
    weights: Sequence[np.ndarray] = ()


@dataclass
class Net:
    """A net that grows layer by layer; every method returns the name of the blob that it makes.

    Attributes:
        name: The net's name, which also seeds its weights.
        shapes: The shape of each blob.
        weights: The blobs of each layer.
        lines: The text so far.
        stock: What stands for layers of forks where a net is held against others, by number of the line.
        epsilon: What its BatchNorm layers add to variances; 0 leaves Caffe's own.
        needed: The types of its layers, of stock layers where they stand for others.
        feeds: What is fed to inputs that normal numbers do not suit.
        exact_sizes: Whether it is read as OpenCV reads it, which does not cut sizes of PriorBox.
        unlike: Why OpenCV is no judge of the net.
        strange: A field that the Caffe at hand lacks, though it has the layer.
    """

    name: str
    shapes: dict[str, Shape] = field(default_factory=dict)
    weights: dict[str, list[np.ndarray]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    stock: dict[int, tuple[str, str, Stock]] = field(default_factory=dict)
    epsilon: float = 0.0
    needed: set[str] = field(default_factory=set)
    feeds: dict[str, np.ndarray] = field(default_factory=dict)
    exact_sizes: bool = False
    unlike: str = ""
    strange: str = ""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        self.numbers: dict[str, int] = {}

    @property
    def text(self) -> str:
        """The .prototxt."""
        return "\n".join([f'name: "{self.name}"', *self.lines, ""])

    @property
    def stock_text(self) -> str:
        """The .prototxt with stock layers in the place of forks'."""
        lines = list(self.lines)
        for number, (_, line, _) in self.stock.items():
            lines[number] = line
        return "\n".join([f'name: "{self.name}"', *lines, ""])

    @property
    def stock_weights(self) -> dict[str, list[np.ndarray]]:
        """The blobs of each layer of that."""
        return {
            **self.weights,
            **{name: list(stock.weights) for name, _, stock in self.stock.values() if stock.weights},
        }

    def input(self, *shape: int, name: str = "data", header: bool = False, fed: np.ndarray | None = None) -> str:
        """An input, as an Input layer or in the file's header as older files have it."""
        if fed is not None:
            self.feeds[name] = np.asarray(fed, np.float32).reshape(shape)
        dims = " ".join(f"dim: {size}" for size in shape)
        if header:
            self.lines.append(f'input: "{name}"\ninput_shape {{ {dims} }}')
        else:
            self.lines.append(
                f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}'
            )
        self.shapes[name] = shape
        return name

    def own_name(self, stem: str) -> str:
        """A name that no layer has."""
        self.numbers[stem] = number = self.numbers.get(stem, 0) + 1
        return f"{stem}{number}"

    def layer(
        self,
        kind: str,
        bottoms: str | Sequence[str],
        shape: Shape,
        params: str = "",
        *,
        name: str = "",
        inplace: bool = False,
        weights: Sequence[np.ndarray] = (),
        top: str = "",
        stock: Stock | None = None,
    ) -> str:
        """Any layer with one top."""
        bottoms = [bottoms] if isinstance(bottoms, str) else list(bottoms)
        name = name or self.own_name(kind.lower())
        top = bottoms[0] if inplace else top or name
        blobs = " ".join(f'bottom: "{blob}"' for blob in bottoms)
        if stock is not None:
            line = f'layer {{ name: "{name}" type: "{stock.kind}" {blobs} top: "{top}" {stock.params} }}'
            self.stock[len(self.lines)] = (name, line, stock)
        self.lines.append(f'layer {{ name: "{name}" type: "{kind}" {blobs} top: "{top}" {params} }}')
        self.shapes[top] = shape
        self.needed.add(stock.kind if stock else kind)
        if weights:
            self.weights[name] = [np.asarray(array, np.float32) for array in weights]
        return top

    def normal(self, *shape: int, fan: int = 0) -> np.ndarray:
        """Normal numbers, of variance 2 / fan as for layers before a ReLU, or 0.1."""
        return self.rng.standard_normal(shape) * (np.sqrt(2 / fan) if fan else 0.1)

    # Layers with weights.

    def conv(
        self,
        x: str,
        out: int,
        k: Pair = 1,
        s: Pair = 1,
        p: Pair | None = None,
        *,
        g: int = 1,
        d: int = 1,
        bias: bool = True,
        name: str = "",
        kind: str = "Convolution",
        extra: str = "",
    ) -> str:
        """Convolution; it keeps the size (at stride 1) unless ``p`` says otherwise."""
        count, channels, *size = self.shapes[x]
        kernel, stride = pair(k), pair(s)
        padding: Pair = (
            (k // 2 * d if isinstance(k, int) else (kernel[0] // 2 * d, kernel[1] // 2 * d)) if p is None else p
        )
        made = [
            (length + 2 * around - d * (window - 1) - 1) // step + 1
            for length, around, window, step in zip(size, pair(padding), kernel, stride, strict=True)
        ]
        words = [f"num_output: {out}", _sized("kernel_size", k)]
        words += [_sized("pad", padding)] if any(pair(padding)) else []
        words += [_sized("stride", s)] if stride != (1, 1) else []
        words += [f"group: {g}"] if g > 1 else []
        words += [f"dilation: {d}"] if d > 1 else []
        words += ["bias_term: false"] if not bias else []
        stored = [self.normal(out, channels // g, *kernel, fan=channels // g * prod(kernel))]
        stored += [self.normal(out)] if bias else []
        lr = "param { lr_mult: 1 decay_mult: 1 } " + ("param { lr_mult: 2 decay_mult: 0 }" if bias else "")
        params = f"{lr} convolution_param {{ {' '.join(words)} {FILLER} {extra} }}"
        stock = Stock("Convolution", params) if kind != "Convolution" else None
        return self.layer(kind, x, (count, out, *made), params, name=name, weights=stored, stock=stock)

    def deconv(
        self, x: str, out: int, k: int, s: int, p: int = 0, *, g: int = 1, bias: bool = False, name: str = ""
    ) -> str:
        """Deconvolution."""
        count, channels, *size = self.shapes[x]
        made = [s * (length - 1) + k - 2 * p for length in size]
        words = f"num_output: {out} kernel_size: {k} stride: {s} pad: {p}" + ("" if bias else " bias_term: false")
        words += f" group: {g}" if g > 1 else ""
        stored = [self.normal(channels, out // g, k, k, fan=channels // g * k * k // (s * s))]
        stored += [self.normal(out)] if bias else []
        params = f'convolution_param {{ {words} weight_filler {{ type: "bilinear" }} }}'
        return self.layer("Deconvolution", x, (count, out, *made), params, name=name, weights=stored)

    def fc(self, x: str, out: int, *, name: str = "", bias: bool = True, axis: int = 1) -> str:
        """InnerProduct."""
        shape = self.shapes[x]
        inputs = prod(shape[axis:])
        words = f"num_output: {out}" + ("" if bias else " bias_term: false") + ("" if axis == 1 else f" axis: {axis}")
        stored = [self.normal(out, inputs, fan=inputs)] + ([self.normal(out)] if bias else [])
        params = f'inner_product_param {{ {words} weight_filler {{ type: "gaussian" std: 0.01 }} }}'
        return self.layer("InnerProduct", x, (*shape[:axis], out), params, name=name, weights=stored)

    def embed(self, x: str, words: int, out: int, *, name: str = "") -> str:
        """Embed."""
        params = f"embed_param {{ input_dim: {words} num_output: {out} bias_term: false }}"
        return self.layer(
            "Embed", x, (*self.shapes[x], out), params, name=name, weights=[self.normal(words, out, fan=2)]
        )

    def batch_norm(self, x: str, *, name: str = "", inplace: bool = True) -> str:
        """BatchNorm alone."""
        channels = self.shapes[x][1]
        factor = 0.7
        stored = [self.normal(channels) * factor, self.rng.uniform(0.5, 1.5, channels) * factor, np.array([factor])]
        extra = f" eps: {self.epsilon:g}" if self.epsilon else ""
        params = f"batch_norm_param {{ use_global_stats: true{extra} }}"
        return self.layer("BatchNorm", x, self.shapes[x], params, name=name, inplace=inplace, weights=stored)

    def scale(self, x: str, *, name: str = "", bias: bool = True, inplace: bool = True) -> str:
        """Scale with a factor for each channel."""
        channels = self.shapes[x][1]
        stored = [self.rng.uniform(0.5, 1.3, channels)] + ([self.normal(channels)] if bias else [])
        params = f"scale_param {{ bias_term: {str(bias).lower()} }}"
        return self.layer("Scale", x, self.shapes[x], params, name=name, inplace=inplace, weights=stored)

    def bn(self, x: str, *, inplace: bool = True) -> str:
        """BatchNorm and Scale."""
        return self.scale(self.batch_norm(x, inplace=inplace))

    def fused_norm(self, x: str, params: str, *, statistics: bool) -> str:
        """The forks' BN in place: a factor and a shift for each channel, or those with a mean and a variance, (1, C, 1, 1) each."""
        sizes = (1, self.shapes[x][1], 1, 1)
        factor, shift = self.rng.uniform(0.5, 1.5, sizes), self.normal(*sizes)
        stored, whole = [factor, shift], [factor, shift]
        if statistics:
            mean, variance = self.normal(*sizes), self.rng.uniform(0.5, 1.5, sizes)
            stored += [mean, variance]
            factor = factor / np.sqrt(variance + 1e-5)
            whole = [factor, shift - mean * factor]
        stock = Stock("Scale", "scale_param { bias_term: true }", [np.float32(array.ravel()) for array in whole])
        return self.layer(
            "BN", x, self.shapes[x], f"bn_param {{ {params} }}", inplace=True, weights=stored, stock=stock
        )

    def double(self, x: str) -> str:
        """Upsample to twice the size, by the nearest pixel; a Deconvolution with ones does the same."""
        count, channels, height, width = self.shapes[x]
        words = f"num_output: {channels} group: {channels} kernel_size: 2 stride: 2 bias_term: false"
        stock = Stock("Deconvolution", f"convolution_param {{ {words} }}", [np.ones((channels, 1, 2, 2), np.float32)])
        return self.layer(
            "Upsample", x, (count, channels, 2 * height, 2 * width), "upsample_param { scale: 2 }", stock=stock
        )

    def prelu(self, x: str, *, shared: bool = False) -> str:
        """PReLU in place."""
        slopes = self.rng.uniform(0.1, 0.4, () if shared else (self.shapes[x][1],))
        params = "prelu_param { channel_shared: true }" if shared else ""
        return self.layer("PReLU", x, self.shapes[x], params, inplace=True, weights=[slopes])

    def lstm(self, x: str, cont: str, out: int, *, static: str = "", name: str = "", kind: str = "LSTM") -> str:
        """LSTM or RNN over (T, N, ...) with its cont indicators (T, N), or the Lstm of forks."""
        steps, count, *rest = self.shapes[x]
        inputs, gates = prod(rest), 1 if kind == "RNN" else 4
        stored = [self.normal(gates * out, inputs, fan=2 * inputs), self.normal(gates * out)]
        if static:
            stored.append(self.normal(gates * out, prod(self.shapes[static][1:]), fan=2 * inputs))
        stored.append(self.normal(gates * out, out, fan=2 * out))
        if kind == "RNN":
            stored += [self.normal(out, out, fan=2 * out), self.normal(out)]
        bottoms = [x, cont, *([static] if static else [])]
        if kind == "Lstm":
            stock = Stock("LSTM", f"recurrent_param {{ num_output: {out} }}", [np.float32(array) for array in stored])
            stored = [stored[0], stored[2], stored[1]]
            params = f"lstm_param {{ num_output: {out} clipping_threshold: 0.1 }}"
            return self.layer(kind, bottoms, (steps, count, out), params, name=name, weights=stored, stock=stock)
        return self.layer(
            kind, bottoms, (steps, count, out), f"recurrent_param {{ num_output: {out} }}", name=name, weights=stored
        )

    # Layers without weights.

    def same(self, kind: str, x: str, params: str = "", *, inplace: bool = False, name: str = "") -> str:
        """A layer whose top has its bottom's shape."""
        return self.layer(kind, x, self.shapes[x], params, inplace=inplace, name=name)

    def relu(self, x: str, slope: float = 0.0) -> str:
        """ReLU in place."""
        return self.same("ReLU", x, f"relu_param {{ negative_slope: {slope:g} }}" if slope else "", inplace=True)

    def pool(
        self, x: str, k: Pair = 2, s: int = 2, p: int = 0, *, how: str = "MAX", floor: bool = False, name: str = ""
    ) -> str:
        """Pooling whose sizes are rounded up, as Caffe does."""
        count, channels, *size = self.shapes[x]
        made = []
        for length, window in zip(size, pair(k), strict=True):
            out = ((length + 2 * p - window) // s if floor else ceil((length + 2 * p - window) / s)) + 1
            made.append(out - 1 if p and not floor and (out - 1) * s >= length + p else out)
        words = f"pool: {how} {_sized('kernel_size', k)} stride: {s}" + (f" pad: {p}" if p else "")
        if floor:
            words += " ceil_mode: false"
            self.strange = "ceil_mode"
        return self.layer("Pooling", x, (count, channels, *made), f"pooling_param {{ {words} }}", name=name)

    def gap(self, x: str, how: str = "AVE", *, name: str = "") -> str:
        """Global pooling."""
        params = f"pooling_param {{ pool: {how} global_pooling: true }}"
        return self.layer("Pooling", x, (*self.shapes[x][:2], 1, 1), params, name=name)

    def lrn(self, x: str, size: int = 5, rest: str = "alpha: 0.0001 beta: 0.75") -> str:
        """LRN."""
        return self.same("LRN", x, f"lrn_param {{ local_size: {size} {rest} }}")

    def dropout(self, x: str) -> str:
        """Dropout in place."""
        return self.same("Dropout", x, "dropout_param { dropout_ratio: 0.5 }", inplace=True)

    def softmax(self, x: str, axis: int = 1, *, name: str = "") -> str:
        """Softmax."""
        return self.same("Softmax", x, f"softmax_param {{ axis: {axis} }}" if axis != 1 else "", name=name)

    def sigmoid(self, x: str, *, name: str = "") -> str:
        """Sigmoid."""
        return self.same("Sigmoid", x, name=name)

    def tanh(self, x: str) -> str:
        """TanH."""
        return self.same("TanH", x)

    def elt(self, *xs: str, how: str = "SUM", coeff: Sequence[float] = (), name: str = "") -> str:
        """Eltwise."""
        words = f"operation: {how} " + " ".join(f"coeff: {value:g}" for value in coeff)
        return self.layer("Eltwise", xs, self.shapes[xs[0]], f"eltwise_param {{ {words} }}", name=name)

    def cat(self, *xs: str, axis: int = 1, name: str = "") -> str:
        """Concat."""
        shape = list(self.shapes[xs[0]])
        shape[axis] = sum(self.shapes[x][axis] for x in xs)
        return self.layer(
            "Concat", xs, tuple(shape), f"concat_param {{ axis: {axis} }}" if axis != 1 else "", name=name
        )

    def slice(self, x: str, *points: int, axis: int = 1) -> list[str]:
        """Slice before each of the points."""
        stem, shape = self.own_name("slice"), self.shapes[x]
        bounds = [0, *points, shape[axis]]
        tops = []
        for number, (low, high) in enumerate(pairwise(bounds)):
            tops.append(f"{stem}_{number}")
            self.shapes[tops[-1]] = (*shape[:axis], high - low, *shape[axis + 1 :])
        named = " ".join(f'top: "{top}"' for top in tops)
        words = f"axis: {axis} " + " ".join(f"slice_point: {point}" for point in points)
        self.lines.append(f'layer {{ name: "{stem}" type: "Slice" bottom: "{x}" {named} slice_param {{ {words} }} }}')
        return tops

    def reshape(self, x: str, *dims: int, name: str = "", axis: int = 0, num_axes: int = -1) -> str:
        """Reshape, with 0 and -1 as Caffe has them."""
        shape = self.shapes[x]
        end = len(shape) if num_axes < 0 else axis + num_axes
        middle = [shape[axis + number] if size == 0 else size for number, size in enumerate(dims)]
        rest = prod(shape[axis:end]) // max(1, prod(size for size in middle if size > 0))
        made = (*shape[:axis], *(rest if size < 0 else size for size in middle), *shape[end:])
        words = " ".join(f"dim: {size}" for size in dims)
        where = (f" axis: {axis}" if axis else "") + (f" num_axes: {num_axes}" if num_axes >= 0 else "")
        return self.layer("Reshape", x, made, f"reshape_param {{ shape {{ {words} }}{where} }}", name=name)

    def permute(self, x: str, *order: int, name: str = "") -> str:
        """Permute."""
        words = " ".join(f"order: {axis}" for axis in order)
        shape = tuple(self.shapes[x][axis] for axis in order)
        return self.layer("Permute", x, shape, f"permute_param {{ {words} }}", name=name)

    def flatten(self, x: str, axis: int = 1, *, name: str = "") -> str:
        """Flatten."""
        shape = self.shapes[x]
        params = f"flatten_param {{ axis: {axis} }}" if axis != 1 else ""
        return self.layer("Flatten", x, (*shape[:axis], prod(shape[axis:])), params, name=name)

    def crop(self, x: str, like: str, offset: int = 0, axis: int = 2) -> str:
        """Crop to the size of another blob."""
        shape = (*self.shapes[x][:axis], *self.shapes[like][axis:])
        return self.layer("Crop", [x, like], shape, f"crop_param {{ axis: {axis} offset: {offset} }}")

    def power(self, x: str, rest: str) -> str:
        """Power."""
        return self.same("Power", x, f"power_param {{ {rest} }}")

    def resize(self, x: str, height: int, width: int, kind: str = "Interp") -> str:
        """Interp to a size."""
        return self.layer(
            kind, x, (*self.shapes[x][:2], height, width), f"interp_param {{ height: {height} width: {width} }}"
        )

    def silence(self, *xs: str) -> None:
        """Silence."""
        blobs = " ".join(f'bottom: "{blob}"' for blob in xs)
        self.lines.append(f'layer {{ name: "{self.own_name("silence")}" type: "Silence" {blobs} }}')

    # Groups that every family has.

    def cr(self, x: str, out: int, k: Pair = 3, s: Pair = 1, p: Pair | None = None, **more: object) -> str:
        """Convolution and ReLU."""
        return self.relu(self.conv(x, out, k, s, p, **more))

    def cb(self, x: str, out: int, k: Pair = 1, s: Pair = 1, p: Pair | None = None, **more: object) -> str:
        """Convolution, BatchNorm, Scale."""
        return self.bn(self.conv(x, out, k, s, p, bias=False, **more))

    def cbr(
        self, x: str, out: int, k: Pair = 3, s: Pair = 1, p: Pair | None = None, *, slope: float = 0.0, **more: object
    ) -> str:
        """Convolution, BatchNorm, Scale, ReLU."""
        return self.relu(self.cb(x, out, k, s, p, **more), slope)

    def channels(self, x: str) -> int:
        """How many channels a blob has."""
        return self.shapes[x][1]
