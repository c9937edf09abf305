"""LSTM and RNN against real Caffe."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nuqconv.backends.caffe import write_caffe
from nuqconv.backends.onnx import batch_problems, newest_opset, to_onnx
from nuqconv.errors import ModelError
from nuqconv.frontends.caffe import load_graph, read_model
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import LSTM, RNN, Opaque, OpError
from nuqconv.quantize.capability import capabilities
from nuqconv.runtimes.onnxruntime import OnnxSession
from tests.oracle.caffe_layers import inputs_text, layer_text, write_weights

STATES = {"LSTM": ("h", "c"), "RNN": ("h",)}
CONT = {
    "new at once": lambda steps, streams: np.zeros((steps, streams)),
    "never new": lambda steps, streams: np.ones((steps, streams)),
    "new here and there": lambda steps, streams: np.random.default_rng(5).integers(0, 2, (steps, streams)),
    "any number": lambda steps, streams: np.random.default_rng(5).uniform(-1, 2, (steps, streams)),
}


def net_text(kind, x, size, *, static=None, hidden=False, more=""):
    """A net of one recurrent layer and its inputs."""
    shapes = {"x": x, "cont": x[:2]}
    if static is not None:
        shapes["static"] = static
    states = STATES[kind] if hidden else ()
    shapes |= {f"{name}_0": (1, x[1], size) for name in states}
    bottoms = " ".join(f'bottom: "{name}"' for name in shapes)
    tops = " ".join(f'top: "{name}"' for name in ("out", *(f"{name}_T" for name in states)))
    param = f"num_output: {size} expose_hidden: {str(hidden).lower()} {more}"
    return (
        inputs_text(**shapes)
        + f'\nlayer {{ name: "out" type: "{kind}" {bottoms} {tops} recurrent_param {{ {param} }} }}'
    )


def check(oracle, text, cont="new here and there", rtol=1e-5):
    """Runs both once, from a state of 0 where none is given, and compares every blob."""
    rng = np.random.default_rng(7)
    graph, net = oracle.load(text, rng)
    inputs = {item.name: rng.standard_normal(item.shape).astype(np.float32) for item in graph.inputs}
    inputs["cont"] = CONT[cont](*inputs["cont"].shape).astype(np.float32)
    values = [name for name in graph.consumers if name not in inputs]
    with net:
        theirs = net.run(inputs, values)
    ours = OnnxSession(graph, outputs=values, threads=1).run(inputs)
    for name in values:
        assert ours[name].shape == theirs[name].shape == graph.shapes[name]
        np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, atol=1e-5, err_msg=f"{name}\n{text}")
    return graph


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("cont", CONT)
@pytest.mark.parametrize("static", [None, (3, 6)])
@pytest.mark.parametrize("hidden", [False, True])
def test_every_combination(oracle, kind, cont, static, hidden):
    graph = check(oracle, net_text(kind, (4, 3, 5), 7, static=static, hidden=hidden), cont)
    notes = read_model(oracle.folder / "net.prototxt", oracle.folder / "net.caffemodel").notes
    assert ["starts from a state of 0" in note for note in notes] == [True] * (not hidden)
    assert len(graph.node["out"].outputs) == 1 + (len(STATES[kind]) if hidden else 0)


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize(
    ("x", "size", "static"),
    [
        ((1, 1, 1), 1, None),
        ((1, 4, 3), 2, (4, 1)),
        ((20, 1, 3), 5, None),
        ((5, 2, 2, 3, 2), 4, (2, 3, 2)),
        ((3, 3, 3), 3, (3, 3)),
        ((2, 3, 4), 12, (3, 2, 1, 2)),
    ],
)
def test_shapes(oracle, kind, x, size, static):
    check(oracle, net_text(kind, x, size, static=static, hidden=x[0] % 2 == 1), rtol=1e-4)


@pytest.mark.caffe
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(STATES)),
    x=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5)),
    size=st.integers(1, 8),
    static=st.none() | st.integers(1, 5),
    hidden=st.booleans(),
    cont=st.sampled_from(sorted(CONT)),
)
def test_random(oracle, kind, x, size, static, hidden, cont):
    shape = None if static is None else (x[1], static)
    check(oracle, net_text(kind, x, size, static=shape, hidden=hidden), cont, rtol=1e-4)


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
def test_fillers_and_debug_info_change_nothing(oracle, kind):
    more = 'debug_info: true weight_filler { type: "uniform" } bias_filler { type: "constant" value: 3 }'
    check(oracle, net_text(kind, (3, 2, 4), 5, more=more))


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
def test_two_layers_and_a_reader_of_all_outputs(oracle, kind):
    text = [
        inputs_text(x=(4, 2, 3), cont=(4, 2)),
        layer_text(kind, "recurrent_param { num_output: 5 }", bottoms=("x", "cont"), name="first"),
        layer_text(kind, "recurrent_param { num_output: 6 }", bottoms=("first", "cont"), name="second"),
        layer_text("InnerProduct", "inner_product_param { num_output: 3 axis: 2 }", bottoms=("second",), name="fc"),
        layer_text("Softmax", "softmax_param { axis: 2 }", bottoms=("fc",), name="prob"),
    ]
    graph = check(oracle, "\n".join(text), rtol=1e-4)
    assert [item.name for item in capabilities(graph)] == ["fc"]


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("opset", range(13, newest_opset() + 1))
def test_valid_at_every_opset(oracle, kind, opset):
    graph, net = oracle.load(net_text(kind, (4, 3, 5), 7, static=(3, 6), hidden=True), np.random.default_rng(0))
    net.close()
    model = to_onnx(graph, opset=opset)
    onnx.checker.check_model(model, full_check=True)
    rng = np.random.default_rng(1)
    inputs = {item.name: rng.standard_normal(item.shape).astype(np.float32) for item in graph.inputs}
    expected = OnnxSession(graph, threads=1).run(inputs)
    found = OnnxSession(model, threads=1).run(inputs)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6)


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
def test_any_number_of_steps(oracle, kind):
    """The steps are axis 0: a model with an open axis runs as many as it gets, as real Caffe's net of that length does."""
    graph, net = oracle.load(net_text(kind, (4, 3, 5), 7), np.random.default_rng(2))
    net.close()
    assert batch_problems(graph) == []
    _, net = oracle.load(net_text(kind, (9, 3, 5), 7), np.random.default_rng(2))
    rng = np.random.default_rng(3)
    inputs = {"x": rng.standard_normal((9, 3, 5)).astype(np.float32), "cont": np.ones((9, 3), np.float32)}
    with net:
        expected = net.run(inputs, ["out"])["out"]
    found = OnnxSession(graph, threads=1).run(inputs)["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
def test_exposed_states_join_two_runs(oracle, kind):
    """Half the steps, and the rest from the state that they end in, give what all steps give."""
    text = net_text(kind, (3, 2, 4), 5, hidden=True)
    graph, net = oracle.load(text, np.random.default_rng(0))
    net.close()
    _, net = oracle.load(net_text(kind, (6, 2, 4), 5, hidden=True), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    x, cont = rng.standard_normal((6, 2, 4)).astype(np.float32), np.ones((6, 2), np.float32)
    states = {f"{name}_0": rng.standard_normal((1, 2, 5)).astype(np.float32) for name in STATES[kind]}
    with net:
        expected = net.run({"x": x, "cont": cont, **states}, ["out"])["out"]
    session, parts = OnnxSession(graph, threads=1), []
    for steps in (slice(0, 3), slice(3, 6)):
        found = session.run({"x": x[steps], "cont": cont[steps], **states})
        parts.append(found["out"])
        states = {f"{name}_0": found[f"{name}_T"] for name in STATES[kind]}
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.caffe
@pytest.mark.parametrize("kind", STATES)
def test_written_back_to_the_letter(oracle, kind):
    text = net_text(kind, (3, 2, 4), 5, static=(2, 3), hidden=True)
    graph, net = oracle.load(text, np.random.default_rng(0))
    net.close()
    files = oracle.folder / "again.prototxt", oracle.folder / "again.caffemodel"
    write_caffe(graph, *files)
    assert text.splitlines()[-1] in files[0].read_text()
    again = load_graph(*files)
    assert again.nodes == graph.nodes
    for name, array in graph.params.items():
        np.testing.assert_array_equal(again.params[name], array)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            inputs_text(x=(3, 2, 4)) + layer_text("RNN", "recurrent_param { num_output: 5 }", bottoms=("x",)),
            "1 bottoms",
        ),
        (
            inputs_text(x=(3, 2, 4), cont=(3, 2))
            + layer_text("LSTM", "recurrent_param { num_output: 5 expose_hidden: true }", bottoms=("x", "cont")),
            "2 bottoms (expected 4 or 5)",
        ),
    ],
)
def test_refused_with_a_reason(tmp_path, text, reason):
    (tmp_path / "net.prototxt").write_text(text)
    write_weights(tmp_path / "net.caffemodel", {"out": ("LSTM", [np.zeros((1, 1), np.float32)])})
    op = load_graph(tmp_path / "net.prototxt", tmp_path / "net.caffemodel").node["out"].op
    assert isinstance(op, Opaque)
    assert reason in op.reason


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (LSTM(5), [(3, 2), (3, 2)], "input has 2 dimensions, expected at least 3"),
        (LSTM(5), [(3, 2, 4), (2, 3)], "cont has shape 2x3, expected 3x2"),
        (LSTM(5), [(3, 2, 4), (3, 2), (2, 4)], "has 3 inputs, expected 2"),
        (LSTM(5, static_input=True), [(3, 2, 4), (3, 2), (3, 4)], "the static input has shape 3x4, expected 2"),
        (LSTM(5, static_input=True), [(3, 2, 4), (3, 2), (2,)], "the static input has shape 2,"),
        (
            LSTM(5, expose_hidden=True),
            [(3, 2, 4), (3, 2), (1, 2, 5), (1, 2, 4)],
            "a state has shape 1x2x4, expected 1x2x5",
        ),
        (RNN(5, expose_hidden=True), [(3, 2, 4), (3, 2), (2, 5)], "a state has shape 2x5, expected 1x2x5"),
        (RNN(5), [(3, 2, 4), (3, 2)], "parameters have shapes none"),
    ],
)
def test_what_does_not_fit_is_told(op, inputs, message):
    with pytest.raises(OpError, match=message):
        op.infer(inputs, [])


def test_the_number_of_outputs_is_checked():
    node = Node("out", LSTM(5, expose_hidden=True), ("x", "cont", "h", "c"), ("out",), ())
    shapes = {"x": (3, 2, 4), "cont": (3, 2), "h": (1, 2, 5), "c": (1, 2, 5)}
    graph = Graph("net", tuple(Input(name, shape) for name, shape in shapes.items()), (node,), {}, ("out",))
    with pytest.raises(ModelError, match="has 1 outputs, expected 3"):
        graph.verify()
