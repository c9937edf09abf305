"""Scaled channels: the outputs stay the same to the bit, in onnxruntime and in real Caffe, and the factors are found again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nuqconv.backends.caffe import write_caffe
from nuqconv.errors import QuantizationError
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import (
    AbsVal,
    Clip,
    Convolution,
    Deconvolution,
    Identity,
    InnerProduct,
    Pooling,
    PReLU,
    ReLU,
    WindowPool,
)
from nuqconv.passes.equalize import balanced, chains, scaled, shifts_between
from nuqconv.quantize.weights import quantize_weights, weight_scales
from nuqconv.runtimes.caffe import Net
from nuqconv.runtimes.onnxruntime.session import OnnxSession

WINDOW = {"kernel": (2, 2), "stride": (2, 2), "begins": (0, 0), "ends": (0, 0), "dilation": (1, 1)}
BETWEEN = {
    "relu": ReLU(),
    "leaky": ReLU(0.1),
    "prelu": PReLU(),
    "abs": AbsVal(),
    "identity": Identity(),
    "max": Pooling("MAX", (3, 3), (2, 2), (1, 1)),
    "average": Pooling("AVE", (3, 3), (2, 2), (1, 1)),
    "stochastic": Pooling("STOCHASTIC", (2, 2), (2, 2)),
    "window": WindowPool("AVE", **WINDOW),
    "window max": WindowPool("MAX", **WINDOW),
}
ONE, NONE = (1, 1), (0, 0)
READERS = {
    "convolution": Convolution(5, (3, 3), ONE, NONE, ONE),
    "groups": Convolution(6, (3, 3), ONE, NONE, ONE, group=3),
    "depthwise": Convolution(6, (3, 3), ONE, NONE, ONE, group=6, bias_term=False),
    "deconvolution": Deconvolution(4, (2, 2), ONE, NONE, ONE, group=2),
    "product": InnerProduct(3),
}


def net(between, readers=("convolution",), uneven=2.0):
    rng = np.random.default_rng(3)
    first = Convolution(6, (3, 3), ONE, ONE, ONE)
    nodes, params, outputs = [], {}, []

    def add(name, op, source, shapes):
        names = tuple(f"{name}/{number}" for number in range(len(shapes)))
        params.update(
            {key: rng.normal(size=shape).astype(np.float32) for key, shape in zip(names, shapes, strict=True)}
        )
        nodes.append(Node(name, op, (source,), (name,), names))
        return Graph("net", (Input("data", (2, 4, 9, 8)),), tuple(nodes), dict(params), (name,)).shapes[name]

    shape = add("first", first, "data", [(6, 4, 3, 3), (6,)])
    value = "first"
    for number, operator in enumerate(between):
        shape = add(f"between{number}", operator, value, [(6,)] if isinstance(operator, PReLU) else [])
        value = f"between{number}"
    for kind in readers:
        reader = READERS[kind]
        if isinstance(reader, InnerProduct):
            weights = (reader.num_output, int(np.prod(shape[1:])))
        elif isinstance(reader, Deconvolution):
            weights = (6, reader.num_output // reader.group, *reader.kernel)
        else:
            weights = (reader.num_output, 6 // reader.group, *reader.kernel)
        add(kind, reader, value, [weights, *([(reader.num_output,)] if reader.bias_term else [])])
        outputs.append(kind)
    factors = np.exp(uneven * rng.normal(size=6)).astype(np.float32)
    params["first/0"] *= factors[:, None, None, None]
    params["first/1"] *= factors
    graph = Graph("net", (Input("data", (2, 4, 9, 8)),), tuple(nodes), params, tuple(outputs))
    return graph.verify()


def data(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 4, 9, 8)).astype(np.float32)


def peaks(graph, values):
    return {
        name: np.abs(value).max(axis=tuple(axis for axis in range(value.ndim) if axis != 1))
        for name, value in OnnxSession(graph, outputs=values).run({"data": data()}).items()
    }


def shifts_of(graph):
    return balanced(graph, peaks(graph, [chain.read for chain in chains(graph)]))


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("reader", READERS)
def test_the_outputs_are_the_same_bits(between, reader):
    graph = net([BETWEEN[between]], [reader])
    shifts = {"first": np.array([3, -2, 0, 5, -6, 1])}
    other = scaled(graph, shifts)
    values = ["first", *graph.outputs]
    one, two = (OnnxSession(item, outputs=values).run({"data": data(1)}) for item in (graph, other))
    np.testing.assert_array_equal(one[reader], two[reader])
    assert np.array_equal(one["first"], two["first"] * np.ldexp(1.0, shifts["first"])[:, None, None])
    assert not np.array_equal(one["first"], two["first"])


@pytest.mark.caffe
@pytest.mark.parametrize("between", ["prelu", "max", "average"])
def test_real_caffe_computes_the_same_bits(between, tmp_path, caffe_process):
    graph = net([BETWEEN[between]], ["convolution", "depthwise"])
    found = []
    for number, item in enumerate((graph, scaled(graph, shifts_of(graph)))):
        files = (tmp_path / f"{number}.prototxt", tmp_path / f"{number}.caffemodel")
        write_caffe(item, *files)
        with Net(*files, process=caffe_process) as judge:
            found.append(judge.run({"data": data(1)}))
    for name in graph.outputs:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_channels_come_to_like_sizes():
    graph = net([ReLU()], ["depthwise"])
    before = peaks(graph, ["between0"])["between0"]
    after = peaks(scaled(graph, shifts_of(graph)), ["between0"])["between0"]
    assert before.max() / before.min() > 20
    # Each is rounded to a power of two.
    assert after.max() / after.min() < 2.1


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (net([Clip(0, 6)]), "a clip has a bound"),
        (net([ReLU(), WindowPool("LP", **WINDOW)]), "a norm is rounded"),
    ],
    ids=["clip", "norm"],
)
def test_what_does_not_pass_a_factor_on_ends_a_chain(graph, why):
    assert chains(graph) == (), why


def test_values_that_are_read_stay():
    graph = net([ReLU()])
    assert [chain.layer for chain in chains(graph)] == ["first"]
    assert chains(graph, keep=["between0"]) == ()
    assert chains(graph, keep=["first"]) == ()
    assert chains(Graph(graph.name, graph.inputs, graph.nodes, graph.params, ("convolution", "first"))) == ()


def test_shared_weights_stay():
    graph = net([ReLU()], ["depthwise"])
    twice = Node("again", READERS["depthwise"], ("between0",), ("again",), ("depthwise/0",))
    other = Graph(graph.name, graph.inputs, (*graph.nodes, twice), graph.params, ("depthwise", "again")).verify()
    assert chains(other) == ()


def test_a_wrong_layer_is_named():
    graph = net([ReLU()])
    with pytest.raises(QuantizationError, match="'convolution'"):
        scaled(graph, {"convolution": np.ones(5, np.int64)})
    with pytest.raises(QuantizationError, match="'first'"):
        scaled(graph, {"first": np.ones(5, np.int64)})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from(sorted(READERS)), st.sampled_from([7, 127]))
def test_the_factors_are_found_again_behind_a_quantization(seed, reader, most):
    """Even where weights have no more than 7 levels."""
    graph = net([ReLU()], [reader])
    shift = np.random.default_rng(seed).integers(-3, 4, 6)
    other = scaled(graph, {"first": shift})
    weights = {}
    for node in graph.nodes:
        if node.params and node.name != "between0":
            own = other.params[node.params[0]]
            axis = node.op.scale_axis()
            steps = weight_scales(own, axis) * np.float32(127 / most)
            shape = [1] * own.ndim
            if axis is not None:
                shape[axis] = -1
            weights[node.name] = quantize_weights(own, steps, axis) * steps.reshape(shape)
    found = shifts_between(graph, weights)
    assert np.array_equal(found.get("first", np.zeros(6, np.int64)), shift)
    plain = {node.name: graph.params[node.params[0]] for node in graph.nodes if node.params and node.name != "between0"}
    assert shifts_between(graph, plain) == {}
