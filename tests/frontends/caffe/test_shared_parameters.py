"""Parameters that layers share by name and the caffemodel holds once, as real Caffe takes them."""

from __future__ import annotations

import numpy as np
import pytest

import nuqconv
from nuqconv.errors import ModelError
from tests.support.nets import write_net

INPUT = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: [2, 3, 6, 6] } } }\n'
CONV = """layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {params}
  convolution_param {{ num_output: 3 kernel_size: 3 pad: 1 }} }}
"""
SHARED = 'param { name: "w" } param { name: "b" }'
RNG = np.random.default_rng(0)
BLOBS = [RNG.normal(size=(3, 3, 3, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)]
OTHER = [RNG.normal(size=(3, 3, 3, 3)).astype(np.float32), RNG.normal(size=3).astype(np.float32)]


def heads(*params):
    names = [("a", "x"), ("b", "a"), ("c", "x")]
    return INPUT + "".join(
        CONV.format(name=name, bottom=bottom, params=param) for (name, bottom), param in zip(names, params, strict=True)
    )


@pytest.mark.caffe
@pytest.mark.parametrize("owner", ["a", "b", "c"])
def test_layers_without_an_entry_take_the_shared_blobs(tmp_path, caffe_process, owner):
    files = write_net(tmp_path, heads(SHARED, SHARED, SHARED), {owner: BLOBS})
    report = nuqconv.compare((files.model, files.weights), process=caffe_process)
    assert report.agrees
    assert {blob.name for blob in report.blobs} >= {"a", "b", "c"}
    graph = nuqconv.load(files.model, files.weights)
    assert {node.params for node in graph.nodes} == {("param:w", "param:b")}
    nuqconv.save(graph, tmp_path / "again.prototxt", tmp_path / "again.caffemodel")
    again = (tmp_path / "again.prototxt", tmp_path / "again.caffemodel")
    assert nuqconv.compare((files.model, files.weights), again, process=caffe_process).agrees


@pytest.mark.caffe
def test_two_entries_and_a_layer_with_none(tmp_path, caffe_process):
    """The entry that is copied last decides for all three."""
    files = write_net(tmp_path, heads(SHARED, SHARED, SHARED), {"a": BLOBS, "c": OTHER})
    assert nuqconv.compare((files.model, files.weights), process=caffe_process).agrees
    graph = nuqconv.load(files.model, files.weights)
    np.testing.assert_array_equal(graph.params["param:w"], OTHER[0])


@pytest.mark.caffe
def test_batch_norm_and_scale(tmp_path, caffe_process):
    """The siamese form of another type: its blobs are statistics and a factor."""
    layer = 'layer { name: "%s" type: "BatchNorm" bottom: "%s" top: "%s" %s }\n'
    params = 'param { name: "m" } param { name: "v" } param { name: "f" }'
    scale = 'layer { name: "%s" type: "Scale" bottom: "%s" top: "%s" param { name: "g" } scale_param { } }\n'
    text = INPUT + 'layer { name: "twice" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }\n'
    text += layer % ("n1", "x", "n1", params) + layer % ("n2", "y", "n2", params)
    text += scale % ("s1", "n1", "s1") + scale % ("s2", "n2", "s2")
    stored = [np.float32([1, 2, 3]), np.float32([4, 1, 0.5]), np.float32([2])]
    files = write_net(tmp_path, text, {"n1": stored, "s2": [np.float32([1, -1, 3])]})
    assert nuqconv.compare((files.model, files.weights), process=caffe_process).agrees


def test_a_blob_of_its_own_that_is_stored_nowhere_is_refused(tmp_path):
    files = write_net(tmp_path, heads(SHARED, 'param { name: "w" } param { lr_mult: 2 }', SHARED), {"a": BLOBS})
    with pytest.raises(ModelError, match="no entry") as caught:
        nuqconv.load(files.model, files.weights)
    assert "'b'" in caught.value.problems[0]
