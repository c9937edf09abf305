"""Batches in parts whose values fit into little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

from nuqconv.backends.onnx.batch import batch_problems, batched_values
from nuqconv.ir import Array, Graph

__all__ = ["in_parts", "numbers_of_a_sample"]

_ROOM = 1 << 27


def in_parts(
    graph: Graph, values: Sequence[str]
) -> Callable[[Mapping[str, Array]], Iterator[tuple[int, dict[str, Array]]]]:
    """Returns what divides a batch of inputs into parts, with the number of each part's first sample.

    A part makes at most 128 MiB of the values that are read of a run; where layers fix the batch it is the whole batch.

    Args:
        graph: The network.
        values: What is read of a run.
    """
    part = graph.up_to(values)
    shapes = [part.shapes[name] for name in values]
    free = not batch_problems(part) and batched_values(part).issuperset(values)
    size = 4 * sum(prod(shape[1:]) for shape in shapes if shape)
    step = max(1, _ROOM // max(1, size)) if free and size else None

    def parts(batch: Mapping[str, Array]) -> Iterator[tuple[int, dict[str, Array]]]:
        counts = {len(array) for array in batch.values() if array.ndim}
        if step is None or len(counts) != 1 or max(counts) <= step:
            yield 0, dict(batch)
            return
        for start in range(0, max(counts), step):
            yield start, {name: array[start : start + step] for name, array in batch.items()}

    return parts


def numbers_of_a_sample(graph: Graph) -> int:
    """Returns how many numbers all values of a network hold for one sample."""
    shapes = (graph.shapes[value] for node in graph.nodes for value in node.outputs)
    return max(1, sum(prod(shape[1:]) for shape in shapes if shape))
