"""A writer that keeps layers from model to model writes what a new one writes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nuqconv.backends.caffe import CaffeWriter, Style, write_caffe, writer
from nuqconv.errors import UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Upsample
from nuqconv.passes import fold_affine
from nuqconv.quantize.apply import Quantizer
from nuqconv.quantize.plan import LayerPlan, Plan, Precision
from tests.support.nets import conv_net
from tests.support.plans import strongest_plan


@pytest.fixture(scope="module")
def quantizer(tmp_path_factory):
    files = conv_net(tmp_path_factory.mktemp("net"))
    return Quantizer(fold_affine(load_graph(files.model, files.weights)).graph)


@pytest.fixture(scope="module")
def strongest(quantizer):
    return strongest_plan(quantizer, {"data": np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)})


def _variants(layer):
    return (
        LayerPlan(Precision.FLOAT),
        LayerPlan(Precision.INT8, activation=layer.activation),
        LayerPlan(Precision.INT8),
        layer,
        LayerPlan(Precision.NUQ, codebook=(-90, -40, 0, 50, 100), num_steps=16, activation=layer.activation),
    )


def _bytes(write, graph, folder, style):
    files = folder / "w.prototxt", folder / "w.caffemodel"
    write(graph, *files, style)
    return tuple(path.read_bytes() for path in files)


@given(st.data())
def test_every_model_of_a_row_is_written_as_by_itself(quantizer, strongest, tmp_path_factory, data):
    names = [name for name, layer in strongest.items() if layer.precision is Precision.NUQ]
    folder, keeping = tmp_path_factory.mktemp("w"), CaffeWriter()
    for _ in range(3):
        chosen = data.draw(st.tuples(*(st.integers(0, 4) for _ in names)))
        style = data.draw(st.sampled_from(Style))
        layers = {name: _variants(strongest[name])[number] for name, number in zip(names, chosen, strict=True)}
        graph = quantizer.apply(Plan.of(layers))
        expected = _bytes(write_caffe, graph, folder, style)
        assert _bytes(keeping.write, graph, folder, style) == expected


def test_the_pieces_are_what_protobuf_makes_of_the_whole(quantizer, strongest, tmp_path):
    _, weights = _bytes(CaffeWriter().write, quantizer.apply(strongest), tmp_path, Style.FAKE_QUANT)
    assert NetParameter.FromString(weights).SerializeToString(deterministic=True) == weights


def test_only_layers_that_changed_are_made_again(quantizer, strongest, tmp_path, monkeypatch):
    made, emit_node = [], writer.emit_node

    def spy(graph, node, style):
        made.append(node.name)
        return emit_node(graph, node, style)

    monkeypatch.setattr(writer, "emit_node", spy)
    keeping = CaffeWriter()
    _bytes(keeping.write, quantizer.apply(strongest), tmp_path, Style.FAKE_QUANT)
    assert len(made) == len(quantizer.apply(strongest).nodes)
    made.clear()
    _bytes(keeping.write, quantizer.apply(strongest), tmp_path, Style.FAKE_QUANT)
    assert made == []
    changed = Plan.of({**dict(strongest.items()), "conv2": _variants(strongest["conv2"])[1]})
    _bytes(keeping.write, quantizer.apply(changed), tmp_path, Style.FAKE_QUANT)
    # The step sizes are of a layer plan, so they are new arrays with it.
    assert made == ["conv2", "conv2_dequant_layer"]


def test_a_model_without_caffe_form_leaves_the_writer_as_it_was(quantizer, strongest, tmp_path):
    graph, keeping = quantizer.apply(strongest), CaffeWriter()
    before = _bytes(keeping.write, graph, tmp_path, Style.FAKE_QUANT)
    nodes = (Node("pool", Upsample(), ("data", "data"), ("y",)),)
    bad = Graph("bad", (Input("data", (1, 3, 4, 4)),), nodes, {}, ("y",))
    with pytest.raises(UnsupportedError, match="pool"):
        keeping.write(bad, tmp_path / "b.prototxt", tmp_path / "b.caffemodel")
    assert not (tmp_path / "b.prototxt").exists()
    assert _bytes(keeping.write, graph, tmp_path, Style.FAKE_QUANT) == before
