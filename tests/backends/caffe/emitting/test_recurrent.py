"""ONNX's recurrent layers in real Caffe, against onnxruntime's on a model made by hand."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nuqconv.errors import UnsupportedError
from nuqconv.ir.ops import LSTMUnit, OpError, Recurrent
from tests.oracle.caffe_written import one, random_feeds

from .test_parts import floats

pytestmark = pytest.mark.caffe
STEPS, STREAMS, SIZE, HIDDEN = 5, 2, 4, 3


def runtime(op, feeds, params):
    """What onnxruntime makes of ONNX's own node; streams are axis 1."""
    biases = [*params[2:], None][:1]
    tensors = [numpy_helper.from_array(array, f"p{number}") for number, array in enumerate(params)]
    names = ["x0", "p0", "p1", "p2" if biases[0] is not None else ""]
    names += ["", *(name for name in feeds if name != "x0")] if op.states else []
    attributes = {"hidden_size": op.hidden, "direction": op.direction}
    if op.cell == "GRU":
        attributes["linear_before_reset"] = int(op.linear_before_reset)
    outputs = [f"y{number}" for number in range(1 + op.num_states)]
    node = helper.make_node(op.cell, names, outputs, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in feeds.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    return dict(zip(outputs, found, strict=True))


def case(op):
    """Inputs and parameters for an operator."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op.cell] * HIDDEN
    count = op.directions
    params = [floats(count, gates, SIZE), floats(count, gates, HIDDEN, seed=4)]
    params += [floats(count, 2 * gates, seed=5)] if op.bias_term else []
    feeds = {"x0": floats(STEPS, STREAMS, SIZE, seed=6)}
    if op.states:
        feeds |= {f"x{n + 1}": floats(count, STREAMS, HIDDEN, seed=7 + n) for n in range(op.num_states)}
    return feeds, params


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("bias", "states"), [(True, True), (False, False)])
def test_against_onnxruntime(judge, cell, direction, bias, states):
    op = Recurrent(cell, HIDDEN, direction, bias_term=bias, states=states)
    feeds, params = case(op)
    graph = one(op, *(array.shape for array in feeds.values()), params=params)
    judge.check(graph, runtime(op, feeds, params), feeds=feeds)


def test_the_other_gru(judge):
    op = Recurrent("GRU", HIDDEN, "bidirectional", linear_before_reset=True, states=True)
    feeds, params = case(op)
    graph = one(op, *(array.shape for array in feeds.values()), params=params)
    judge.check(graph, runtime(op, feeds, params), feeds=feeds)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_streams_first(judge, cell):
    op = Recurrent(cell, HIDDEN, "bidirectional", batch_first=True, states=True)
    feeds, params = case(op)
    wanted = runtime(op, feeds, params)
    turned = {name: array.swapaxes(0, 1) for name, array in feeds.items()}
    expected = {
        name: array.transpose(2, 0, 1, 3) if name == "y0" else array.swapaxes(0, 1) for name, array in wanted.items()
    }
    graph = one(op, *(array.shape for array in turned.values()), params=params)
    judge.check(graph, expected, feeds=turned)


def test_long_sequences(judge):
    op = Recurrent("LSTM", HIDDEN, "bidirectional")
    _, params = case(op)
    feeds = {"x0": floats(90, STREAMS, SIZE)}
    judge.check(one(op, feeds["x0"].shape, params=params), runtime(op, feeds, params), feeds=feeds)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Recurrent("LSTM", HIDDEN, clip=1.0), "no clip"),
        (Recurrent("RNN", HIDDEN, activations=("Relu",)), "usual activations"),
    ],
)
def test_what_is_refused(judge, op, message):
    feeds, params = case(op)
    with pytest.raises(UnsupportedError, match=message):
        judge.run(one(op, feeds["x0"].shape, params=params), feeds)


@pytest.mark.parametrize("cont", [(1.0, 1.0, 1.0), (0.0, 1.0, 0.0), (0.5, -1.0, 2.0)], ids=str)
@pytest.mark.parametrize("size", [1, 5])
def test_one_step(judge, size, cont):
    graph = one(LSTMUnit(), (1, 3, size), (1, 3, 4 * size), (1, 3))
    judge.check(graph, feeds={**random_feeds(graph), "x2": np.array([cont], np.float32)})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 3, 4), (2, 3, 16), (2, 3)), "the state has shape"),
        (((1, 3, 4), (1, 3, 12), (1, 3)), "expected .1, 3, 16. and .1, 3."),
        (((1, 3, 4), (1, 3, 16), (3, 1)), "and cont .3, 1."),
    ],
)
def test_what_does_not_fit_one_step(shapes, message):
    with pytest.raises(OpError, match=message):
        LSTMUnit().infer(shapes, [])
