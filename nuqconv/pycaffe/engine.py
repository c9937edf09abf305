"""A net in this process: its layers in onnxruntime, and those of the script between them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nuqconv.errors import NetError, UnsupportedError
from nuqconv.frontends.caffe.prototxt import LayerText
from nuqconv.frontends.caffe.weights import Weights
from nuqconv.ir import Array, Graph, Input, Node
from nuqconv.ir.names import fresh_name
from nuqconv.ir.ops import Reshape, Shape
from nuqconv.pycaffe.blob import Blob, BlobVec, Epoch
from nuqconv.pycaffe.definition import Definition
from nuqconv.pycaffe.hosted import DummyData, MemoryData, PythonLayer
from nuqconv.pycaffe.losses import Accuracy, EuclideanLoss, Loss, SigmoidCrossEntropyLoss, SoftmaxWithLoss
from nuqconv.pycaffe.memory import Floats, Memory
from nuqconv.pycaffe.messages import stock_layer
from nuqconv.pycaffe.segment import Feed, Segment
from nuqconv.pycaffe.states import Computed, InputState, LayerState, check_data_layer, load_blobs

__all__ = ["Engine"]

_HOSTS: dict[str, type[LayerState]] = {
    "Accuracy": Accuracy,
    "DummyData": DummyData,
    "EuclideanLoss": EuclideanLoss,
    "MemoryData": MemoryData,
    "Python": PythonLayer,
    "SigmoidCrossEntropyLoss": SigmoidCrossEntropyLoss,
    "SoftmaxWithLoss": SoftmaxWithLoss,
}
"""Layers that run in Python, by type."""

_KEPT_SEGMENTS = 16


class Engine:
    """A net.

    Args:
        definition: The net.
        weights: Its weights, or None: fillers give them.

    Attributes:
        layers: Its layers.
        blobs: Its blobs by name, in the order in which they are made.

    Raises:
        NetError: The net is one that Caffe refuses.
        UnsupportedError: A layer is not supported.
    """

    def __init__(self, definition: Definition, weights: Weights | None) -> None:
        self.definition = definition
        self.epoch = Epoch()
        self.blobs: dict[str, Blob] = {}
        self.layers: list[LayerState] = []
        self._shared: dict[str, Memory] = {}
        self._segments: OrderedDict[tuple[Any, ...], Segment] = OrderedDict()
        self._seen: dict[Memory, tuple[int, Floats]] = {}
        self._settled: dict[tuple[int, int], tuple[int, tuple[Any, ...]]] = {}
        for text in definition.layers:
            self._add(text, None if weights is None else weights.layers.get(text.message.name))
        self._eager = {
            blob.memory for layer in self.layers if not layer.computed for blob in (*layer.bottoms, *layer.tops)
        }
        # What begins where the last pass has ended must not be left for later.
        self._eager |= {state.memory for layer in self.layers if isinstance(layer, Computed) for state in layer.states}
        if weights is not None:
            self.copy_from(weights)

    def _add(self, text: LayerText, stored: Any) -> None:
        message = text.message
        place = self.definition.place(text)
        bottoms = [self.blobs[name] for name in message.bottom]
        tops = [self.blobs.setdefault(name, Blob((0,), self.epoch)) for name in message.top]
        host = _HOSTS.get(message.type)
        if host is not None:
            # Which raises for fields that Caffe does not know.
            stock_layer(text)
            layer = host(text, place, bottoms, tops)
        elif message.type == "Input":
            layer = InputState(text, place, bottoms, tops)
        else:
            check_data_layer(text, place)
            layer = Computed(text, place, bottoms, tops, stored, self.definition.path, self.epoch)
        if isinstance(layer, PythonLayer):
            layer.start(self.definition.phase)
        self.layers.append(layer)
        layer.setup()
        self._share(layer)

    def _share(self, layer: LayerState) -> None:
        """Gives parameters of the same name one memory."""
        for number, (spec, blob) in enumerate(zip(layer.text.message.param, layer.blobs, strict=False)):
            if not spec.name:
                continue
            owner = self._shared.setdefault(spec.name, blob.memory)
            if owner is not blob.memory:
                if owner.capacity != blob.count:
                    raise NetError(
                        f"{layer.place}: parameter {number} is shared as '{spec.name}', but the shapes differ"
                    )
                blob.memory = owner

    @property
    def params(self) -> list[BlobVec]:
        """The parameters of each layer."""
        return [layer.blobs for layer in self.layers]

    @property
    def public_layers(self) -> list[Any]:
        """The layers as scripts see them."""
        return [layer.public for layer in self.layers]

    def copy_from(self, weights: Weights) -> None:
        """Loads weights into the layers that they name."""
        load_blobs(self.layers, weights)

    def share_with(self, other: Engine) -> None:
        """Makes the parameters of another net those of the layers with the same names.

        Raises:
            NetError: A number of parameters or a shape differs.
        """
        sources = {layer.name: layer for layer in other.layers}
        for layer in self.layers:
            source = sources.get(layer.name)
            if source is None:
                continue
            if [blob.shape for blob in source.blobs] != [blob.shape for blob in layer.blobs]:
                raise NetError(
                    f"{layer.place}: Cannot share params: the parameters have other shapes than those of the other net"
                )
            for mine, its in zip(layer.blobs, source.blobs, strict=True):
                mine.memory = its.memory
        self._forget()

    def reshape(self) -> None:
        """Lets every layer follow its bottoms."""
        for layer in self.layers:
            layer.reshape()

    def forward(self, first: int, last: int, wanted: Sequence[Blob] = ()) -> float:
        """Runs the layers from ``first`` to ``last``.

        Args:
            first: Number of a layer.
            last: Number of a layer; nothing runs if it is before ``first``.
            wanted: Blobs that will be read for sure.

        Returns:
            The sum of the losses.
        """
        self._check_phase(first, last)
        needed = {blob.memory for blob in wanted} | self._eager
        loss = 0.0
        start = first
        while start <= last:
            layer = self.layers[start]
            end = start
            if layer.computed:
                while end < last and self.layers[end + 1].computed:
                    end += 1
                self._segment(start, end).run(needed)
            elif isinstance(layer, Computed):
                self._run_alone(start, layer)
            else:
                layer.reshape()
                layer.forward()
                if isinstance(layer, Loss):
                    loss += layer.weighted
            start = end + 1
        return loss

    def _run_alone(self, number: int, layer: Computed) -> None:
        """Runs a layer whose result says the shapes of its tops."""
        found = self._segment(number, number).values()
        for top in layer.tops:
            array = found[top.memory]
            top.reshape(*array.shape)
            top.memory.fill(np.ascontiguousarray(array, np.float32).reshape(-1))

    def _check_phase(self, first: int, last: int) -> None:
        if self.definition.phase != "TRAIN":
            return
        random = [layer.place for layer in self.layers[first : last + 1] if _differs_in_training(layer.text.message)]
        if random:
            raise UnsupportedError(
                f"{self.definition.path}: phase TRAIN: these layers compute something else in training, which is left to real Caffe "
                "(NUQCONV_PYCAFFE=caffe); use phase TEST",
                random,
            )

    def _segment(self, first: int, last: int) -> Segment:
        epoch, key = self._settled.get((first, last), (-1, ()))
        if epoch != self.epoch.number:
            for layer in self.layers[first : last + 1]:
                layer.reshape()
            key = (first, last, *self._shapes(first, last))
            self._settled[first, last] = (self.epoch.number, key)
        if self._changed():
            self._forget()
        segment = self._segments.get(key)
        if segment is None:
            kin = next((one for other, one in self._segments.items() if other[:2] == key[:2]), None)
            segment = self._segments[key] = _Building(self.definition, self.layers[first : last + 1], kin).segment()
            if len(self._segments) > _KEPT_SEGMENTS:
                self._segments.popitem(last=False)
        self._segments.move_to_end(key)
        return segment

    def _shapes(self, first: int, last: int) -> Iterable[Shape]:
        return (blob.shape for layer in self.layers[first : last + 1] for blob in (*layer.bottoms, *layer.blobs))

    def _changed(self) -> bool:
        """Whether a script has written other numbers into parameters since this was asked last."""
        changed = False
        for layer in self.layers:
            for blob in layer.blobs:
                memory = blob.memory
                seen, stamp = self._seen.get(memory), memory.stamp
                if seen is not None and seen[0] == stamp and not memory.held:
                    continue
                if seen is None or not _same(seen[1], memory.look()):
                    changed = True
                    self._seen[memory] = (stamp, memory.freeze(memory.capacity))
                else:
                    self._seen[memory] = (stamp, seen[1])
        return changed

    def _forget(self) -> None:
        self._segments.clear()
        self._seen = {
            blob.memory: self._seen[blob.memory]
            for layer in self.layers
            for blob in layer.blobs
            if blob.memory in self._seen
        }

    def backward(self, first: int, last: int) -> None:
        """Refused, see `refuse_backward`."""
        del first, last
        self.refuse_backward()

    def refuse_backward(self) -> None:
        """Raises UnsupportedError.

        Raises:
            UnsupportedError: There is no backward pass in onnxruntime.
        """
        raise UnsupportedError(
            f"{self.definition.path}: a backward pass is left to real Caffe; set NUQCONV_PYCAFFE=caffe, which runs nets there (make caffe gets it)"
        )

    def set_input_arrays(self, data: Floats, labels: Floats) -> None:
        """Hands arrays to the first MemoryData layer.

        Raises:
            NetError: The first layer is none, or they do not fit it.
        """
        first = self.layers[0]
        if not isinstance(first, MemoryData):
            raise NetError("set_input_arrays may only be called if the first layer is a MemoryDataLayer")
        first.set_arrays(data, labels)


def _differs_in_training(message: Any) -> bool:
    if message.type == "BatchNorm":
        return not (message.batch_norm_param.HasField("use_global_stats") and message.batch_norm_param.use_global_stats)
    return bool(message.type == "Dropout" and message.dropout_param.dropout_ratio > 0)


def _same(one: Floats, other: Floats) -> bool:
    return one is other or (one.size == other.size and bool((one.view("i4") == other.view("i4")).all()))


class _Building:
    """Turns layers into a graph by following which value each memory holds."""

    def __init__(self, definition: Definition, layers: Sequence[LayerState], kin: Segment | None) -> None:
        self._definition = definition
        self._layers = layers
        self._kin = kin
        self._taken: set[str] = set()
        self._current: dict[Memory, tuple[str, Shape]] = {}
        self._feeds: list[Feed] = []
        self._writes: dict[Memory, str] = {}
        self._nodes: list[Node] = []
        self._params: dict[str, Array] = {}

    def segment(self) -> Segment:
        """Returns the segment."""
        for layer in self._layers:
            if isinstance(layer, Computed) and not layer.is_view:
                self._add(layer)
        graph = Graph(
            self._definition.name or "net",
            tuple(Input(feed.value, feed.shape) for feed in self._feeds),
            tuple(self._nodes),
            self._params,
            tuple(self._writes.values()),
        )
        return Segment(graph, self._feeds, self._writes, self._kin)

    def _add(self, layer: Computed) -> None:
        names = dict(zip(map(id, layer.bottoms), layer.text.message.bottom, strict=True))
        read = [*layer.bottoms, *layer.states]
        inputs = [self._read(blob, names.get(id(blob), f"{layer.name}/state")) for blob in read]
        tops = [
            *zip(layer.tops, layer.text.message.top, strict=True),
            *((one, f"{layer.name}/state") for one in layer.states),
        ]
        outputs = [fresh_name(f"{name}@{layer.name}", self._taken) for _, name in tops]
        params = [fresh_name(f"{layer.name}/{number}", self._taken) for number in range(len(layer.blobs))]
        node, arrays = layer.node(fresh_name(layer.name, self._taken), inputs, outputs, params)
        self._nodes.append(node)
        self._params.update(zip(params, arrays, strict=True))
        for (blob, _), value in zip(tops, outputs, strict=True):
            self._current[blob.memory] = (value, blob.shape)
            self._writes[blob.memory] = value

    def _read(self, blob: Blob, name: str) -> str:
        found = self._current.get(blob.memory)
        if found is None:
            value = fresh_name(f"{name}@input", self._taken)
            self._feeds.append(Feed(blob.memory, value, blob.shape))
            self._current[blob.memory] = (value, blob.shape)
            return value
        value, shape = found
        if shape == blob.shape:
            return value
        # The same memory under another shape.
        other = fresh_name(f"{name}@{value}", self._taken)
        self._nodes.append(
            Node(fresh_name(f"{name}/view", self._taken), _reshape(shape, blob.shape), (value,), (other,))
        )
        return other


def _reshape(before: Shape, after: Shape) -> Reshape:
    """Returns a Reshape that leaves axis 0 open where it stays, so that any batch size can run."""
    if before and after and before[0] == after[0]:
        return Reshape((0, *after[1:]))
    return Reshape(after)
