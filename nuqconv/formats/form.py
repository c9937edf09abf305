"""The forms in which a format writes graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nuqconv.errors import UnsupportedError
from nuqconv.ir import Graph
from nuqconv.ir.ops import Quantize

__all__ = ["Form", "WriteGraph", "WriteOptions", "is_quantized"]

WriteGraph = Callable[[Graph, Sequence[Path]], None]
"""Writes a graph to the files of a format, in their order, into a folder that is not finished yet."""


def is_quantized(graph: Graph) -> bool:
    """Whether a graph has quantized layers, whose form can be chosen."""
    return any(isinstance(node.op, Quantize) for node in graph.nodes)


@dataclass(frozen=True)
class WriteOptions:
    """How a model is to be written, as far as users choose it; a format refuses what it does not have.

    Attributes:
        opset: ONNX opset; by default the newest that the installed onnxruntime runs.
        dynamic_batch: Whether axis 0 of an ONNX model's inputs stays open; None leaves it open where all layers allow it.
        metadata: Properties to note in the model, where the format has a place for them.
        signed: Whether a comment says what wrote the model, where the format has no other place for it.
    """

    opset: int | None = None
    dynamic_batch: bool | None = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    signed: bool = False


@dataclass(frozen=True)
class Form(ABC):
    """A form in which a format writes graphs.

    Attributes:
        name: What users call it.
        outputs: Under which names, and with which ending behind PREFIX, a search writes its files; nothing where it does not.
        quantized: Whether it is one of quantized graphs; a graph without quantized layers is the same in all forms.
        needs_ranges: Whether it can only be written where activations are quantized too.
        levels: Codebook sizes that its reader knows; None for any. Who offers it to users has to look.
    """

    name: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    quantized: bool = True
    needs_ranges: bool = False
    levels: tuple[int, ...] | None = None

    def check(self, graph: Graph) -> None:
        """Raises UnsupportedError if the graph is quantized and the form has no quantized layers."""
        if not self.quantized and is_quantized(graph):
            raise UnsupportedError(f"network '{graph.name}' has quantized layers, which the form '{self.name}' has not")

    def write(self, graph: Graph, paths: Sequence[Path], options: WriteOptions | None = None) -> None:
        """Writes a graph, file by file, into a folder that is not finished yet.

        Args:
            graph: The graph.
            paths: Its files, in the format's order.
            options: What users choose.

        Raises:
            UnsupportedError: The graph has no such form.
            OutputError: A file cannot be written.
        """
        self.check(graph)
        self.writer(options)(graph, paths)

    @abstractmethod
    def writer(self, options: WriteOptions | None = None) -> WriteGraph:
        """Returns what writes one graph after another; it may keep from one what the next one shares with it."""

    @abstractmethod
    def save(self, graph: Graph, paths: Sequence[Path], options: WriteOptions | None = None) -> None:
        """Does what `write` does, with files that appear together or not at all."""
