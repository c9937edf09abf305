"""Data sets with the names that a net has for its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nuqconv.data.base import DataSet, fits
from nuqconv.errors import ConfigError

__all__ = ["named_for"]


def named_for(data: DataSet, inputs: Mapping[str, Sequence[int | None]]) -> DataSet:
    """Returns a data set for a net; what a runtime may still take (some of the inputs, other sizes) passes.

    Args:
        data: The set.
        inputs: The net's inputs and their shapes, the batch first; None for a size that is not known.

    Raises:
        ConfigError: Its names are others and cannot be the net's, or its samples have their channels last where the net takes them first.
    """
    shapes = data.shapes()
    known = all(name in inputs for name in shapes)
    if known and all(fits(shape, tuple(inputs[name][1:])) for name, shape in shapes.items()):
        return data
    try:
        return data.for_net(inputs)
    except ConfigError as error:
        if known and "channels last" not in str(error):
            return data
        raise
