"""Quantizations spelt out in stock layers are recognised, and only those."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.backends.caffe import write_caffe
from nuqconv.frontends.caffe import load_graph
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Power, Quantize, ReLU
from nuqconv.passes import collapse_quantize, fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.runtimes.onnxruntime.session import OnnxSession
from tests.support.nets import conv_net
from tests.support.plans import strongest_plan

ROUNDER = 1.5 * 2**23


def _chain(multiplier, offset, **changed):
    ops = {
        "round": Power(scale=float(np.float32(multiplier)), shift=ROUNDER),
        "keep": ReLU(),
        "low": Power(shift=128 + offset - ROUNDER),
        "clip_low": ReLU(),
        "high": Power(scale=-1.0, shift=255.0),
        "clip_high": ReLU(),
        "restore": Power(scale=-1.0, shift=127.0 - offset),
        **changed,
    }
    values = ["x", *(f"v{number}" for number in range(6)), "u"]
    nodes = tuple(
        Node(name, op, (before,), (after,))
        for (name, op), before, after in zip(ops.items(), values, values[1:], strict=False)
    )
    return Graph("chain", (Input("x", (1, 4096)),), nodes, {}, ("u",))


numbers = st.floats(width=32, allow_nan=False, allow_infinity=True)


@given(
    st.floats(2.0**-20, 2.0**20, width=32),
    st.integers(-128, 127),
    st.lists(numbers, min_size=1, max_size=64),
    st.integers(0, 2**32 - 1),
)
def test_both_forms_give_the_same_numbers(multiplier, offset, values, seed):
    """On any floats, on ties and around them, and where the rounding constant is too small."""
    graph = _chain(multiplier, offset)
    found = collapse_quantize(graph)
    assert [node.op for node in found.nodes] == [Quantize(float(np.float32(multiplier)), offset)]
    rng = np.random.default_rng(seed)
    ties = (np.arange(-400, 400) / 2 / multiplier).astype(np.float32)
    powers = (rng.choice([-1, 1], 1000) * 2.0 ** rng.uniform(0, 30, 1000) / multiplier).astype(np.float32)
    near = np.nextafter(ties, rng.choice([-np.inf, np.inf], ties.size).astype(np.float32))
    x = np.resize(np.concatenate([np.float32(values), ties, near, powers]), (1, 4096))
    one, other = (OnnxSession(item, threads=1).run({"x": x})["u"] for item in (graph, found))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "changed",
    [
        {"round": Power(scale=3.0, shift=ROUNDER / 2)},
        {"round": Power(power=2.0, scale=3.0, shift=ROUNDER)},
        {"keep": ReLU(0.1)},
        {"low": Power(shift=129 - ROUNDER)},
        {"clip_low": Power()},
        {"high": Power(scale=-1.0, shift=254.0)},
        {"clip_high": ReLU(-0.5)},
        {"restore": Power(scale=-1.0, shift=126.5)},
        {"restore": Power(scale=-1.0, shift=256.0)},
    ],
)
def test_other_chains_stay(changed):
    graph = _chain(3.0, 0, **changed)
    assert collapse_quantize(graph) is graph


def test_a_chain_that_is_read_inside_stays():
    graph = _chain(3.0, 0)
    seen = replace(graph, outputs=("u", "v3"))
    assert collapse_quantize(seen) is seen
    read = graph.with_nodes((*graph.nodes, Node("other", ReLU(), ("v2",), ("other",))))
    assert collapse_quantize(read) is read


def test_a_fake_quant_model_read_again_has_the_quantize_nodes_that_it_was_written_from(tmp_path):
    files = conv_net(tmp_path)
    quantizer = Quantizer(fold_affine(load_graph(files.model, files.weights)).graph)
    batch = {"data": np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)}
    graph = quantizer.apply(strongest_plan(quantizer, batch))
    write_caffe(graph, tmp_path / "q.prototxt", tmp_path / "q.caffemodel")
    read = load_graph(tmp_path / "q.prototxt", tmp_path / "q.caffemodel")
    found = collapse_quantize(read).verify()
    wanted = {node.name: node.op for node in graph.nodes if isinstance(node.op, Quantize)}
    assert {node.name: node.op for node in found.nodes if isinstance(node.op, Quantize)} == wanted
    assert len(found.nodes) == len(graph.nodes) < len(read.nodes)
    one, other = (OnnxSession(item, threads=1).run(batch) for item in (read, found))
    assert {name: array.tobytes() for name, array in one.items()} == {
        name: array.tobytes() for name, array in other.items()
    }
