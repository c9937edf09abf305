"""A network and the same network quantized: not whether they are equal, which they are not, but where it hurts."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nuqconv.comparison.layer_errors import LayerErrors, measure_layer_errors
from nuqconv.comparison.quantized import has_quantized_layers, pair_layers
from nuqconv.comparison.random_numbers import random_input
from nuqconv.data.base import DataSet
from nuqconv.errors import ConfigError, NuqconvError
from nuqconv.formats import Model, ReadOptions, open_model
from nuqconv.formats.source import ModelFiles
from nuqconv.ir import Array, Graph

__all__ = ["QuantizationReport", "compare_quantized", "looks_quantized", "original_and_quantized"]

_LOG = logging.getLogger(__name__)

_RANDOM_SAMPLES = 8
_NAMES = ("_fake_quant_model", "_deploy_model", "_qdq_model", "_nuq_model")


@dataclass(frozen=True)
class QuantizationReport:
    """Where the quantization of a network hurts.

    Attributes:
        original: The float network, for people.
        quantized: The quantized network.
        data: What was run, in words.
        errors: The error of each quantized layer.
        notes: What else should be known.
        max_error: The largest relative error of the outputs that is allowed, or None for any.
    """

    original: str
    quantized: str
    data: str
    errors: LayerErrors
    notes: tuple[str, ...]
    max_error: float | None = None

    @property
    def output_error(self) -> float:
        """The largest relative error of an output of the network; 0 where no output can be compared."""
        return max((noise.relative for noise in self.errors.outputs.values()), default=0.0)

    @property
    def agrees(self) -> bool:
        """Whether the outputs are as near as was demanded."""
        return self.max_error is None or self.output_error <= self.max_error

    def to_json(self) -> str:
        """Returns everything as JSON text."""
        content = {
            "agrees": self.agrees,
            "original": self.original,
            "quantized": self.quantized,
            "data": self.data,
            "max_error": self.max_error,
            "output_error": self.output_error if np.isfinite(self.output_error) else None,
            "errors": self.errors.to_object(),
            "notes": list(self.notes),
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"


def original_and_quantized(
    one: ModelFiles, other: ModelFiles, options: ReadOptions
) -> tuple[ModelFiles, ModelFiles] | None:
    """Returns the float model and the quantized one, whichever comes first; None if both are, or neither is.

    A model is quantized if it has quantized layers, or if its file has a name that this package gives to quantized models: so is one told whose
    weights alone are quantized.
    """
    first, second = (looks_quantized(model.paths, partial(_graph, model, options)) for model in (one, other))
    if first == second:
        return None
    return (one, other) if second else (other, one)


def _graph(model: ModelFiles, options: ReadOptions) -> Graph:
    return model.read(options).graph


def looks_quantized(paths: Sequence[Path], read: Callable[[], Graph]) -> bool:
    """Says whether a model is a quantized one: by the names that this package gives to the files of such, or by its layers.

    Args:
        paths: Its files.
        read: Reads its graph.
    """
    if any(path.stem.endswith(_NAMES) for path in paths):
        return True
    try:
        return has_quantized_layers(read())
    except NuqconvError as error:
        # A runtime may run what has no form as a graph here; whoever needs the graph says what is wrong with it.
        _LOG.info("%s: is not looked at for quantized layers: %s", paths, error)
        return False


def compare_quantized(
    original: Model,
    quantized: Model,
    *,
    data: DataSet | Mapping[str, Array] | None = None,
    limit: int | None = None,
    batch_size: int = 16,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    max_error: float | None = None,
) -> QuantizationReport:
    """Says where the quantization of a network hurts: the error of every quantized layer, in the network and alone.

    Both networks run in onnxruntime. The quantized one may be any model that this package has written: fake_quant, deploy, QDQ or packed.

    Args:
        original: The float model: a path, a pair of paths, or a graph.
        quantized: The same model, quantized.
        data: Inputs as the networks take them: a `DataSet`, which is read batch by batch, or arrays (N, ...) by input; None makes random numbers,
            which says little of a network that was calibrated on data.
        limit: Most samples.
        batch_size: Samples in a batch; a run may have fewer, where their values take much room.
        input_shapes: Shapes for inputs by name, instead of the files'.
        seed: Of random inputs.
        max_error: The largest relative error of the network's outputs that is allowed, for `QuantizationReport.agrees`.

    Returns:
        The report.

    Raises:
        ConfigError: Arguments do not go together.
        FormatError, ModelError, UnsupportedError: A model cannot be read or run, the data do not fit, or no layer is quantized.
    """
    options = ReadOptions({name: tuple(shape) for name, shape in (input_shapes or {}).items()}, cut_for_inference=True)
    first, second = open_model(original), open_model(quantized)
    if max_error is not None and not max_error >= 0:
        raise ConfigError(f"max_error {max_error} must not be negative")
    pair = pair_layers(first.read(options).graph, second.read(options).graph)
    notes = (
        [f"quantized layers that the float network does not have: {', '.join(pair.unpaired)}"] if pair.unpaired else []
    )
    if data is None:
        words = f"random numbers of seed {seed}"
        batches: Iterator[Mapping[str, Array]] = iter([_random(pair.original, limit or _RANDOM_SAMPLES, seed)])
        notes.append(
            "random inputs leave the ranges that were calibrated on data, which makes errors far larger than they are; give data (--data)"
        )
    elif isinstance(data, DataSet):
        words = data.describe()
        batches = (batch.inputs for batch in data.batches(batch_size, limit))
    else:
        words = ", ".join(f"{name} {'x'.join(map(str, np.shape(array)))}" for name, array in data.items())
        batches = iter([data])
    errors = measure_layer_errors(pair, batches, limit=limit)
    return QuantizationReport(str(first), str(second), words, errors, tuple(notes), max_error)


def _random(graph: Graph, samples: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    shapes = {item.name: (samples, *item.shape[1:]) for item in graph.inputs}
    return {
        graph.storage_name(name): random_input(graph.consumers.get(name, ()), shape, rng)
        for name, shape in shapes.items()
    }
