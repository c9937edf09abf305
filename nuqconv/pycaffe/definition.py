"""A .prototxt as Caffe builds a net of it: the layers of the phase, inputs as layers, and a Split behind every blob with several readers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuqconv.errors import ModelError, NetError
from nuqconv.frontends.caffe.phase import NetState, is_included
from nuqconv.frontends.caffe.prototxt import LayerText, Prototxt, read_prototxt
from nuqconv.frontends.caffe.schema import LayerParameter

__all__ = ["PHASES", "Definition", "read_definition"]

PHASES = ("TRAIN", "TEST")

# Losses make a top of their own where the file names none.
_AUTOMATIC_TOPS = frozenset(
    (
        "ContrastiveLoss",
        "EuclideanLoss",
        "HingeLoss",
        "InfogainLoss",
        "MultinomialLogisticLoss",
        "SigmoidCrossEntropyLoss",
        "SoftmaxWithLoss",
    )
)


@dataclass(frozen=True)
class Definition:
    """A net.

    Attributes:
        path: The file.
        name: The net's name.
        phase: ``"TRAIN"`` or ``"TEST"``.
        layers: The layers in the order in which they run.
        selected: Whether a level or stages, which the file does not have, helped to select them.
    """

    path: str
    name: str
    phase: str
    layers: tuple[LayerText, ...]
    selected: bool = False

    def place(self, layer: LayerText) -> str:
        """Returns where a layer stands, for messages."""
        line = f":{layer.line}" if layer.line else ""
        return f"{self.path}{line}: layer '{layer.message.name}' ({layer.message.type})"


def read_definition(
    path: str | os.PathLike[str], phase: str, level: int = 0, stages: Iterable[str] | None = None
) -> Definition:
    """Reads a net.

    Args:
        path: The .prototxt, of any generation.
        phase: ``"TRAIN"`` or ``"TEST"``.
        level: Caffe's level, which selects layers.
        stages: Caffe's stages, likewise; those in the file are added.

    Raises:
        NetError: The file is not there, or its layers do not fit together.
        FormatError: It is no net.
    """
    if not Path(path).is_file():
        raise NetError(f"Could not open file {os.fspath(path)}")
    source = read_prototxt(os.fspath(path))
    state = NetState(phase, level, frozenset((*(stages or ()), *source.header.state.stage)))
    layers = [*_input_layer(source), *_included(source, state)]
    problems = [f"{source.path}: {item}" for item in source.unknown] + _unknown_bottoms(source.path, layers)
    if problems:
        raise NetError(f"{source.path}: Caffe refuses this net", problems)
    layers = _with_splits([_with_tops(item) for item in layers])
    return Definition(source.path, source.header.name, phase, tuple(layers), bool(level or stages))


def _included(source: Prototxt, state: NetState) -> list[LayerText]:
    found = []
    for layer in source.layers:
        try:
            if is_included(layer.message, state):
                found.append(layer)
        except ModelError as error:
            raise NetError(f"{source.path}:{layer.line}: {error}") from error
    return found


def _input_layer(source: Prototxt) -> list[LayerText]:
    """Returns the inputs that stand outside of layers as one layer."""
    header = source.header
    names = list(header.input)
    dims = list(header.input_dim)
    shapes = [list(shape.dim) for shape in header.input_shape]
    shapes = shapes or [dims[start : start + 4] for start in range(0, len(dims), 4)]
    if not names:
        return []
    if len(shapes) != len(names) or any(len(shape) != 4 for shape in shapes if not header.input_shape):
        raise NetError(f"{source.path}: has {len(names)} input names and {len(shapes)} input shapes")
    message = LayerParameter(name="input", type="Input", top=names)
    for shape in shapes:
        message.input_param.shape.add().dim.extend(shape)
    return [LayerText(message, 0, None)]


def _unknown_bottoms(path: str, layers: Sequence[LayerText]) -> list[str]:
    made: set[str] = set()
    problems = []
    for layer in layers:
        message = layer.message
        place = f"{path}:{layer.line}: layer '{message.name}' ({message.type})"
        problems += [
            f"{place}: bottom '{blob}' is made by no earlier layer" for blob in message.bottom if blob not in made
        ]
        for number, top in enumerate(message.top):
            if top in made and not (number < len(message.bottom) and message.bottom[number] == top):
                problems.append(f"{place}: top '{top}' is made by an earlier layer too")
        made.update(message.top)
    return problems


def _with_tops(layer: LayerText) -> LayerText:
    message = layer.message
    if message.type not in _AUTOMATIC_TOPS or len(message.top):
        return layer
    copy = _copied(message)
    copy.top.append("(automatic)")
    return LayerText(copy, layer.line, layer.text, layer.unknown, layer.read)


def _copied(message: Any) -> Any:
    copy = LayerParameter()
    copy.CopyFrom(message)
    return copy


def _with_splits(layers: Sequence[LayerText]) -> list[LayerText]:
    """Gives every reader of a blob with several ones its own, under the names that Caffe chooses."""
    makers: dict[str, tuple[int, int]] = {}
    sources: list[list[tuple[int, int]]] = []
    readers: Counter[tuple[int, int]] = Counter()
    for number, layer in enumerate(layers):
        sources.append([makers[blob] for blob in layer.message.bottom])
        readers.update(sources[-1])
        weighted = [index for index, weight in enumerate(layer.message.loss_weight) if weight]
        readers.update((number, index) for index in weighted if index < len(layer.message.top))
        makers.update({top: (number, index) for index, top in enumerate(layer.message.top)})
    used: Counter[tuple[int, int]] = Counter()
    found: list[LayerText] = []
    for number, layer in enumerate(layers):
        message = layer.message
        shared = [source for source in sources[number] if readers[source] > 1]
        if shared:
            message = _copied(message)
            for index, source in enumerate(sources[number]):
                if readers[source] > 1:
                    name = _split_name(layers, source)
                    message.bottom[index] = f"{name}_{used[source]}"
                    used[source] += 1
            layer = LayerText(message, layer.line, layer.text, layer.unknown, layer.read)  # noqa: PLW2901
        found.append(layer)
        for index, top in enumerate(message.top):
            if readers[number, index] > 1:
                # The loss itself is the first of the readers.
                used[number, index] = int(index < len(message.loss_weight) and bool(message.loss_weight[index]))
                found.append(_split(layers, (number, index), top, readers[number, index]))
    return found


def _split_name(layers: Sequence[LayerText], source: tuple[int, int]) -> str:
    number, index = source
    message = layers[number].message
    return f"{message.top[index]}_{message.name}_{index}_split"


def _split(layers: Sequence[LayerText], source: tuple[int, int], top: str, count: int) -> LayerText:
    name = _split_name(layers, source)
    tops = [f"{name}_{number}" for number in range(count)]
    return LayerText(LayerParameter(name=name, type="Split", bottom=[top], top=tops), layers[source[0]].line, None)
