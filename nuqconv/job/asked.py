"""What a user gives besides the model: data for it and a configuration, in whatever form they are."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nuqconv.config import QuantConfig, load_config, make_config, resolve_config
from nuqconv.data import DataSet
from nuqconv.formats.source import ModelFiles
from nuqconv.ir import Array, Graph
from nuqconv.job.layer_facts import layer_facts

__all__ = ["Config", "calibration_batches", "data_shapes", "given_config"]

_LOG = logging.getLogger(__name__)

Config = str | os.PathLike[str] | Mapping[str, Any] | QuantConfig
"""A quantization configuration: its JSON file, what the file holds, or what was read of it."""


def given_config(config: Config | None, graph: Graph, *, batch_num: int, activation_offset: bool = True) -> QuantConfig:
    """Returns a configuration for a model, in which every layer has all parameters that its type has.

    Args:
        config: The configuration; None enables all that can be quantized.
        graph: The model as it was written.
        batch_num: Batches to calibrate on, where there is no configuration.
        activation_offset: Whether activations may have an offset, where there is none.

    Raises:
        ConfigError: It cannot be read, or is wrong for this model; all faults are listed.
    """
    facts = layer_facts(graph)
    if config is None:
        return make_config(facts, batch_num=batch_num, activation_offset=activation_offset)
    if isinstance(config, QuantConfig):
        return resolve_config(config.to_json(), facts, "the configuration")
    if isinstance(config, Mapping):
        return resolve_config(json.dumps(dict(config)), facts, "the configuration")
    return load_config(Path(config), facts)


def data_shapes(model: ModelFiles, data: DataSet | None, batch_size: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of inputs: the sizes that the model's files leave open are those of a batch of the data."""
    if data is None or not model.paths:
        return {}
    return model.sizes_for(data.shapes(), min(batch_size, len(data)))


def calibration_batches(data: DataSet, batch_size: int, batch_num: int) -> Iterator[Mapping[str, Array]]:
    """Yields the first batches of a data set."""
    return (batch.inputs for batch in data.batches(batch_size, batch_num * batch_size))
