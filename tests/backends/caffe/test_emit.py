"""Writing Caffe models: untouched layers to the letter, opaque layers with all they had."""

from pathlib import Path

import numpy as np
import pytest

from nuqconv.backends.caffe import save_caffe, write_caffe, writer
from nuqconv.backends.caffe.emit import emit
from nuqconv.errors import OutputError, UnsupportedError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.ir import Graph, Input, Node
from nuqconv.ir.ops import Opaque, ROIPooling
from nuqconv.passes import fold_affine
from tests.support.nets import blob_into, conv_net

OPAQUE = """layer {
  name: "prior"  # kept with its comment
  type: "OddBox"
  bottom: "conv1" bottom: "data"
  top: "prior"
  prior_box_param { min_size: 60.0 odd_new_field { a: [1, 2] } }
}"""


def test_untouched_layers_are_written_to_the_letter(tmp_path):
    files = conv_net(tmp_path)
    graph = load_graph(files.model, files.weights)
    write_caffe(graph, tmp_path / "o.prototxt", tmp_path / "o.caffemodel")
    source = files.model.read_text()
    for node in graph.nodes:
        assert node.origin.text in source
        assert node.origin.text in (tmp_path / "o.prototxt").read_text()
    again = load_graph(tmp_path / "o.prototxt", tmp_path / "o.caffemodel")
    assert again.nodes == graph.nodes
    for name, array in graph.params.items():
        np.testing.assert_array_equal(again.params[name], array)


def test_opaque_layers_keep_text_blobs_and_unknown_fields(tmp_path):
    files = conv_net(tmp_path)
    files.model.write_text(files.model.read_text() + OPAQUE)
    net = NetParameter.FromString(files.weights.read_bytes())
    layer = net.layer.add(name="prior", type="OddBox")
    blob_into(layer.blobs.add(), np.arange(3))
    # Field 3000 is known to nobody here.
    odd = layer.SerializeToString() + b"\xc2\xbb\x01\x02hi"
    net.layer[-1].ParseFromString(odd)
    files.weights.write_bytes(net.SerializeToString())
    graph = fold_affine(load_graph(files.model, files.weights)).graph
    write_caffe(graph, tmp_path / "o.prototxt", tmp_path / "o.caffemodel")
    assert OPAQUE in (tmp_path / "o.prototxt").read_text()
    written = NetParameter.FromString((tmp_path / "o.caffemodel").read_bytes())
    found = next(layer for layer in written.layer if layer.name == "prior")
    assert found.SerializeToString() == net.layer[-1].SerializeToString()
    assert b"\xc2\xbb\x01\x02hi" in found.SerializeToString()


def test_two_writes_give_the_same_bytes(tmp_path):
    files = conv_net(tmp_path)
    for stem in "ab":
        graph = fold_affine(load_graph(files.model, files.weights)).graph
        write_caffe(graph, tmp_path / f"{stem}.prototxt", tmp_path / f"{stem}.caffemodel")
    for ending in ("prototxt", "caffemodel"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_nodes_without_a_caffe_form_are_refused_together():
    nodes = (Node("a", ROIPooling((2, 2)), ("x", "rois"), ("y",)), Node("b", Opaque("Odd", "unknown"), ("y",), ("z",)))
    graph = Graph("net", (Input("x", (1, 2, 3, 3)), Input("rois", (1, 5))), nodes, {}, ("z",))
    with pytest.raises(UnsupportedError) as caught:
        emit(graph)
    assert len(caught.value.problems) == 2


def test_a_saved_model_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    files = conv_net(tmp_path)
    graph = load_graph(files.model, files.weights)
    model, weights = tmp_path / "out" / "m.prototxt", tmp_path / "out" / "m.caffemodel"
    save_caffe(graph, model, weights)
    before = model.read_bytes(), weights.read_bytes()

    def full(*arguments, **options):
        raise OutputError("no space left")

    monkeypatch.setattr(writer, "emit_node", full)
    with pytest.raises(OutputError, match="no space left"):
        save_caffe(fold_affine(graph).graph, model, weights)
    monkeypatch.undo()
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match="no space left"):
        save_caffe(fold_affine(graph).graph, model, weights)
    assert (model.read_bytes(), weights.read_bytes()) == before
    assert sorted(path.name for path in model.parent.iterdir()) == ["m.caffemodel", "m.prototxt"]
