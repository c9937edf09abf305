"""One or two models as elements that can be left out, and their parts as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuqconv.comparison.random_numbers import random_input
from nuqconv.comparison.reduction.cut import STEMS, Cuttable, CuttableGraph, Cutting, Step, Written
from nuqconv.comparison.reduction.cut_onnx import CuttableOnnx
from nuqconv.comparison.reduction.search import Part
from nuqconv.errors import ConfigError, ModelError
from nuqconv.formats import ModelFiles, ReadOptions
from nuqconv.frontends.onnx import read_onnx
from nuqconv.ir import Array
from nuqconv.ir.ops import Shape

__all__ = ["Cut", "PartFiles", "Pieces", "cuttable", "made_up_inputs", "samples_of"]


@dataclass(frozen=True)
class Cut:
    """A part, of each model.

    Attributes:
        cuttings: The steps of each.
        fed: The values that both are fed, by the first model's names, in order.
        layers: The layers of the first model's part.
    """

    cuttings: tuple[Cutting, ...]
    fed: tuple[str, ...]
    layers: tuple[Step, ...]

    @property
    def size(self) -> int:
        """How many layers it has."""
        return len(self.layers)


@dataclass(frozen=True)
class PartFiles:
    """The files of a part.

    Attributes:
        models: The paths of each model.
        inputs: Arrays by the names that the first model's part has for its inputs.
        values: The whole model's value that each input is.
    """

    models: tuple[tuple[Path, ...], ...]
    inputs: Mapping[str, Array]
    values: Mapping[str, str]


def cuttable(model: ModelFiles, shapes: Mapping[str, Shape]) -> Cuttable:
    """Returns a model that can be cut.

    Args:
        model: Its files; a Caffe model is cut as a graph, whose layers are written to the letter, and an ONNX model between its nodes.
        shapes: Shapes of inputs, where they are not the file's.
    """
    if model.format.runs_in_caffe:
        own: dict[str, Sequence[int]] = dict(shapes)
        return CuttableGraph(model.read(ReadOptions(own, cut_for_inference=True)).graph)
    return CuttableOnnx(read_onnx(model.model))


def made_up_inputs(model: Cuttable, shapes: Mapping[str, Shape], seed: int) -> dict[str, Array]:
    """Returns random inputs, as `nuqconv.compare` makes them.

    Raises:
        ConfigError: A shape is given for what is no input, or none is known of an input.
    """
    keys = {model.key(value): value for value in model.inputs}
    problems = [f"'{name}' is no input; there are {', '.join(keys)}" for name in shapes if name not in keys]
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for key, value in keys.items():
        shape = shapes.get(key) or model.shape(value)
        if shape is None:
            problems.append(f"'{key}' leaves sizes open; give its shape")
            continue
        readers = model.graph.consumers.get(value, ()) if isinstance(model, CuttableGraph) else ()
        made[key] = random_input(readers, shape, rng)
    if problems:
        raise ConfigError("there are no inputs to begin with", problems)
    return made


class Pieces:
    """What can be left out of one or two models: the steps of the first, with their like in the second.

    Args:
        models: The models; of two the values that have one name in both are what can be fed and compared.

    Raises:
        ModelError: The models have no value in common.
    """

    def __init__(self, models: Sequence[Cuttable]) -> None:
        self.models = tuple(models)
        first = self.models[0]
        self.common = frozenset(value for value in first.feedable if self._is_common(value))
        self.alike = _inputs_alike(self.models)
        self.elements = [
            (number, wanted)
            for number, step in enumerate(first.steps)
            if (wanted := tuple(name for name in step.makes if name in self.common))
        ]
        if not self.elements:
            raise ModelError("the two models have no value of one name, so no part can be cut out of both")
        self._of_step = {number: place for place, (number, _) in enumerate(self.elements)}

    def __len__(self) -> int:
        return len(self.elements)

    def _is_common(self, value: str) -> bool:
        first, *others = self.models
        for other in others:
            shapes = first.shape(value), other.shape(value)
            if value not in other.feedable or (None not in shapes and shapes[0] != shapes[1]):
                return False
        return True

    def needs(self) -> list[tuple[int, ...]]:
        """Returns for each element those that it is computed from directly."""
        first, found = self.models[0], []
        for _, wanted in self.elements:
            fed = first.cutting(wanted, self.common).fed
            makers = dict.fromkeys(first.maker[value] for value in fed if value in first.maker)
            found.append(tuple(self._of_step[number] for number in makers if number in self._of_step))
        return found

    def element(self, value: str) -> int | None:
        """Returns the element that makes a value of the first model; for a constant, the first one that reads it."""
        first, reached = self.models[0], {value}
        for number, step in enumerate(first.steps):
            if value in step.makes or not reached.isdisjoint(step.reads):
                if number in self._of_step:
                    return self._of_step[number]
                reached.update(step.makes)
        return None

    def cut(self, part: Part) -> Cut:
        """Returns a part of each model."""
        wanted = [name for element in part for name in self.elements[element][1]]
        cuttings = tuple(model.cutting(wanted, self.common) for model in self.models)
        names = {
            self.alike.get(value, value) if number else value
            for number, cutting in enumerate(cuttings)
            for value in cutting.fed
        }
        order = self.models[0].order
        fed = tuple(sorted(names, key=lambda value: order.get(value, len(order))))
        return Cut(cuttings, fed, self.models[0].layers(cuttings[0].steps))

    def whole(self) -> Cut:
        """Returns all of it, with what the user feeds as inputs."""
        cuttings = tuple(Cutting(tuple(range(len(model.steps))), model.inputs) for model in self.models)
        return Cut(cuttings, self.models[0].inputs, self.models[0].layers())

    def write(self, cut: Cut, fed: Mapping[str, Array], folder: Path) -> PartFiles:
        """Writes the parts.

        Args:
            cut: Which.
            fed: Arrays by the first model's values, in order.
            folder: Where.

        Raises:
            ModelError, UnsupportedError: The steps make no model.
        """
        own = {alike: value for value, alike in self.alike.items()}
        written: dict[int, Written] = {}
        names: Mapping[str, str] = {}
        # Those first that say what values are called.
        for number in sorted(range(len(self.models)), key=lambda place: not self.models[place].names_values):
            model = self.models[number]
            theirs = {(own.get(value, value) if number else value): array for value, array in fed.items()}
            written[number] = model.write(cut.cuttings[number].steps, theirs, folder, STEMS[number], names)
            names = written[number].names
        keys = written[0].inputs
        inputs = {keys[value]: array for value, array in fed.items()}
        values = {keys[value]: value for value in fed}
        return PartFiles(tuple(written[number].paths for number in range(len(self.models))), inputs, values)


def _inputs_alike(models: Sequence[Cuttable]) -> dict[str, str]:
    """Returns the first model's input for each input of the second: of the same name, or by position."""
    if len(models) == 1:
        return {}
    one, two = ({model.key(value): value for value in model.inputs} for model in models)
    if set(one) == set(two):
        return {value: one[key] for key, value in two.items()}
    return dict(zip(two.values(), one.values(), strict=False))


def samples_of(arrays: Mapping[str, Array]) -> int | None:
    """Returns the number of samples that all arrays have on their first axis, or None."""
    sizes = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    return sizes.pop() if len(sizes) == 1 and 0 not in sizes else None
