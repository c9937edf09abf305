"""Graphs in the runtime that needs no set-up."""

from __future__ import annotations

from collections.abc import Sequence

from nuqconv.ir import Graph
from nuqconv.runtimes.loaded import Loaded
from nuqconv.runtimes.model import Runnable
from nuqconv.runtimes.table import DEFAULT, RUNTIMES

__all__ = ["load_graph"]


def load_graph(graph: Graph, outputs: Sequence[str] | None = None) -> Loaded:
    """Makes a graph ready to run in onnxruntime, on the devices that are in force.

    Args:
        graph: The graph.
        outputs: Names of the values to compute, or None for the network's own.

    Raises:
        ModelError, UnsupportedError: onnxruntime cannot run it.
    """
    return RUNTIMES[DEFAULT].load(Runnable.of_graph(graph), outputs)
