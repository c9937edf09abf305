"""What both sides of a comparison are fed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from nuqconv.comparison.random_numbers import random_input
from nuqconv.comparison.sides import Model
from nuqconv.data import DataSet
from nuqconv.errors import ConfigError
from nuqconv.formats import ReadOptions, open_model
from nuqconv.ir import Array
from nuqconv.ir.ops import Shape
from nuqconv.runtimes.loaded import Side

__all__ = ["SAMPLES", "given_inputs", "inputs_in_words", "random_inputs"]

SAMPLES = 8
"""Samples of a data set that are compared."""


def given_inputs(
    inputs: Mapping[str, Array] | DataSet | None, model: Model, options: ReadOptions | None
) -> dict[str, Array] | None:
    """Returns inputs as arrays; of a data set the first samples, under the names of the model's inputs."""
    if inputs is None:
        return None
    if not isinstance(inputs, DataSet):
        return {name: np.asarray(array) for name, array in inputs.items()}
    named = inputs if isinstance(model, ModelProto) else inputs.for_net(open_model(model, None, options).inputs())
    return dict(next(iter(named.batches(SAMPLES, SAMPLES))).inputs)


def inputs_in_words(inputs: Mapping[str, Array] | DataSet) -> str:
    """Says where inputs come from."""
    return f"the first samples of {inputs.describe()}" if isinstance(inputs, DataSet) else "given"


def random_inputs(side: Side, shapes: Mapping[str, Shape], seed: int) -> dict[str, Array]:
    """Returns normally distributed inputs; for what an Embed layer reads, whole numbers that it knows.

    Args:
        side: The side whose inputs they are for; an open size becomes 1.
        shapes: Other shapes by input.
        seed: The same seed gives the same numbers.

    Raises:
        ConfigError: A shape is given for what is no input.
    """
    wrong = [f"'{name}' is no input; there are {', '.join(side.inputs)}" for name in shapes if name not in side.inputs]
    if wrong:
        raise ConfigError(f"{side.label}: its inputs cannot have these shapes", wrong)
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, own in side.inputs.items():
        shape = shapes.get(name, tuple(1 if size is None else size for size in own))
        readers = () if side.graph is None else side.graph.consumers.get(name, ())
        made[name] = random_input(readers, shape, rng)
    return made
