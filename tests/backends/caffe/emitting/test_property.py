"""Random small graphs: what real Caffe computes from the files is what onnxruntime computes from the graph, and from what is read again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import (
    ELU,
    AbsVal,
    ArgReduce,
    BatchNorm,
    Binary,
    Clip,
    Concat,
    Convolution,
    CumSum,
    Deconvolution,
    Eltwise,
    Expand,
    Flatten,
    HardSigmoid,
    HSigmoid,
    HSwish,
    InnerProduct,
    Interp,
    LogSoftmax,
    LpNorm,
    Pad,
    Permute,
    Pooling,
    Power,
    PReLU,
    Reduce,
    ReLU,
    Reshape,
    Resize,
    Reverse,
    Scale,
    ShuffleChannel,
    Sigmoid,
    Slice,
    Softmax,
    StridedSlice,
    Swish,
    TanH,
    Tile,
    Unary,
    Upsample,
)
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_written import random_feeds

pytestmark = pytest.mark.caffe

small = st.integers(1, 3)
pairs = st.tuples(small, small)


@st.composite
def unary(draw, shape):
    """An operator on each element, or one that moves elements, for a shape; with its parameters' shapes."""
    numbers = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0, 6.0])
    rank = len(shape)
    axis = draw(st.integers(0, rank - 1))
    pads = [tuple(draw(st.integers(0, 2)) for _ in shape) for _ in range(2)]
    cut = draw(st.integers(0, shape[axis] - 1))
    step = draw(st.sampled_from([1, 2, -1]))
    # onnxruntime weighs elements along the last two of four axes only.
    kept = 2 if rank == 4 else 0
    sizes = (*shape[:kept], *(draw(st.integers(1, 5)) for _ in shape[kept:]))
    resize = Resize(sizes, mode=draw(st.sampled_from(["nearest", "linear"])) if kept else "nearest")
    starts, ends, steps = [0] * rank, list(shape), [1] * rank
    starts[axis], ends[axis], steps[axis] = (cut, shape[axis], step) if step > 0 else (cut, -1, step)
    return draw(
        st.sampled_from(
            [
                Pad(*pads, value=draw(numbers)),
                Pad(*pads, "edge"),
                StridedSlice(tuple(starts), tuple(ends), tuple(steps)),
                Reduce(
                    draw(st.sampled_from(["mean", "sum", "max", "min", "l1", "sumsquare"])),
                    (axis,),
                    draw(st.booleans()),
                ),
                ArgReduce("argmax", axis, last=draw(st.booleans())),
                Expand((2, *(1,) * rank)),
                Unary(draw(st.sampled_from(["neg", "erf", "softsign", "floor", "round", "sign", "softplus"]))),
                HardSigmoid(),
                CumSum(axis),
                LogSoftmax(axis),
                LpNorm(axis, 2),
                resize,
                ReLU(),
                ReLU(0.1),
                ELU(),
                AbsVal(),
                Sigmoid(),
                TanH(),
                Swish(),
                HSwish(),
                HSigmoid(),
                Clip(draw(numbers), draw(numbers)),
                Power(draw(st.sampled_from([1.0, 2.0])), draw(numbers), draw(numbers)),
                Softmax(axis),
                Reverse(axis),
                Tile(2, axis),
                Permute(tuple(draw(st.permutations(range(rank))))),
                Flatten(axis, draw(st.integers(axis, rank - 1))),
                Reshape((0, -1), 0, min(rank, 3)),
            ]
        )
    )


