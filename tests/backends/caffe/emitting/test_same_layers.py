"""Operators for which Caffe has a layer of its own."""

import numpy as np
import pytest

from nuqconv.ir.ops import (
    BN,
    BNLL,
    ELU,
    LRN,
    LSTM,
    MVN,
    RNN,
    SPP,
    AbsVal,
    ArgMax,
    BatchNorm,
    BatchReindex,
    Bias,
    Concat,
    Convolution,
    Crop,
    Deconvolution,
    Eltwise,
    Embed,
    Exp,
    Flatten,
    Identity,
    Im2col,
    InnerProduct,
    Log,
    Permute,
    Pooling,
    Power,
    PReLU,
    Reduction,
    ReLU,
    Reshape,
    Scale,
    Sigmoid,
    Slice,
    Softmax,
    Split,
    TanH,
    Threshold,
    Tile,
)
from tests.oracle.caffe_written import one, random_feeds

pytestmark = pytest.mark.caffe
IMAGE = (2, 4, 7, 9)


def floats(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "op",
    [
        AbsVal(),
        BNLL(),
        ELU(0.7),
        Exp(),
        Exp(2.0, 0.5, 0.25),
        Identity(),
        Power(),
        Power(2.0, 0.5, -1.0),
        Power(scale=-3.0),
        ReLU(),
        ReLU(0.1),
        Sigmoid(),
        TanH(),
        Threshold(0.25),
        Softmax(),
        Softmax(-1),
        Softmax(0),
        Split(2),
        Flatten(),
        Flatten(2, 3),
        Flatten(2, 1),
        Reshape((0, -1)),
        Reshape((2, 2), axis=1, num_axes=1),
        Permute((0, 2, 3, 1)),
        Permute((3, 1)),
        Reduction(),
        Reduction("MEAN", 2, 0.5),
        Reduction("ASUM", -1),
        Reduction("SUMSQ", 1),
        ArgMax(),
        ArgMax(0),
        ArgMax(1, 2, out_max_val=True),
        ArgMax(None, 3, out_max_val=True),
        MVN(),
        MVN(normalize_variance=False, across_channels=True),
        LRN(3, 0.5, 0.75, 2.0),
        LRN(3, 0.5, region="WITHIN_CHANNEL"),
        SPP(2, "AVE"),
        SPP(3),
        Im2col((3, 2), (2, 1), (1, 0), (1, 2)),
        Slice(2),
        Slice(3, 3, (2, 5)),
        Tile(3),
        Tile(2, 0),
        Pooling("MAX", (3, 2), (2, 1), (1, 0)),
        Pooling("MAX", (3, 3), (2, 2), (1, 1), mask=True),
        Pooling("AVE", (3, 3), (2, 2), (1, 1)),
        Pooling("AVE", global_pooling=True),
        Pooling("MAX", (2, 2), (2, 2), round_up=False),
        Pooling("MAX", (2, 2), (2, 2), round_up=False, mask=True),
        Pooling("AVE", (4, 4), (3, 2), (1, 1), round_up=False),
    ],
    ids=lambda op: f"{op.kind} {op.describe()}".strip(),
)
def test_without_parameters(judge, op):
    judge.check(one(op, IMAGE))


def test_log(judge):
    graph = one(Log(10.0, 2.0, 0.5), IMAGE)
    judge.check(graph, feeds={"x0": np.abs(random_feeds(graph)["x0"])})


@pytest.mark.parametrize("shape", [(5,), (3, 6), (2, 3, 4), (2, 2, 3, 2, 2)], ids=str)
@pytest.mark.parametrize("op", [ReLU(), Power(scale=2.0, shift=1.0), Softmax(-1)], ids=lambda op: op.kind)
def test_any_rank(judge, op, shape):
    judge.check(one(op, shape))


