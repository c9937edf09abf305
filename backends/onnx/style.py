"""A way to write quantized layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nuqconv.backends.onnx.builder import Builder, SteppedForm
from nuqconv.ir import Graph, Node

__all__ = ["Layers", "Style"]


class Layers:
    """The layers of one graph that a style writes in its own way; none of them here.

    Args:
        graph: The graph that is lowered.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def problems(self) -> list[str]:
        """Returns a line for each layer that keeps the graph from being written in this style."""
        return []

    def write(self, build: Builder, node: Node) -> bool:
        """Adds a layer in the style's own way, if it has one for it.

        Args:
            build: The model under construction.
            node: The layer.

        Returns:
            Whether nothing else is to be added for the layer.

        Raises:
            UnsupportedError: The layer cannot be written in this style.
        """
        del build, node
        return False


@dataclass(frozen=True)
class Style:
    """A way to write quantized layers.

    Attributes:
        name: What it is called.
        layers: Makes what writes the layers of one graph.
        packed: Whether int8 weights of few levels are stored as packed indices and a codebook, where a layer takes them as they are stored.
        stepped: How weights are stored of a layer of which weights alone are quantized.
    """

    name: str
    layers: Callable[[Graph], Layers] = Layers
    packed: bool = False
    stepped: SteppedForm = "floats"
