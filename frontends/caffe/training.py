"""Cuts a net for training or testing on a data set down to what a user runs.

Data layers become inputs, SoftmaxWithLoss and SigmoidCrossEntropyLoss become Softmax and Sigmoid, other losses and measurements go, and
with them what only prepares labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nuqconv.frontends.caffe.data_layers import data_shape
from nuqconv.frontends.caffe.layer_types import APART, compared_by, is_for_training, makes_data, trait_of
from nuqconv.frontends.caffe.layers import reader_for
from nuqconv.frontends.caffe.layers.custom import custom_reader
from nuqconv.frontends.caffe.prototxt import LayerText
from nuqconv.frontends.caffe.schema import LayerParameter
from nuqconv.frontends.caffe.weights import blob_shape
from nuqconv.ir.traits import KeepsChannels

__all__ = ["Cut", "cut_training"]

Value = tuple[int, int]
"""A blob at one time: number of the layer that makes it (-1: an input of the header) and of its top."""


@dataclass(frozen=True)
class Cut:
    """What is left of a net.

    Attributes:
        layers: The layers, data layers as Input layers.
        dropped: Names of header inputs that nothing reads any more.
        notes: What was done, one line for each layer.
        problems: What could not be done.
    """

    layers: tuple[LayerText, ...]
    dropped: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def cut_training(
    layers: Sequence[LayerText],
    header_inputs: Sequence[str],
    stored: Mapping[str, Any],
    given: Mapping[str, Sequence[int]],
    place: Callable[[LayerText], str],
) -> Cut:
    """Cuts a net.

    Args:
        layers: The layers that the chosen phase includes.
        header_inputs: Names of inputs that stand outside of layers.
        stored: The layers of the caffemodel by name.
        given: Shapes that the user gives, by blob.
        place: Returns the words for a layer's place.

    Returns:
        The net without layers for training; a net without such layers comes back as it is.
    """
    wanted = [
        is_for_training(item.message.type) or makes_data(item.message) or _is_loss(item) or _is_given(item, given)
        for item in layers
    ]
    if not any(wanted):
        return Cut(tuple(layers))
    return _Cutter(layers, header_inputs, stored, given, place).cut()


def _is_loss(layer: LayerText) -> bool:
    return compared_by(layer.message.type) > 0 and custom_reader(layer.message) is None


def _is_known(layer: LayerText) -> bool:
    return custom_reader(layer.message) is not None or reader_for(layer.message.type) is not None


def _is_given(layer: LayerText, given: Mapping[str, Sequence[int]]) -> bool:
    """A layer of an unknown type that only makes blobs (a Python data layer, for instance) whose shapes the user gives."""
    message = layer.message
    unknown = message.type != "Input" and not _is_known(layer)
    return unknown and not len(message.bottom) and any(top in given for top in message.top)


@dataclass
class _Cutter:
    layers: Sequence[LayerText]
    header_inputs: Sequence[str]
    stored: Mapping[str, Any]
    given: Mapping[str, Sequence[int]]
    place: Callable[[LayerText], str]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def cut(self) -> Cut:
        self._follow()
        self.data = {
            number
            for number, layer in enumerate(self.layers)
            if makes_data(layer.message) or _is_given(layer, self.given)
        }
        self.gone: set[int] = set()
        self.results: dict[int, LayerText] = {}
        self.compared: set[Value] = set()
        self.labels: set[Value] = set()
        self._remove_losses()
        self._remove_label_layers()
        kept = [layer for number in range(len(self.layers)) if (layer := self._kept(number)) is not None]
        dropped = frozenset(
            name for number, name in enumerate(self.header_inputs) if self._is_left_over((-1, number), name)
        )
        return Cut(tuple(kept), dropped, tuple(self.notes), tuple(self.problems))

    def _follow(self) -> None:
        """Finds the value behind every bottom, and what reads each value."""
        current: dict[str, Value] = {name: (-1, number) for number, name in enumerate(self.header_inputs)}
        self.sources: list[list[Value | None]] = []
        self.readers: dict[Value, list[int]] = defaultdict(list)
        self.computed: set[tuple[Value | None, str, int]] = set()
        self.taken = {*self.header_inputs, *(top for layer in self.layers for top in layer.message.top)}
        self.tried: dict[str, int] = {}
        self.weighted: list[bool] = []
        for number, layer in enumerate(self.layers):
            sources = [current.get(blob) for blob in layer.message.bottom]
            for value in sources:
                if value is not None:
                    self.readers[value].append(number)
            self.sources.append(sources)
            if sources:
                self.computed.add((sources[0], layer.message.type, layer.message.softmax_param.axis))
            entry = self.stored.get(layer.message.name)
            self.weighted.append(
                bool(entry is not None and len(entry.blobs))
                or any(self.weighted[value[0]] for value in sources if value is not None and value[0] >= 0)
            )
            current.update({top: (number, index) for index, top in enumerate(layer.message.top)})

    def _remove_losses(self) -> None:
        lost: set[Value] = set()
        for number, layer in enumerate(self.layers):
            message, sources = layer.message, [value for value in self.sources[number] if value is not None]
            tops = {(number, index) for index in range(len(message.top))}
            if _is_loss(layer):
                count = compared_by(message.type)
                self.compared.update(sources[:count])
                self.labels.update(sources[count:])
                if self._result(number, layer):
                    # The second top of SoftmaxWithLoss is what its Softmax makes.
                    tops.discard((number, 1))
            elif message.type == "HDF5Output":
                self.labels.update(sources)
            elif message.type == "Silence":
                self.labels.update(value for value in sources if value[0] < 0 or not self.weighted[value[0]])
                if not sources or any(value not in lost and value not in self.labels for value in sources):
                    continue
            elif not lost.intersection(sources):
                continue
            else:
                self.labels.update(sources)
            self.gone.add(number)
            lost.update(tops)
            if number not in self.results:
                self.notes.append(f"{self.place(layer)}: removed, it is only for training and testing")
        self.lost = lost

    def _result(self, number: int, layer: LayerText) -> bool:
        """Puts a Softmax or Sigmoid in the place of a loss, unless the net has one there; returns whether it did."""
        message = layer.message
        kind = APART[message.type].result if message.type in APART else ""
        if not kind or not len(message.bottom):
            return False
        new = LayerParameter(name=message.name, type=kind, bottom=message.bottom[:1])
        if message.HasField("softmax_param"):
            new.softmax_param.CopyFrom(message.softmax_param)
        value = self.sources[number][0]
        same = (value, kind, new.softmax_param.axis)
        if same in self.computed and len(message.top) < 2:
            return False
        self.computed.add(same)
        new.top.append(message.top[1] if len(message.top) > 1 else self._free_name(message.bottom[0]))
        self.results[number] = LayerText(new, layer.line, None)
        self.notes.append(f"{self.place(layer)}: became {kind}, its result is blob '{new.top[0]}'")
        return True

    def _free_name(self, scores: str) -> str:
        name = "prob" if "prob" not in self.taken else f"{scores}_prob"
        # Of each name the search goes on where it ended.
        count = self.tried.get(name, 0)
        while name + "_" * count in self.taken:
            count += 1
        self.tried[name] = count
        name += "_" * count
        self.taken.add(name)
        return name

    def _live_readers(self, value: Value) -> list[int]:
        """The layers that still read a value; of a loss that became its result, only the scores count."""
        return [
            number
            for number in self.readers[value]
            if (number not in self.gone and not (self._is_silence(number) and value in self.labels))
            or (number in self.results and self.sources[number][0] == value)
        ]

    def _is_silence(self, number: int) -> bool:
        return bool(self.layers[number].message.type == "Silence")

    def _remove_label_layers(self) -> None:
        """Removes layers without weights before them whose results only removed layers read."""
        for number in reversed(range(len(self.layers))):
            message = self.layers[number].message
            tops: list[Value] = [(number, index) for index in range(len(message.top))]
            if number in self.gone or number in self.data or message.type == "Input" or self.weighted[number]:
                continue
            if not self.labels.intersection(tops) or self.compared.intersection(tops):
                continue
            if any(self._live_readers(value) for value in tops):
                continue
            self.gone.add(number)
            self.labels.update(value for value in self.sources[number] if value is not None)
            self.notes.append(f"{self.place(self.layers[number])}: removed, only removed layers read its results")

    def _is_left_over(self, value: Value, name: str, *, data: bool = False) -> bool:
        if self._live_readers(value) or not (self.readers[value] or data):
            return False
        self.notes.append(f"input '{name}' is left out: nothing that is kept reads it")
        return True

    def _kept(self, number: int) -> LayerText | None:
        layer = self.layers[number]
        message = layer.message
        if number in self.results:
            return self.results[number]
        if number in self.gone:
            return None
        if number in self.data:
            return self._as_input(number, layer)
        if message.type == "Input":
            return self._without_labels(number, layer)
        if message.type == "Silence":
            return self._shortened(number, layer)
        return layer

    def _shortened(self, number: int, layer: LayerText) -> LayerText:
        sources = self.sources[number]
        kept = [
            blob
            for blob, value in zip(layer.message.bottom, sources, strict=True)
            if value not in self.lost and value not in self.labels
        ]
        if len(kept) == len(sources):
            return layer
        message = LayerParameter()
        message.CopyFrom(layer.message)
        message.bottom[:] = kept
        return LayerText(message, layer.line, None)

    def _without_labels(self, number: int, layer: LayerText) -> LayerText | None:
        message = layer.message
        left = [index for index, top in enumerate(message.top) if not self._is_left_over((number, index), top)]
        if len(left) == len(message.top):
            return layer
        shapes = list(message.input_param.shape)
        return _input_layer(
            layer, [(message.top[i], shapes[min(i, len(shapes) - 1)].dim if shapes else None) for i in left]
        )

    def _as_input(self, number: int, layer: LayerText) -> LayerText | None:
        inputs: list[tuple[str, Sequence[int]]] = []
        for index, top in enumerate(layer.message.top):
            if self._is_left_over((number, index), top, data=True):
                continue
            shape, source = self._shape(number, index)
            inputs.append((top, shape))
            if shape:
                text = "x".join(map(str, shape))
                self.notes.append(f"{self.place(layer)}: became input '{top}' of shape {text} ({source})")
        return _input_layer(layer, inputs)

    def _shape(self, number: int, index: int) -> tuple[tuple[int, ...], str]:
        """Returns the shape of a data layer's top and where it was found; the shape is empty where that failed."""
        layer = self.layers[number]
        top = layer.message.top[index]
        if top in self.given:
            return tuple(self.given[top]), "given"
        found = data_shape(layer, index)
        source = "from its parameters"
        if found.sizes is not None and len(found.sizes) == 4 and found.sizes[1] is None:
            channels, name = self._channels((number, index))
            if channels:
                found = found.with_channels(channels)
                source = f"from its parameters and the weights of '{name}'"
        shape = tuple(size for size in found.sizes or () if size)
        if found.sizes is None or len(shape) != len(found.sizes):
            known = f"only {found} is known" if found.sizes is not None else found.reason
            self.problems.append(
                f"{self.place(layer)}: the file does not say the shape of '{top}' ({known}); "
                f"give an input shape for '{top}', for instance {found.example} (--input-shape)"
            )
            # One that fits nothing, so that the report goes on to other faults.
            return (1,), "unknown"
        return shape, source

    def _channels(self, value: Value) -> tuple[int, str]:
        """Returns the channels that the first convolution on a value takes, and its name; 0 if none tells."""
        waiting = [value]
        for item in waiting:
            for number in self._live_readers(item):
                message = self.layers[number].message
                entry = self.stored.get(message.name)
                if message.type == "Convolution" and entry is not None and len(entry.blobs):
                    shape = blob_shape(entry.blobs[0])
                    if len(shape) == 4:
                        return int(shape[1]) * message.convolution_param.group, str(message.name)
                if trait_of(message.type, KeepsChannels):
                    waiting.append((number, 0))
        return 0, ""


def _input_layer(layer: LayerText, inputs: Iterable[tuple[str, Iterable[int] | None]]) -> LayerText | None:
    message = LayerParameter(name=layer.message.name, type="Input")
    for top, shape in inputs:
        message.top.append(top)
        if shape is not None:
            message.input_param.shape.add().dim.extend(shape)
    return LayerText(message, layer.line, None) if len(message.top) else None