@pytest.mark.parametrize(
    ("op", "shape", "weight"),
    [
        (Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1)), IMAGE, (6, 4, 3, 3)),
        (Convolution(6, (3, 2), (2, 1), (1, 0), (1, 2), 2), IMAGE, (6, 2, 3, 2)),
        (Convolution(4, (3, 3), (2, 2), (2, 2), (2, 2), 4, bias_term=False), IMAGE, (4, 1, 3, 3)),
        (Convolution(5, (3,), (2,), (1,), (1,)), (2, 4, 9), (5, 4, 3)),
        (Convolution(5, (3, 2, 2), (1, 2, 1), (1, 0, 1), (1, 1, 1)), (1, 4, 5, 6, 4), (5, 4, 3, 2, 2)),
        (Deconvolution(6, (4, 4), (2, 2), (1, 1), (1, 1)), IMAGE, (4, 6, 4, 4)),
        (Deconvolution(4, (3, 2), (2, 1), (1, 0), (1, 1), 2), IMAGE, (4, 2, 3, 2)),
        (InnerProduct(5), IMAGE, (5, 252)),
        (InnerProduct(5, axis=3, transpose=True, bias_term=False), IMAGE, (9, 5)),
        (InnerProduct(5, axis=-2), IMAGE, (5, 63)),
    ],
    ids=lambda value: f"{value.kind} {value.describe()}" if hasattr(value, "kind") else "x".join(map(str, value)),
)
def test_weights(judge, op, shape, weight):
    params = [floats(*weight), floats(op.num_output, seed=4)] if op.bias_term else [floats(*weight)]
    judge.check(one(op, shape, params=params), rtol=1e-4)


def test_several_inputs_of_one_convolution(judge):
    op = Convolution(6, (3, 3), (1, 1), (1, 1), (1, 1))
    judge.check(one(op, IMAGE, IMAGE, params=[floats(6, 4, 3, 3), floats(6)]), rtol=1e-4)


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (Scale(), [(4,)]),
        (Scale(bias_term=True), [(4,), (4,)]),
        (Scale(-1), [(9,)]),
        (Scale(1, bias_term=True), [(4, 7), (4, 7)]),
        (Scale(0, bias_term=True), [(), ()]),
        (Bias(), [(4,)]),
        (Bias(2), [(7, 9)]),
        (PReLU(), [(4,)]),
        (PReLU(channel_shared=True), [(1,)]),
        (BN(), [(4,), (4,), (4,), (4,)]),
        (BN(statistics=False), [(1, 4, 1, 1), (1, 4, 1, 1)]),
        (BatchNorm(0.01), [(4,), (4,), (1,)]),
    ],
    ids=lambda value: f"{value.kind} {value.describe()}" if hasattr(value, "kind") else "",
)
def test_affine(judge, op, shapes):
    params = [floats(*shape, seed=number) for number, shape in enumerate(shapes)]
    if isinstance(op, BN | BatchNorm):
        params = [np.abs(array) + np.float32(0.5) for array in params]
    judge.check(one(op, IMAGE, params=params))


@pytest.mark.parametrize(("op", "part"), [(Scale(1), (4, 7)), (Scale(0), (2, 4)), (Bias(3), (9,)), (Bias(0), IMAGE)])
def test_affine_with_a_computed_part(judge, op, part):
    judge.check(one(op, IMAGE, part))


def test_scale_with_a_computed_factor_and_a_stored_bias(judge):
    judge.check(one(Scale(1, bias_term=True), IMAGE, (4, 7), params=[floats(4, 7)]))


@pytest.mark.parametrize(
    "op",
    [Eltwise(), Eltwise("PROD"), Eltwise("MAX"), Eltwise("SUM", (0.5, -2.0, 1.0)), Concat(), Concat(-1)],
    ids=lambda op: f"{op.kind} {op.describe()}",
)
def test_merges(judge, op):
    judge.check(one(op, IMAGE, IMAGE, IMAGE))


def test_crop(judge):
    judge.check(one(Crop(2, (1, 3)), IMAGE, (2, 4, 5, 5)), exact=True)


def test_embed_and_batch_reindex(judge):
    indices = np.array([3, 0, 1], np.float32)
    judge.check(one(Embed(5, 4), (3,), params=[floats(4, 5), floats(5)]), feeds={"x0": indices})
    graph = one(BatchReindex(), (4, 3), (3,))
    judge.check(graph, feeds={"x0": floats(4, 3), "x1": indices}, exact=True)


@pytest.mark.parametrize("op", [LSTM(3), LSTM(3, expose_hidden=True), RNN(3)], ids=str)
def test_recurrent(judge, op):
    width = op.num_gates * 3
    params = [floats(width, 4), floats(width), floats(width, 3)]
    params += [floats(3, 3), floats(3)] if isinstance(op, RNN) else []
    graph = one(op, (5, 2, 4), (5, 2), *([(1, 2, 3)] * op.exposed), params=params)
    feeds = random_feeds(graph, scale=0.5)
    feeds["x1"] = np.array([[0, 0], [1, 1], [1, 0], [1, 1], [0, 1]], np.float32)
    judge.check(graph, feeds=feeds)