@st.composite
def on_images(draw, shape):
    """An operator on an (N, C, H, W) value, with the shapes of its parameters."""
    channels, groups = shape[1], [1, shape[1]]
    kernel, stride = draw(pairs), draw(pairs)
    pad = tuple(draw(st.integers(0, size - 1)) for size in kernel)
    group, dilation = draw(st.sampled_from(groups)), draw(pairs)
    bias = draw(st.booleans())
    outputs = group * draw(small)
    kind = draw(st.sampled_from(["conv", "deconv", "pool", "affine", "prelu", "bn", "fc", "size"]))
    if kind == "conv":
        weight = (outputs, channels // group, *kernel)
        return Convolution(outputs, kernel, stride, pad, dilation, group, bias), [weight, *[(outputs,)] * bias]
    if kind == "deconv":
        weight = (channels, outputs // group, *kernel)
        return Deconvolution(outputs, kernel, stride, pad, dilation, group, bias), [weight, *[(outputs,)] * bias]
    if kind == "pool":
        method = draw(st.sampled_from(["MAX", "AVE"]))
        whole, up = draw(st.booleans()), draw(st.booleans())
        stride = tuple(min(pair) for pair in zip(stride, kernel, strict=True))
        return Pooling(method, kernel, stride, pad, round_up=up) if not whole else Pooling(
            method, global_pooling=True
        ), []
    if kind == "affine":
        return Scale(draw(st.sampled_from([1, -3])), bias), [(channels,)] * (1 + bias)
    if kind == "prelu":
        return PReLU(bias), [(1 if bias else channels,)]
    if kind == "bn":
        return BatchNorm(1e-3), [(channels,), (channels,), (1,)]
    if kind == "fc":
        return InnerProduct(3, 1, False, bias), [(3, int(np.prod(shape[1:]))), *[(3,)] * bias]
    sizes = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    choices = [Interp(sizes), Upsample(draw(pairs)), ShuffleChannel(channels)]
    return draw(st.sampled_from(choices)), []


def goes_with(shape, other):
    """Whether numpy broadcasts two shapes."""
    return all(one == two or 1 in (one, two) for one, two in zip(shape[::-1], other[::-1], strict=False))


@st.composite
def graphs(draw):
    """A graph of up to eight operators; what nobody reads is an output, and some that are read are, too."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape = (draw(st.integers(1, 2)), *(draw(st.integers(1, 6)) for _ in range(3)))
    shapes, nodes, params = {"x": shape}, [], {}

    def add(op, inputs, sizes=()):
        name = f"n{len(nodes)}"
        try:
            made = op.infer([shapes[item] for item in inputs], list(sizes))
        except ModelError:
            return
        if not all(1 <= np.prod(item) <= 4000 and len(item) <= 6 for item in made):
            return
        names = tuple(f"{name}/{number}" for number in range(len(sizes)))
        for key, size in zip(names, sizes, strict=True):
            array = rng.standard_normal(size)
            params[key] = (np.abs(array) + 0.5 if isinstance(op, BatchNorm) else array).astype(np.float32)
        outputs = tuple(f"{name}.{number}" for number in range(len(made)))
        nodes.append(Node(name, op, tuple(inputs), outputs, names))
        shapes.update(zip(outputs, made, strict=True))

    for _ in range(draw(st.integers(1, 8))):
        value = draw(st.sampled_from(sorted(shapes)))
        here = shapes[value]
        alike = [name for name in shapes if shapes[name] == here]
        kind = draw(st.sampled_from(["unary", "image", "image", "merge", "slice"]))
        if kind == "image" and len(here) == 4:
            op, sizes = draw(on_images(here))
            add(op, [value], sizes)
        elif kind == "merge":
            others = [value, draw(st.sampled_from(alike))]
            broadcast = [name for name in shapes if goes_with(shapes[name], here)]
            if draw(st.booleans()):
                function = draw(st.sampled_from(["add", "sub", "mul", "max", "min", "less", "greater_equal", "prelu"]))
                add(Binary(function), [draw(st.sampled_from(broadcast)), value])
                continue
            op = st.sampled_from([Eltwise(), Eltwise("PROD"), Eltwise("MAX"), Eltwise("SUM", (2.0, -0.5)), Concat()])
            add(draw(op), others)
        elif kind == "slice":
            add(Slice(2, draw(st.integers(0, len(here) - 1))), [value])
        else:
            add(draw(unary(here)), [value])
    if not nodes:
        add(ReLU(), ["x"])
    used = {item for node in nodes for item in node.inputs}
    made = [name for node in nodes for name in node.outputs]
    free = [name for name in made if name not in used]
    more = [name for name in made if name in used]
    outputs = [*free, *(draw(st.lists(st.sampled_from(more), unique=True, max_size=2)) if more else [])]
    return Graph("random", (Input("x", shape),), tuple(nodes), params, tuple(outputs)).verify()


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(graph=graphs())
def test_random_graphs(judge, graph):
    feeds = random_feeds(graph, scale=1.0)
    wanted = OnnxSession(graph, threads=1).run(feeds)
    found = judge.run(graph, feeds)
    again = OnnxSession(load_graph(judge.model, judge.weights), threads=1).run(feeds)
    for name in graph.outputs:
        size = max(1e-3, float(np.abs(wanted[name]).max()))
        np.testing.assert_allclose(found[name] / size, wanted[name] / size, rtol=0, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(again[name] / size, wanted[name] / size, rtol=0, atol=1e-5, err_msg=name)
