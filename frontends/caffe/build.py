"""Caffe files -> Graph."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from nuqconv.errors import ModelError, UnsupportedError
from nuqconv.frontends.caffe.checks import layer_problems, name_problem, shape_problem
from nuqconv.frontends.caffe.data_layers import data_shape
from nuqconv.frontends.caffe.fields import UnknownField
from nuqconv.frontends.caffe.layer_types import is_for_training, makes_data, trait_of, traits_of
from nuqconv.frontends.caffe.layers import (
    CannotReadError,
    Reading,
    WrongLayerError,
    has_dialects,
    has_no_effect,
    reader_for,
)
from nuqconv.frontends.caffe.layers.custom import CustomReader, custom_reader
from nuqconv.frontends.caffe.memory import overwritten_reads
from nuqconv.frontends.caffe.parameters import Parameters
from nuqconv.frontends.caffe.phase import NetState, is_included
from nuqconv.frontends.caffe.prototxt import LayerText, Prototxt, read_prototxt
from nuqconv.frontends.caffe.training import Cut, cut_training
from nuqconv.frontends.caffe.weights import Weights, read_weights
from nuqconv.frontends.options import AS_THEY_ARE, ReadGraph, ReadOptions
from nuqconv.ir import Graph, Input, Node, Origin
from nuqconv.ir.ops import Opaque, OpError, Shape
from nuqconv.ir.traits import Cuts, Stateful

__all__ = ["load_graph", "read_model"]

_LOG = logging.getLogger(__name__)


def read_model(model_file: str | Path, weights_file: str | Path, options: ReadOptions = AS_THEY_ARE) -> ReadGraph:
    """Reads a Caffe network and its weights, of any generation.

    Args:
        model_file: The .prototxt.
        weights_file: The .caffemodel.
        options: Shapes, the net's state, and what is allowed.

    Returns:
        The graph and what was noted. A layer whose type or parameters are not known is an Opaque node. Of a blob that in-place layers write
        several times, the last state has the blob's name and an earlier one is called ``blob@layer``. Nodes from an old generation have
        the upgraded layer as their source and no text.

    Raises:
        FormatError: A file cannot be read.
        UnsupportedError: The net is for training, and ``cut_for_inference`` is not set.
        ModelError: The net is wrong in itself, or weights or input shapes do not fit it; all faults are listed.
    """
    definition, weights = read_prototxt(model_file), read_weights(weights_file)
    state = NetState(options.phase, options.level, options.stages.union(definition.header.state.stage))
    shapes = {name: tuple(int(size) for size in shape) for name, shape in options.input_shapes.items()}
    builder = _Builder(definition, weights, state, shapes, options)
    if options.chooses_layers:
        builder.forget_rules()
    builder.prepare(cut=options.cut_for_inference)
    graph = builder.build()
    try:
        graph.verify()
    except ModelError as error:
        raise ModelError(f"{definition.path} with {weights.path}: the model is not valid", error.problems) from error
    return ReadGraph(graph, (*definition.notes, *weights.notes, *builder.notes))


def load_graph(model_file: str | Path, weights_file: str | Path, options: ReadOptions = AS_THEY_ARE) -> Graph:
    """Reads a Caffe network and its weights; see `read_model`, whose notes go to the log here."""
    model = read_model(model_file, weights_file, options)
    for note in model.notes:
        _LOG.info("%s", note)
    return model.graph


class _Builder:
    """Walks the layers in file order and follows which value each blob holds at that point."""

    def __init__(
        self,
        definition: Prototxt,
        weights: Weights,
        state: NetState,
        given: Mapping[str, Shape],
        options: ReadOptions,
    ) -> None:
        self.definition = definition
        self.weights = weights
        self.given = given
        self.options = options
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.renamed: dict[str, LayerText] = {}
        self.dropped: frozenset[str] = frozenset()
        self.layers = [layer for layer in definition.layers if self._included(layer, state)]
        self.current: dict[str, str] = {}
        self.unread: dict[str, None] = {}
        self.storage: dict[str, str] = {}
        self.inputs: list[Input] = []
        self.nodes: list[Node] = []
        self.params = Parameters(weights, (layer.message for layer in self.layers))
        self.shapes: dict[str, Shape] = {}
        self.writes_left = Counter(top for layer in self.layers for top in layer.message.top)

    def forget_rules(self) -> None:
        """Takes the rules off the layers that were chosen: what is written holds these only, and is read without a choice."""
        self.layers = [_without_rules(layer) for layer in self.layers]

    def prepare(self, *, cut: bool) -> None:
        """Cuts a net for training, or refuses it."""
        path = self.definition.path
        self._unknown(self.definition.unknown, "it is lost when the model is written")
        if cut:
            done: Cut = cut_training(
                self.layers, list(self.definition.header.input), self.weights.layers, self.given, self._place
            )
            self.layers, self.dropped = list(done.layers), done.dropped
            if done.notes and all(layer.message.type in ("Input", "Silence") for layer in self.layers):
                raise ModelError(
                    f"{path}: nothing is left of the net when what is for training only is cut off", done.notes
                )
            self.notes += [note if note.startswith(path) else f"{path}: {note}" for note in done.notes]
            self.problems += done.problems
            self.writes_left = Counter(top for layer in self.layers for top in layer.message.top)
            return
        training = [
            self._place(layer)
            for layer in self.layers
            if is_for_training(layer.message.type) or makes_data(layer.message)
        ]
        if training:
            raise UnsupportedError(
                f"{path}: is a net for training or testing on a data set; give the deploy form of it, whose input is an Input layer. "
                f"`nuqconv convert {path} WEIGHTS.caffemodel deploy.prototxt` makes it. Layers that stand in the way:",
                training,
            )

    def build(self) -> Graph:
        """Makes the graph; raises ModelError with all faults."""
        self._name_apart()
        self._header_inputs()
        self._data_of_other_states()
        for layer in self.layers:
            self._add(layer)
        known = [self.storage.get(item.name, item.name) for item in self.inputs]
        self.problems += [
            f"{self.definition.path}: a shape is given for '{name}', which is no input; the net has {', '.join(known) or 'none'}"
            for name in self.given
            if name not in known
        ]
        self.problems += overwritten_reads(self.nodes, list(self.unread), self.storage)
        if self.problems:
            raise ModelError(f"{self.definition.path} with {self.weights.path}: the model is not valid", self.problems)
        read = {node.name for node in self.nodes}
        unused = [name for name, layer in self.weights.layers.items() if len(layer.blobs) and name not in read]
        if unused:
            self.notes.append(
                f"{self.weights.path}: weights of {len(unused)} layers are not used by the net: {', '.join(unused)}"
            )
        return Graph(
            self.definition.header.name or Path(self.definition.path).stem,
            tuple(self.inputs),
            tuple(self.nodes),
            self.params.arrays,
            tuple(self.unread),
            self.storage,
        )

    def _included(self, layer: LayerText, state: NetState) -> bool:
        try:
            return is_included(layer.message, state)
        except ModelError as error:
            self.problems.append(f"{self.definition.path}:{layer.line}: {error}")
            return False

    def _place(self, layer: LayerText) -> str:
        return f"{self.definition.path}:{layer.line}: layer '{layer.message.name}' ({layer.message.type})"

    def _name_apart(self) -> None:
        """Gives layers without a name, or with one that an earlier layer has, a name of their own: Caffe runs them, and a graph needs names.

        The first layer of a name keeps it, as Caffe's copying of weights finds that one. Input layers hold nothing by their name.
        """
        taken = {layer.message.name for layer in self.layers}
        numbers: dict[str, int] = {}
        seen: set[str] = set()
        layers = []
        for layer in self.layers:
            name = layer.message.name
            if layer.message.type == "Input" or (name and name not in seen):
                seen.update([] if layer.message.type == "Input" else [name])
                layers.append(layer)
                continue
            own = base = name or layer.message.type.lower() or "layer"
            while own in taken:
                numbers[base] = numbers.get(base, 1) + 1
                own = f"{base}_{numbers[base]}"
            taken.add(own)
            message = type(layer.message)()
            message.CopyFrom(layer.message)
            message.name = own
            self.renamed[own] = layer
            self.notes.append(
                f"{self._place(layer)}: {'another layer has its name' if name else 'it has no name'}; it is called '{own}' here"
            )
            layers.append(replace(layer, message=message, text=None, read=layer.fields))
        self.layers = layers

    def _header_inputs(self) -> None:
        header, path = self.definition.header, self.definition.path
        named = [(header.name, "the network's name"), *((name, "input") for name in header.input)]
        wrong = (name_problem(name, what) for name, what in named)
        self.problems += [f"{path}: {problem}" for problem in wrong if problem is not None]
        names = list(header.input)
        if len(header.input_shape):
            shapes = [tuple(shape.dim) for shape in header.input_shape]
        else:
            dims = list(header.input_dim)
            if len(dims) % 4:
                self.problems.append(f"{path}: has {len(dims)} input_dim, expected 4 for each input")
            shapes = [tuple(dims[start : start + 4]) for start in range(0, len(dims), 4)]
        if len(names) != len(shapes) and not (
            len(shapes) < len(names) and self.given.keys() >= set(names[len(shapes) :])
        ):
            self.problems.append(f"{path}: has {len(names)} input names and {len(shapes)} input shapes")
        shapes += [self.given[name] for name in names[len(shapes) :] if name in self.given]
        for name, shape in zip(names, shapes, strict=False):
            if name not in self.dropped:
                self._input(name, shape, f"{path}: input '{name}'")

    def _input(self, name: str, shape: tuple[int, ...], place: str) -> None:
        if name in self.current:
            self.problems.append(f"{place}: blob '{name}' exists already")
        # A file may have an input of one number, without axes; a shape that is given has axes.
        missing = name in self.given and not self.given[name]
        shape = self.given.get(name, shape)
        if missing or any(dim < 1 for dim in shape):
            self.problems.append(
                f"{place}: shape {'x'.join(map(str, shape)) or 'missing'}; every size must be positive"
            )
            shape = shape or (1,)
        else:
            self._check_size(name, shape, place)
        value = self._value(name, "input", counted=name in self.writes_left)
        self.current[name] = value
        self.inputs.append(Input(value, shape))
        self.shapes[value] = shape
        self.unread[value] = None

    def _value(self, blob: str, layer: str, *, counted: bool) -> str:
        if counted and self.writes_left[blob] > 0:
            value = f"{blob}@{layer}"
            self.storage[value] = blob
            return value
        return blob

    def _add(self, layer: LayerText) -> None:
        message = layer.message
        wrong = layer_problems(message, infinite=trait_of(message.type, Cuts) is not None)
        self.problems += [f"{self._place(layer)}: {problem}" for problem in wrong]
        if message.type == "Input":
            self._input_layer(layer)
            return
        inputs = []
        for blob in message.bottom:
            if blob in self.current:
                inputs.append(self.current[blob])
            else:
                self.problems.append(
                    f"{self._place(layer)}: bottom '{blob}' is made by no earlier layer{self._made_elsewhere(blob)}"
                )
                inputs.append(blob)
        for name in inputs:
            self.unread.pop(name, None)
        outputs = []
        for number, blob in enumerate(message.top):
            in_place = number < len(message.bottom) and message.bottom[number] == blob
            if blob in self.current and not in_place:
                self.problems.append(
                    f"{self._place(layer)}: top '{blob}' is made by an earlier layer too and is not this layer's bottom"
                )
            self.writes_left[blob] -= 1
            value = self._value(blob, message.name, counted=True)
            self.current[blob] = value
            outputs.append(value)
            self.unread[value] = None
        reading = _opaque(message, wrong[0]) if wrong else self._read(layer, inputs)
        names = self._blobs(layer, reading)
        origin = Origin(
            self.definition.path,
            layer.line,
            message.name,
            message.type,
            "caffe",
            message,
            layer.text,
            self.weights.apart(message.name) if isinstance(reading.op, Opaque) else None,
            tuple((item.path, item.text) for item in layer.unknown),
        )
        self.nodes.append(Node(message.name, reading.op, tuple(inputs), tuple(outputs), names, origin))
        self._infer(self.nodes[-1], self._place(layer))

    def _data_of_other_states(self) -> None:
        """Takes the blobs of data layers that only another phase has as inputs, where the user gives their shapes."""
        made = {*self.definition.header.input, *(top for layer in self.layers for top in layer.message.top)}
        for layer in self._elsewhere():
            for top in layer.message.top:
                if top in self.given and top not in made and makes_data(layer.message):
                    made.add(top)
                    self._input(top, (), self._place(layer))
                    self.notes.append(f"{self._place(layer)}: is of another phase; its blob '{top}' became an input")

    def _elsewhere(self) -> list[LayerText]:
        """Returns the layers that the net's state leaves out."""
        here = {layer.line for layer in self.layers}
        return [item for item in self.definition.layers if item.line not in here and _rules(item.message)]

    def _made_elsewhere(self, blob: str) -> str:
        """Says which layers that the net's state leaves out make a blob, and what selects them."""
        makers = [item for item in self._elsewhere() if blob in item.message.top]
        data = next((item for item in makers if makes_data(item.message)), None)
        if data is not None:
            example = data_shape(data, list(data.message.top).index(blob)).example.replace("x", ",")
            return (
                f"; the data layer '{data.message.name}' (line {data.line}; {_rules(data.message)}) makes it in another state of the net: "
                f"give the shape of the blob, for instance {example} (--input-shape {blob}:{example})"
            )
        told = [
            f"'{item.message.name}' (line {item.line}; {rules})" for item in makers if (rules := _rules(item.message))
        ]
        if not told:
            return ""
        return f"; layers of another state of the net make it: {', '.join(told)}; choose it with stages and level (--stage, --level)"

    def _input_layer(self, layer: LayerText) -> None:
        self._unknown(layer.unknown, "it is lost when the model is written")
        shapes = [tuple(shape.dim) for shape in layer.message.input_param.shape]
        tops = list(layer.message.top)
        if len(shapes) == 1:
            shapes *= len(tops)
        if not shapes and self.given.keys() >= set(tops):
            shapes = [self.given[top] for top in tops]
        if len(shapes) != len(tops):
            self.problems.append(f"{self._place(layer)}: has {len(tops)} tops and {len(shapes)} shapes")
        for top, shape in zip(tops, shapes, strict=False):
            self.writes_left[top] -= 1
            self._input(top, shape, self._place(layer))

    def _check_size(self, blob: str, shape: Shape, place: str) -> None:
        problem = shape_problem(shape)
        if problem is not None:
            self.problems.append(f"{place}: blob '{blob}' {problem}")

    def _infer(self, node: Node, place: str) -> None:
        """Notes the shapes that a node makes; what does not fit is reported when the whole graph is verified."""
        inputs = [self.shapes[name] for name in node.inputs if name in self.shapes]
        fits = node.op.min_inputs <= len(inputs) <= (node.op.max_inputs or len(inputs))
        if isinstance(node.op, Opaque) or len(inputs) != len(node.inputs) or not fits:
            return
        try:
            found = node.op.infer(inputs, [self.params.arrays[name].shape for name in node.params])
        except OpError:
            return
        for name, shape in zip(node.outputs, found, strict=False):
            if shape is not None:
                self._check_size(self.storage.get(name, name), shape, place)
                self.shapes[name] = shape

    def _read(self, layer: LayerText, inputs: Sequence[str]) -> Reading:
        message = layer.message
        custom = custom_reader(message)
        if custom is not None:
            return self._read_custom(layer, custom)
        reader = reader_for(message.type)
        if reader is None:
            return _opaque(message, "the layer type is not known")
        reason = self._not_understood(layer)
        if reason is not None:
            return _opaque(message, reason)
        try:
            reading = reader(message, [self.shapes.get(name) for name in inputs])
            if reading.by_blobs:
                reading = reading.by_blobs(self.params.stored(message))
        except CannotReadError as error:
            reading = replace(_opaque(message, f"its parameters are not supported: {error}"), exact=error.exact)
        except WrongLayerError as error:
            self.problems.append(f"{self._place(layer)}: {error}")
            return _opaque(message, str(error))
        if reading.exact is not None and self.options.exact_sizes:
            reading = replace(reading, op=reading.exact, note="its sizes are not cut to whole pixels, as was asked for")
        if reading.note:
            self.notes.append(f"{self._place(layer)}: {reading.note}")
        return reading

    def _not_understood(self, layer: LayerText) -> str | None:
        """Returns what the schema lacks in a layer and may change its result, or None; refuses it unless it is allowed."""
        kind = layer.message.type
        unknown = [item for item in layer.unknown if not has_no_effect(kind, item)]
        if unknown and has_dialects(kind):
            return f"it has fields of another fork: {'; '.join(map(str, unknown))}"
        for item in unknown:
            fate = "it is kept without being understood"
            if not item.only_for_training:
                fate = "the layer is kept to the letter and not computed, since this may change its result"
            self._unknown([item], fate)
        harmful = [str(item) for item in unknown if not item.only_for_training]
        return f"it has what is not known: {'; '.join(harmful)}" if harmful else None

    def _read_custom(self, layer: LayerText, reader: CustomReader) -> Reading:
        self._unknown(reader.leftover(layer), "it is kept without being understood")
        stored = self.weights.layers.get(layer.message.name)
        try:
            return reader.read(layer, len(stored.blobs) if stored is not None else 0)
        except CannotReadError as error:
            return _opaque(layer.message, f"it is not as registered: {error}")

    def _unknown(self, fields: Sequence[UnknownField], fate: str) -> None:
        if self.options.allow_unknown_fields:
            self.notes += [f"{item}; {fate}" for item in fields]
            for item in fields:
                _LOG.warning("%s; %s", item, fate)
        else:
            self.problems += map(str, fields)

    def _blobs(self, layer: LayerText, reading: Reading) -> tuple[str, ...]:
        """Takes the layer's weights into the graph and returns their names."""
        if isinstance(reading.op, Opaque):
            return ()
        problems: list[str] = []
        names = self.params.take(layer.message, reading, problems)
        before = self.renamed.get(layer.message.name)
        if before is not None and (names or problems):
            what = "shares its name with an earlier layer" if before.message.name else "has no name"
            problems = [
                f"{what}, and weights are stored by name: Caffe fills only the first; give it a name of its own in both files"
            ]
        self.problems += [f"{self._place(layer)}: {problem}" for problem in problems]
        return names


def _rules(message: Any) -> str:
    """Returns the rules of a layer, as they stand in a .prototxt."""
    rules = [(word, rule) for word in ("include", "exclude") for rule in getattr(message, word)]
    return " ".join(f"{word} {{ {text_format.MessageToString(rule, as_one_line=True)} }}" for word, rule in rules)


def _without_rules(layer: LayerText) -> LayerText:
    if not (len(layer.message.include) or len(layer.message.exclude)):
        return layer
    message = type(layer.message)()
    message.CopyFrom(layer.message)
    message.ClearField("include")
    message.ClearField("exclude")
    return replace(layer, message=message, text=None, read=layer.fields)


def _opaque(message: Any, reason: str) -> Reading:
    """A layer that is kept without being understood."""
    return Reading(
        Opaque(message.type, reason, tuple(item for item in traits_of(message.type) if not isinstance(item, Stateful)))
    )
