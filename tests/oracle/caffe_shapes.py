"""One-layer nets in real Caffe and in nuqconv."""

from __future__ import annotations

from math import prod

import pytest

from nuqconv.errors import CaffeProcessError, ModelError
from nuqconv.frontends.caffe import load_graph
from nuqconv.frontends.caffe.schema import NetParameter
from nuqconv.runtimes.caffe import CaffeProcess, Net


def net_text(kind, rest, *shapes):
    text = 'name: "net"\n'
    names = [f"in{number}" for number in range(len(shapes))]
    for name, shape in zip(names, shapes, strict=True):
        dims = " ".join(f"dim: {dim}" for dim in shape)
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    return text + f'layer {{ name: "out" type: "{kind}" {bottoms} top: "out" {rest} }}\n'


class Judge:
    """Builds one-layer nets in real Caffe and in nuqconv."""

    def __init__(self, python, folder):
        self.python = python
        self.model, self.weights = folder / "net.prototxt", folder / "net.caffemodel"
        self.process = CaffeProcess(python)

    def theirs(self, text):
        """Real Caffe's shape of every blob and of the layer's parameters; an error where Caffe refuses the net."""
        if not self.process.alive:
            self.process = CaffeProcess(self.python)
        self.model.write_text(text)
        with Net(self.model, process=self.process) as net:
            return {name: blob.shape for name, blob in net.blobs.items()}, net.layers[-1].param_shapes

    def ours(self, text, params=()):
        self.model.write_text(text)
        message = NetParameter()
        layer = message.layer.add(name="out")
        for shape in params:
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            blob.data.append(bytes(4 * prod(shape)))
        self.weights.write_bytes(message.SerializeToString())
        return load_graph(self.model, self.weights)

    def agree(self, kind, rest, *shapes):
        """Asserts that both give every value the same shape, and returns the output's."""
        text = net_text(kind, rest, *shapes)
        blobs, params = self.theirs(text)
        graph = self.ours(text, params)
        assert graph.node["out"].op.kind != "Opaque", text
        # Caffe adds copies of a blob that several bottoms read.
        expected = {name: shape for name, shape in blobs.items() if "_split_" not in name}
        assert dict(graph.shapes) == expected, text
        return expected["out"]

    def refuse(self, kind, rest, *shapes, params=()):
        """Asserts that Caffe refuses the net, and returns our problems."""
        text = net_text(kind, rest, *shapes)
        with pytest.raises(CaffeProcessError):
            self.theirs(text)
        with pytest.raises(ModelError) as refused:
            self.ours(text, params)
        return [problem.removeprefix(f"{self.model}:") for problem in refused.value.problems]
