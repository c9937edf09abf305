"""Inputs for networks of which no data are at hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nuqconv.ir import Array, Node

__all__ = ["random_input"]


def random_input(readers: Sequence[Node], shape: Sequence[int], rng: np.random.Generator) -> Array:
    """Returns normally distributed numbers, or whole ones that all readers know where one takes them for indices; float32.

    Args:
        readers: What reads the input.
        shape: Its shape.
        rng: Where the numbers come from.
    """
    limits = [node.op.index_limit for node in readers if node.op.index_limit is not None]
    numbers = rng.integers(0, min(limits), shape) if limits else rng.standard_normal(shape)
    return numbers.astype(np.float32)
