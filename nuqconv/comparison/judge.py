"""Says whether two values of a blob agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nuqconv.comparison.matching import detections, match_detections
from nuqconv.comparison.measure import compare_blob
from nuqconv.comparison.options import CompareFunction
from nuqconv.comparison.report import BlobComparison
from nuqconv.comparison.tolerance import Tolerances
from nuqconv.errors import ConfigError
from nuqconv.ir import Array
from nuqconv.ir.ops import DetectionOutput, Op, Quantize
from nuqconv.runtimes.loaded import Side

__all__ = ["Judge"]


class Judge:
    """Says whether two values of a blob agree: by its tolerance, or by a function of the user's.

    Args:
        guide: The side whose names of layers are said; it knows operators where one of the sides does.
        tolerances: What counts as equal.
        function: Decides instead of the tolerances.
    """

    def __init__(self, guide: Side, tolerances: Tolerances, function: CompareFunction | None = None) -> None:
        self.guide = guide
        self.tolerances = tolerances
        self._function = function

    def op(self, name: str) -> Op | None:
        """Returns the operator that makes a value, or None."""
        node = None if self.guide.graph is None else self.guide.graph.producer.get(name)
        return None if node is None else node.op

    def plain(self, name: str, array: Array) -> Array:
        """Takes out what runtimes write in their own way without meaning anything else by it."""
        op = self.op(name)
        if isinstance(op, Quantize) and array.dtype == np.uint8:
            return array.astype(np.float32) - (128 + op.offset)
        if isinstance(op, DetectionOutput) and array.shape[-1:] == (7,):
            return detections(array)
        return array

    def ordered(self, name: str, found: Array, reference: Array) -> tuple[Array, Array]:
        """Returns both in one order, where the order says nothing."""
        if isinstance(self.op(name), DetectionOutput) and found.shape[-1:] == reference.shape[-1:] == (7,):
            return match_detections(found, reference)
        return found, reference

    def compare(self, name: str, found: Array, reference: Array) -> BlobComparison:
        """Compares two values of a blob, as `plain` returns them.

        Raises:
            ConfigError: The user's function fails, or says neither yes nor no.
        """
        layer, kind = self.guide.layer(name)
        one, two = self.ordered(name, found, reference)
        row = compare_blob(name, layer, kind, one, two, self.tolerances.of(name))
        if self._function is None:
            return row
        try:
            said = self._function(name, one, two)
        except Exception as error:
            raise ConfigError(f"the compare function raised {type(error).__name__} for '{name}': {error}") from error
        agrees, text = said if isinstance(said, tuple) and len(said) == 2 else (said, "")
        if not isinstance(agrees, bool | np.bool_) or not isinstance(text, str):
            raise ConfigError(
                f"the compare function returned {said!r:.80} for '{name}'; expected True or False, or a pair of that and a text"
            )
        return replace(row, agrees=bool(agrees), said=text)
