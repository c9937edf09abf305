"""Graphs in the runtime that needs no set-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nuqconv.ir import Array, Graph
from nuqconv.runtimes.loaded import Loaded
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import DEFAULT, RUNTIMES

__all__ = ["float_feeds", "load_graph"]


def load_graph(graph: Graph, outputs: Sequence[str] | None = None) -> Loaded:
    """Makes a graph ready to run in onnxruntime, on the devices that are in force.

    Args:
        graph: The graph.
        outputs: Names of the values to compute, or None for the network's own.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run it.
    """
    return RUNTIMES[DEFAULT].load(Runnable.of_graph(graph), outputs)


def float_feeds(graph: Graph, batch: Mapping[str, Any]) -> dict[str, Array]:
    """Returns inputs as a graph's runs take them: float32, by the names of its inputs.

    Args:
        graph: The graph.
        batch: Arrays by the inputs' names in files.
    """
    return {name: np.asarray(array, np.float32) for name, array in graph.feeds(batch).items()}
